"""The training text with the documents last that the mixers are tuned on, as if it had been written in that order.

A document begins with a token that has no bytes (<|endoftext|>).  Which ones go last is drawn by a hash of their
numbers, until `wanted` tokens are together: whole documents, because in a book that is half counted the counts know
more than they will know in a new one.  A text of fewer than FEWEST documents gives its last tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from weightless.ops.context_hashes import mix

FEWEST = 8
READ = 1 << 22
DRAWN = 0x5DEECE66D


class Arranged:
    """Stretches of a text, one behind the other: `len`, and slices as arrays.  The last `n_last` are held out."""

    def __init__(self, tokens: Any, stretches: Sequence[tuple[int, int]], n_last: int) -> None:
        self._tokens, self._stretches, self.n_last = tokens, stretches, n_last
        self._ends = np.cumsum([end - first for first, end in stretches])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, wanted: slice) -> np.ndarray:
        first, stop, _ = wanted.indices(len(self))
        parts, k = [], int(np.searchsorted(self._ends, first, "right"))
        while first < stop:
            begin, end = self._stretches[k]
            behind = int(self._ends[k])
            take = min(stop, behind) - first
            at = end - (behind - first)
            parts.append(np.asarray(self._tokens[at : at + take]))
            first, k = first + take, k + 1
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.asarray(self._tokens[:0])


def arranged(tokens: Any, token_bytes: Sequence[bytes] | None, wanted: int) -> Arranged:
    """`tokens` with documents of about `wanted` of them at the end, at most twice as many; of none if wanted < 2."""
    n = len(tokens)
    starts = _document_starts(tokens, token_bytes) if wanted > 1 and token_bytes else np.zeros(0, np.int64)
    ends = np.append(starts[1:], n)
    if len(starts) < FEWEST:
        return Arranged(tokens, [(0, n)] if n else [], wanted if wanted > 1 else 0)
    last, n_last = set(), 0
    for k in sorted(range(len(starts)), key=lambda k: mix(k, DRAWN)):
        length = int(ends[k] - starts[k])
        if n_last < wanted and n_last + length <= 2 * wanted:
            last.add(k)
            n_last += length
    if n_last < wanted // 2:
        return Arranged(tokens, [(0, n)], wanted)
    documents = [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]
    counted = [document for k, document in enumerate(documents) if k not in last]
    counted = [(0, int(starts[0])), *counted] if starts[0] else counted
    return Arranged(tokens, [*_joined(counted), *(documents[k] for k in sorted(last))], n_last)


def _document_starts(tokens: Any, token_bytes: Sequence[bytes]) -> np.ndarray:
    """The first of every run of tokens without bytes."""
    is_mark = np.array([len(piece) == 0 for piece in token_bytes])
    found, before = [], False
    for first in range(0, len(tokens), READ):
        marks = is_mark[np.asarray(tokens[first : first + READ])]
        found.append(first + np.flatnonzero(marks & ~np.append(before, marks[:-1])))
        before = bool(marks[-1])
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _joined(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbours as one."""
    found: list[tuple[int, int]] = []
    for first, end in stretches:
        if found and found[-1][1] == first:
            first = found.pop()[0]
        found.append((first, end))
    return found
