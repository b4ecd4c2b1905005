"""Measure one artifact: held-out loss by the engine, bytes by formula and log, a sample, and what was checked.

Everything here runs without PyTorch, from the file that would be shipped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightless.audit.counters.agreement import Audited, audit, check
from weightless.audit.counters.real_text import mode_s_costs
from weightless.data.shards.corpus import Corpus
from weightless.decode.generate import generate
from weightless.evals.bits_per_byte import Score, evaluate
from weightless.export.packed import Packed
from weightless.lab.recipe import EvalRecipe, SampleRecipe
from weightless.program.cost import (
    HEADLINE_POSITIONS,
    Spread,
    Touched,
    decided_components,
    fixed_bytes,
    flops,
    flops_of_steps,
    is_exact,
    touched_by_formula,
)

AUDITED_POSITIONS = (1, 2, 3, 5, 17, 63, 64, 65, 128, 255, 256, 257, 511, 512)


def score(packed: Packed, corpus: Corpus, recipe: EvalRecipe, label: str) -> Score:
    """Held-out loss of the recipe's share of the validation stream."""
    tokens, tokenizer = np.asarray(corpus.tokens("val")[:]), packed.tokenizer if packed.has_tokenizer else None
    table = (tokenizer or corpus.tokenizer()).byte_table
    return evaluate(
        packed,
        tokens,
        table,
        (),
        recipe.stride or None,
        recipe.tokens,
        label=label,
        refused=corpus.why_refused("val"),
        stretch=recipe.stretch,
    )


def ledger(packed: Packed, corpus: Corpus, result: Score) -> dict[str, Any]:
    """Bytes touched (T, U, lines: mean, p50, p99, max; per component), stored bytes, FLOPs, and the audit's verdict.

    Raises DisagreementError when formula, engine log and compiled engine differ anywhere they were compared.
    """
    window, audited = _audited(packed, corpus)
    exact = is_exact(packed.program)
    touched = touched_by_formula(packed.program) if exact else _touched_by_data(packed, result, audited)
    checks = [check(audited, "formula = engine log = compiled engine, to the byte"), _sampling_check(packed, window)]
    stored, paths = packed.stored_bytes(), result.paths
    per_token = flops(packed.program)
    if packed.program.flow.tests:
        checks.append(_exits_taken(packed, paths))
        per_token = flops_of_steps(packed.program, result.positions, paths)
    return {
        **touched.to_plain(),
        **_in_the_window(packed, result),
        "stored": {**stored, "components": [{"name": n, "bytes": b} for n, b in packed.stored_components().items()]},
        "flops_per_token": per_token,
        "positions": min(HEADLINE_POSITIONS, len(window) - 1),
        "checks": checks,
    }


def of_ledger(ledger: dict[str, Any]) -> dict[str, Any]:
    """What a model's entry of a summary takes from its ledger."""
    names = ("touched", "components", "stored", "flops_per_token", "window")
    return {name: ledger[name] for name in names if name in ledger}


def _in_the_window(packed: Packed, result: Score) -> dict[str, Any]:
    """T over all positions that were scored, of a model whose window is longer than what the headline looks at: its
    loss is paid with those bytes."""
    if packed.program.context <= HEADLINE_POSITIONS:
        return {}
    total = result.data_bytes.sum(axis=1) + sum(
        fixed_bytes(packed.program, "score", result.positions, result.paths).values()
    )
    return {"window": {"positions": packed.program.context, "T": float(total.mean())}}


def _exits_taken(packed: Packed, paths: np.ndarray) -> dict[str, Any]:
    """The share of the scored tokens that left at each test, for the run's record."""
    program = packed.program
    names = [program.body[at].sure.removesuffix(".sure") for at in program.flow.tests]
    shares = {name: float(np.mean(paths >> j & 1)) for j, name in enumerate(names)} | {
        "none": float(np.mean(paths == 0))
    }
    told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    return {"name": "exits taken", "ok": True, "detail": f"{told} of {len(paths):,} tokens"}


def touched_on_held_out(packed: Packed, corpus: Corpus, recipe: EvalRecipe) -> Touched:
    """What `ledger` says of a model whose bytes the text decides, measured anew."""
    result = score(packed, corpus, recipe, "measuring on held-out text")
    return _touched_by_data(packed, result, _audited(packed, corpus)[1])


def _audited(packed: Packed, corpus: Corpus) -> tuple[np.ndarray, Sequence[Audited]]:
    """(first window of the held-out text, audited steps in it: all of the headline range where the text decides)."""
    window = np.asarray(corpus.tokens("val")[: packed.program.context + 1], dtype=np.int64)
    every = range(1, min(HEADLINE_POSITIONS, len(window) - 1) + 1)
    positions = AUDITED_POSITIONS if is_exact(packed.program) else every
    return window, audit(packed, window[:-1], window[1:], positions)


def _touched_by_data(packed: Packed, result: Score, audited: Sequence[Audited]) -> Touched:
    """T and its components over every scored position of the headline range; U and lines from the audited window."""
    logged = Touched.of([step.logged for step in audited])
    here = (result.positions >= 1) & (result.positions <= HEADLINE_POSITIONS)
    decided, positions, paths = result.data_bytes[here], result.positions[here], result.paths[here]
    lines = decided_components(packed.program)
    means = {name: float(column.mean()) for name, column in zip(lines, decided.T, strict=True) if name}
    fixed = fixed_bytes(packed.program, "score", positions, paths)
    for name, column in fixed.items():
        means[name] = means.get(name, 0.0) + float(column.mean())
    total = decided.sum(axis=1) + sum(fixed.values())
    components = {name: (means[name], *logged.components[name][1:]) for name in logged.components}
    return Touched(Spread.of(total), logged.U, logged.T64, components, int(here.sum()))  # type: ignore[arg-type]


CHANCE = 4.0
"""Standard errors by which drawing may cost more than scoring on held-out text: other tokens are drawn than stand
there, and a walk through a tree is longer for some.  The same tokens cost the same, to the byte."""
WRONG_SHARE = 0.02
"""The same for a model that is wrong about a text, as a share: all that it draws there may lie deeper in the tree than
what stands there (0.6 % where training text that came eighteen times had made it sure of itself)."""


def _sampling_check(packed: Packed, window: np.ndarray) -> dict[str, Any]:
    """Mode S may read one path of a head only if drawing costs what scoring costs."""
    name = "sampling costs what scoring costs"
    if is_exact(packed.program):
        score_T, sample_T = (touched_by_formula(packed.program, head).T.mean for head in ("score", "sample"))
        return {
            "name": name,
            "ok": score_T == sample_T,
            "detail": f"{score_T:,.1f} and {sample_T:,.1f} bytes, by formula",
        }
    ok, parts = True, []
    for told, feed in (("held-out text", "text"), ("its own continuation", "samples")):
        means = mode_s_costs(packed, window, feed)
        ok = ok and means["sample"] <= means["score"] + (_room(means) if feed == "text" else 0)
        parts.append(f"on {told} scoring {means['score']:,.1f}, sampling {means['sample']:,.1f} bytes")
    return {"name": name, "ok": ok, "detail": f"{'; '.join(parts)} (means over {len(window) - 1} positions)"}


def _room(means: Mapping[str, float]) -> float:
    """Bytes by which drawing may cost more on a text that the model has not written."""
    return max(CHANCE * means["error"], WRONG_SHARE * means["score"])


def sample(packed: Packed, recipe: SampleRecipe, folder: Path | None = None) -> dict[str, Any] | None:
    """A continuation of the recipe's prompt; written to sample.txt when a folder is given.

    None for a model of SentencePiece ids: its artifact holds no tokenizer, so no text comes out of it.
    """
    from weightless.base.files import atomic_write

    if not packed.has_tokenizer:
        return None
    drawn = generate(packed, recipe.prompt, recipe.sampling())
    if folder is not None:
        atomic_write(folder / "sample.txt", drawn["prompt"] + drawn["text"] + "\n")
    return drawn
