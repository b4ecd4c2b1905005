"""A cache that caches nothing: lists of all keys and values, attention recomputed by definition in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from weightless.deck.bench import Handle, Worker
from weightless.deck.comparing import array_of, distance
from weightless.deck.outcome import Failed


@dataclass(frozen=True)
class Shape:
    """What KVCache is made with."""

    batch: int = 3
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 4
    d_head: int = 6
    dtype: str = "float64"

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.batch, self.n_layers, self.n_heads, self.n_kv_heads, self.d_head, self.dtype


class Recomputed:
    """The oracle: every sequence a list of positions, each with its key and value in every layer."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.sequences = [self._empty() for _ in range(shape.batch)]

    def _empty(self) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        return [[] for _ in range(self.shape.n_layers)]

    def append(self, layer: int, k: np.ndarray, v: np.ndarray, lengths: list[int]) -> np.ndarray:
        positions = np.full((len(lengths), k.shape[2]), -1, np.int64)
        for b, n in enumerate(lengths):
            for i in range(n):
                positions[b, i] = len(self.sequences[b][layer])
                self.sequences[b][layer].append((k[b, :, i].astype(np.float64), v[b, :, i].astype(np.float64)))
        return positions

    def attend(self, layer: int, q: np.ndarray, lengths: list[int]) -> np.ndarray:
        out = np.zeros(q.shape)
        shared = self.shape.n_heads // self.shape.n_kv_heads
        for b, n in enumerate(lengths):
            past = self.sequences[b][layer]
            for i in range(n):
                seen = past[: len(past) - n + i + 1]
                k, v = (np.repeat(np.array([pair[j] for pair in seen]), shared, axis=1) for j in (0, 1))  # (S, H, K)
                s = np.einsum("hd,shd->hs", q[b, :, i].astype(np.float64), k) / np.sqrt(q.shape[-1])
                p = np.exp(s - s.max(-1, keepdims=True))
                out[b, :, i] = np.einsum("hs,shd->hd", p / p.sum(-1, keepdims=True), v)
        return out

    def reorder(self, rows: list[int]) -> None:
        self.sequences = [[list(layer) for layer in self.sequences[row]] if row >= 0 else self._empty() for row in rows]

    def lengths(self) -> list[int]:
        return [len(sequence[0]) for sequence in self.sequences]


class Pair:
    """The solution's cache and the oracle, fed alike; every answer of one is held to the other's."""

    def __init__(self, worker: Worker, rng: np.random.Generator, shape: Shape, padding: float = 1e3) -> None:
        self.worker, self.rng, self.shape, self.padding = worker, rng, shape, padding
        self.cache: Handle = worker.make("KVCache", *shape.arguments)
        self.oracle = Recomputed(shape)

    def drawn(self, n_heads: int, T: int, lengths: list[int], size: float = 1.0) -> np.ndarray:
        """(B, n_heads, T, d_head), of which lengths[b] rows are real; the rest is `padding`."""
        found = self.rng.standard_normal((len(lengths), n_heads, T, self.shape.d_head)) * size
        for b, n in enumerate(lengths):
            found[b, :, n:] = self.padding
        return found.astype(self.shape.dtype)

    def step(self, lengths: list[int], what: str, T: int | None = None, size: float = 1.0) -> None:
        """All layers in their order: append, attend, compare.  Scores are of order size^2."""
        T = max(1, *lengths) if T is None else T
        for layer in range(self.shape.n_layers):
            k, v = (self.drawn(self.shape.n_kv_heads, T, lengths, part) for part in (size, 1.0))
            q = self.drawn(self.shape.n_heads, T, lengths, size)
            found = self.worker.method(self.cache, "append", layer, k, v, lengths)
            wanted = self.oracle.append(layer, k, v, lengths)
            if not np.array_equal(array_of(found, wanted.shape, np.int64, f"positions {what}"), wanted):
                told = f"append returned {found.tolist()}, and the rows stand at {wanted.tolist()}"
                raise Failed("WRONG_NUMERIC", f"positions {what}: {told}")
            self.compare(self.worker.method(self.cache, "attend", layer, q, lengths), layer, q, lengths, what)

    def compare(self, found: Any, layer: int, q: np.ndarray, lengths: list[int], what: str) -> None:
        """Raise Failed unless `found` is the oracle's output."""
        wanted = self.oracle.attend(layer, q, lengths)
        out = array_of(found, wanted.shape, self.shape.dtype, f"attend {what}")
        for b, n in enumerate(lengths):
            if not (out[b, :, n:] == 0).all():
                raise Failed("WRONG_NUMERIC", f"attend {what}: rows of padding should be zero")
        allowed = 1e-10 if self.shape.dtype == "float64" else 2e-5
        if not (error := distance(out, wanted)) <= allowed:
            told = f"off by {error:.2g} of the largest output from recomputing everything, allowed {allowed:.0e}"
            raise Failed("WRONG_NUMERIC", f"attend {what}, layer {layer}: {told}")

    def reorder(self, rows: list[int], what: str) -> None:
        self.worker.method(self.cache, "reorder", rows)
        self.oracle.reorder(rows)
        found = self.worker.method(self.cache, "lengths")
        if not isinstance(found, (list, tuple, np.ndarray)) or len(found) != len(rows):
            raise Failed("WRONG_SHAPE", f"lengths() {what} is {found!r:.80}, not a list of {len(rows)} whole numbers")
        if [int(n) for n in found] != self.oracle.lengths():
            told = f"lengths() says {[int(n) for n in found]}, and there are {self.oracle.lengths()}"
            raise Failed("WRONG_NUMERIC", f"{what}: {told}")
