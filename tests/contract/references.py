"""Nats of every target of a case by an implementation that knows nothing of programs: PyTorch, `ngram`, `ops`."""

from __future__ import annotations

import numpy as np
from contract.beside_cases import reference
from contract.cases import Bench, neural_as_trained, part_of, uncached

from weightless.countmix.reopening import packed_learner
from weightless.ngram import score
from weightless.ops import infinigram, suffix_array
from weightless.ops.kneser_ney import QUANTA
from weightless.ops.window_cache import cached_nats
from weightless.program.cached import CACHE_WEIGHTS


def reference_nats(b: Bench) -> np.ndarray:
    """-ln p of every target, float [n]."""
    if b.config.window_cache:
        weights = b.arrays[CACHE_WEIGHTS][0]
        return cached_nats(reference_nats(uncached(b)), b.tokens.tolist(), b.targets.tolist(), weights)
    if b.name == "ngram":
        return -score.log_probs(flat(b), b.stream, b.config.order)[1:]
    if b.name == "infinigram":
        return -np.log([p[target] for p, target in zip(infinigram_distributions(b), b.targets, strict=True)])
    if b.name == "countmix":
        c = b.config
        lines, bits = (list(c.node_lines), list(c.list_lines)), (c.node_bits, c.list_bits)
        return packed_learner(c.shape, b.arrays, c.root, lines, bits).score(b.stream)
    if b.name == "mixture" and b.config.mixes:
        return reference(b.config, b.arrays, neural_as_trained(b), b.stream)
    if b.name == "mixture":
        w = np.array([b.arrays["mixing.weights"][gate, 0] for gate in gates(b)], dtype=np.float64)
        neural, counted = (
            np.exp(-reference_nats(part_of(b, name)).astype(np.float64)) for name in ("neural", "counted")
        )
        return -np.log(w * neural + (1 - w) * counted)
    return b.family.Model(b.config).losses(b.rounded(), *b.batch)[0].detach().numpy()


def flat(b: Bench) -> dict[str, np.ndarray]:
    """Columns as `ngram.layout` has them."""
    return {name: a if name.endswith("node") else a[:, 0] for name, a in b.arrays.items()}


def infinigram_distributions(b: Bench) -> list[np.ndarray]:
    """p(. | the tokens fed) at every position, from looking at the whole text each time."""
    unigrams = np.diff(b.arrays["unigram.cum"][:, 0], prepend=np.uint32(0)) / QUANTA
    parts = (b.arrays["text"][:, 0], unigrams, b.arrays["weights"][:, 0])
    length = b.config.max_length
    return [infinigram.distribution(*parts, b.stream[: t + 1], length) for t in range(len(b.tokens))]


def gates(b: Bench) -> list[int]:
    """The class of context of a mixture at every position: 0, or 4 (k - 1) + 1 and the size class of what was found."""
    counted, found = part_of(b, "counted"), []
    for t in range(len(b.tokens)):
        fed = b.stream[: t + 1]
        if counted.name == "ngram":
            lists = [len(words) for words, _ in score.context_lists(flat(counted), fed)]
            sizes = {k: n for k, n in enumerate(lists, start=1) if n}
        else:
            text = counted.arrays["text"][:, 0]
            k = suffix_array.longest_suffix(text, fed, counted.config.max_length)
            sizes = {k: len(suffix_array.occurrences(text, fed[len(fed) - k :]))} if k else {}
        level = max(sizes, default=0)
        found.append(1 + 4 * (level - 1) + sum(sizes[level] >= least for least in (2, 4, 16)) if level else 0)
    return found
