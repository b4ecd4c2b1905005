"""Our solution of `beam_search` with one known mistake each."""

from __future__ import annotations

from weightless.deck.card import Mutant

SEARCH = "weightless/decode/beam_search.py"
SELECTION = "key=lambda beam: -beam.score(alpha))[:K]"
PENALTY = "return self.acc / len(self.tokens) ** alpha if self.tokens else 0.0"

MUTANTS = (
    Mutant("selected by raw log-probability", SEARCH, SELECTION, "key=lambda beam: -beam.acc)[:K]"),
    Mutant(
        "selected by raw log-probability, then sorted by score",  # what the literal wording says
        SEARCH,
        "sorted(pool, " + SELECTION,
        "sorted(sorted(pool, key=lambda beam: -beam.acc)[:K], " + SELECTION,
    ),
    Mutant(
        "finished beams leave the pool",
        SEARCH,
        "[beam for beam in beams if beam.finished] for beams in kept]",
        "[] for beams in kept]",
    ),
    Mutant(
        "finished beams are expanded",
        SEARCH,
        "for item, beams in enumerate(kept) for beam in beams if not beam.finished]",
        "for item, beams in enumerate(kept) for beam in beams]",
    ),
    Mutant(
        "one proposal for each beam", SEARCH, "_proposals(beam, logp_V, 2 * K, end)", "_proposals(beam, logp_V, 1, end)"
    ),
    Mutant(
        "the end token is not counted",
        SEARCH,
        PENALTY,
        "return self.acc / max(1, len(self.tokens) - self.finished) ** alpha",
    ),
    Mutant("one token too many counted", SEARCH, PENALTY, "return self.acc / (1 + len(self.tokens)) ** alpha"),
    Mutant(
        "another penalty, (5 + n) / 6",
        SEARCH,
        PENALTY,
        "return self.acc / ((5 + len(self.tokens)) / 6) ** alpha if self.tokens else 0.0",
    ),
    Mutant(
        "K copies of the prompt at the first step",
        SEARCH,
        "kept = [[Beam((), 0.0, False)] for _ in items]",
        "kept = [[Beam((), 0.0, False)] * K for _ in items]",
    ),
    Mutant("more proposals than tokens", SEARCH, "    n = min(n, len(logp_V))\n", "    pass\n", ("CRASH",)),
    Mutant("impossible tokens proposed", SEARCH, " & (logp_V > -np.inf)", "", ("WRONG_NUMERIC", "CRASH")),
    Mutant(
        "done when one beam has ended",
        SEARCH,
        "for beam in beams if not beam.finished]\n        if",
        "for beam in beams if not any(other.finished for other in beams)]\n        if",
    ),
    Mutant(
        "all prompts stop with the first",
        SEARCH,
        "        if not open_beams:\n",
        "        if any(all(beam.finished for beam in beams) for beams in kept):\n",
    ),
    Mutant(
        "sorted by raw log-probability in the end",
        SEARCH,
        "beam.score(alpha)) for beam in beams] for",
        "beam.score(alpha)) for beam in sorted(beams, key=lambda beam: -beam.acc)] for",
    ),
    Mutant("the sum is rescaled", SEARCH, "beam.acc + float(logp_V[token])", "(beam.acc + float(logp_V[token])) / 1.1"),
    Mutant(
        "sums in probabilities",
        SEARCH,
        "beam.acc + float(logp_V[token])",
        "float(np.log(max(1e-300, np.exp(beam.acc) * np.exp(logp_V[token]))))",
    ),
    Mutant("prompts share a pool", SEARCH, "pools[item] +=", "pools[0] +="),
    Mutant("the model is told the prompt only", SEARCH, "[[*items[item], *beam.tokens] for", "[[*items[item]] for"),
    Mutant("the end token is always 0", SEARCH, "    return int(eos_token_id)\n", "    return 0\n"),
    Mutant(
        "one call for each beam",
        "solution.py",
        "prompts, beam_width, max_new_tokens, alpha, eos_token_id, asked)",
        "prompts, beam_width, max_new_tokens, alpha, eos_token_id,\n"
        "        lambda rows: np.concatenate([asked([row]) for row in rows]))",
        ("SLOW",),
    ),
    Mutant(
        "one prompt after another",
        "solution.py",
        "    return beam_search.batched_beam_search(prompts, beam_width,",
        "    return [beam_search.batched_beam_search([p], beam_width, max_new_tokens, alpha, eos_token_id, asked)[0] "
        "for p in prompts]\n    return beam_search.batched_beam_search(prompts, beam_width,",
        ("SLOW",),
    ),
)
