"""Softmax and top-k by definition, float64, a whole row at once: what `fuse` is held to.

p_i = exp(z_i - max z) / sum_j exp(z_j - max z); the k largest by z, equal ones by rising index, the rest (-1, 0)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.deck.bench import Worker
from weightless.deck.comparing import array_of, distance
from weightless.deck.outcome import Failed


def by_definition(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices, probabilities) of shape (..., k) in float64."""
    z = logits.astype(np.float64)
    top = z.max(-1, keepdims=True)
    e = np.exp(z - np.where(np.isfinite(top), top, 0.0))
    p = e / np.where(e.sum(-1, keepdims=True) == 0, 1.0, e.sum(-1, keepdims=True))
    order = np.argsort(-z, axis=-1, kind="stable")[..., :k]
    there = np.take_along_axis(z, order, -1) > -np.inf
    index = np.full((*z.shape[:-1], k), -1)
    found = np.zeros(index.shape)
    index[..., : order.shape[-1]] = np.where(there, order, -1)
    found[..., : order.shape[-1]] = np.where(there, np.take_along_axis(p, order, -1), 0.0)
    return index, found


def asked(worker: Worker, logits: Any, k: int) -> tuple[Any, Any]:
    """(indices, probabilities) as the solution has them."""
    found = worker.call("fused_softmax_topk", logits, k)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise Failed("WRONG_SHAPE", f"fused_softmax_topk returned a {type(found).__name__}, not (indices, p)")
    return found[0], found[1]


def compare(found: tuple[Any, Any], logits: np.ndarray, k: int, what: str) -> None:
    """Raise Failed unless the indices are right and every row's probabilities are, relative to its largest."""
    right_index, right_p = by_definition(logits, k)
    index = array_of(found[0], right_index.shape, np.int64, f"indices {what}")
    p = array_of(found[1], right_p.shape, logits.dtype, f"probabilities {what}")
    if (index != right_index).any():
        at = tuple(int(i) for i in np.argwhere(index != right_index)[0])
        told = f"rank {at[-1]} of row {at[:-1]} is token {index[at]}, and should be {right_index[at]}"
        raise Failed("WRONG_NUMERIC", f"indices {what}: {told}")
    error, plain = (relative_to_rows(one, right_p) for one in (p, _plainly(logits, right_index)))
    allowed = max(10 * plain, 8 * float(np.finfo(logits.dtype).eps) * logits.shape[-1] ** 0.5)  # a sum term by term
    if not error <= allowed:
        told = f"off by {error:.2g} of a row's largest, allowed {allowed:.2g}"
        raise Failed("WRONG_NUMERIC", f"probabilities {what}: {told}")


def relative_to_rows(p: np.ndarray, right_p: np.ndarray) -> float:
    """Largest error, each row measured by its largest probability; inf where something is not finite."""
    top = np.where(right_p[..., :1] > 0, right_p[..., :1], 1.0)
    return distance(p.astype(np.float64) / top, right_p / top) if right_p.any() else float(np.abs(p).max())


def _plainly(logits: np.ndarray, index: np.ndarray) -> np.ndarray:
    """The formula in the dtype of the logits, of the tokens that are right: how far an honest solution may be off."""
    with np.errstate(all="ignore"):
        e = np.exp(logits - np.maximum(logits.max(-1, keepdims=True), np.finfo(logits.dtype).min))
        p = e / np.maximum(e.sum(-1, keepdims=True), np.finfo(logits.dtype).tiny)
    return np.where(index < 0, 0, np.take_along_axis(p, np.maximum(index, 0), -1))


def hold_to_truth(worker: Worker, logits: np.ndarray, k: int, what: str) -> None:
    """Ask, and compare with the definition."""
    compare(asked(worker, logits, k), logits, k, what)
