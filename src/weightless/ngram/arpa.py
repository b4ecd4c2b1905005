"""Write a counted model as an ARPA file, the text format that KenLM, SRILM and others read.

ARPA stores, per n-gram of order m, log10 p(w | h) and the log10 back-off weight of the n-gram seen as a context:
p(w | h) is looked up when h w is listed, else it is backoff(h) p(w | h').  An interpolated model fits exactly: the
listed value is the interpolated probability, the back-off weight is gamma(h), and 0 (weight 1) where h has no list.

Readers demand that the first m - 1 and the last m - 1 words of every listed n-gram are listed too; what pruning took
away comes back with the probability the model gives it anyway, which changes no score.
KenLM also demands the words <s>, </s> and <unk>; the model never predicts them, so they stand there with log10 p = -99.
Word i is written as its number, or as names[i], which must be free of white space.
Errors: WeightlessError for unusable names or a folder that cannot be written.  Memory: some 100 bytes per n-gram.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from weightless.base.errors import WeightlessError
from weightless.base.files import atomic_writer
from weightless.ngram.layout import QUANTA, Arrays, list_bounds, order_of, vocab_of
from weightless.ngram.score import log_probs

NEVER = "-99"
MARKS = ("<s>", "</s>", "<unk>")


def write_arpa(path: str | Path, arrays: Arrays, names: Sequence[str] | None = None) -> None:
    """Write the model to `path`, atomically."""
    words = _checked_names(names, vocab_of(arrays))
    sections = list(reversed(list(_sections(arrays))))
    with atomic_writer(path, "w") as file:
        file.write("\\data\\\n")
        for m, (rows, _) in enumerate(sections, start=1):
            file.write(f"ngram {m}={len(rows) + (len(MARKS) if m == 1 else 0)}\n")
        for m, (rows, gamma) in enumerate(sections, start=1):
            file.write(f"\n\\{m}-grams:\n")
            if m == 1:
                file.writelines(f"{NEVER}\t{mark}\t0\n" for mark in MARKS)
            file.writelines(_lines(arrays, rows, gamma, words))
        file.write("\n\\end\\\n")


def _checked_names(names: Sequence[str] | None, vocab: int) -> list[str]:
    words = [str(i) for i in range(vocab)] if names is None else list(names)
    if len(words) != vocab or len(set(words)) != vocab:
        raise WeightlessError(f"ARPA needs {vocab} different names, not {len(set(words))} of {len(words)}")
    for word in words:
        if not word or word.split() != [word] or word in MARKS:
            raise WeightlessError(f"{word!r} cannot name a word in ARPA: no white space, none of {' '.join(MARKS)}")
    return words


def _contexts(arrays: Arrays) -> list[np.ndarray]:
    """Words of every context, oldest first: one [N_k, k] per level, level 0 included."""
    levels = [np.empty((1, 0), np.uint32)]
    for k in range(1, order_of(arrays)):
        if k == 1:
            levels.append(np.arange(vocab_of(arrays), dtype=np.uint32)[:, None])
            continue
        n_children = np.diff(arrays[f"ctx.{k - 1}.node"][:, 0].astype(np.int64))
        oldest = arrays[f"ctx.{k}.word"].astype(np.uint32)
        levels.append(np.column_stack([oldest, np.repeat(levels[k - 1], n_children, axis=0)]))
    return levels


def _sections(arrays: Arrays) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(n-grams [n, m], gamma [n]) of every order m, the highest first."""
    order, contexts = order_of(arrays), _contexts(arrays)
    longer = np.empty((0, order + 1), np.uint32)
    for m in range(order, 0, -1):
        listed = _ngrams(arrays, contexts[m - 1], m - 1)
        known = contexts[m] if m < order else listed[:0]
        wanted = np.concatenate([known, listed, longer[:, 1:], longer[:, :-1]])
        rows, place = np.unique(wanted, axis=0, return_inverse=True)
        gamma = np.ones(len(rows))
        if m < order:
            gamma[place.ravel()[: len(known)]] = _gammas(arrays, m)
        yield rows, gamma
        longer = rows


def _ngrams(arrays: Arrays, contexts: np.ndarray, k: int) -> np.ndarray:
    """Every listed n-gram of k + 1 words."""
    if k == 0:
        return np.arange(vocab_of(arrays), dtype=np.uint32)[:, None]
    n_followers = np.diff(list_bounds(arrays, k).astype(np.int64))
    return np.column_stack([np.repeat(contexts, n_followers, axis=0), arrays[f"cont.{k}.word"].astype(np.uint32)])


def _gammas(arrays: Arrays, k: int) -> np.ndarray:
    """Back-off weight of every context of level k, float64 [N_k]."""
    bounds = list_bounds(arrays, k).astype(np.int64)
    taken = np.append(np.uint32(0), arrays[f"cont.{k}.cum"])[bounds[1:]].astype(np.int64)
    return np.where(bounds[1:] > bounds[:-1], QUANTA - taken, QUANTA) / QUANTA


def _lines(arrays: Arrays, rows: np.ndarray, gamma: np.ndarray, words: list[str]) -> Iterator[str]:
    m = rows.shape[1]
    # Every row is scored as a stretch of one stream; the limit keeps its last word from seeing the row before.
    log10 = log_probs(arrays, rows.ravel(), order_of(arrays), context_limit=m - 1)[m - 1 :: m] / np.log(10)
    highest = m == order_of(arrays)
    for row, p, weight in zip(rows.tolist(), log10.tolist(), np.log10(gamma).tolist(), strict=True):
        backoff = "" if highest else f"\t{weight:.9g}"
        yield f"{min(p, 0.0):.9g}\t{' '.join(words[w] for w in row)}{backoff}\n"
