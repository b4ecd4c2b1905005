"""The k most probable tokens and their probabilities under the full softmax, in one pass over the logits.

    p_i = exp(z_i) / sum_j exp(z_j)        the k largest, not renormalised over k

Online (Milakov & Gimelshein 2018): per row keep the largest logit so far m, the sum l of exp(z - m), and the k best.
For the next block of logits with largest value b:
    m' = max(m, b)        l' = l exp(m - m') + sum exp(z - m')        best' = the k best of (best, block)
Softmax keeps the order of logits, so the best are chosen by logit and become probabilities at the end: exp(z - m) / l.

Pinned.  Ties go to the lowest index.  k > V, or fewer than k logits above -inf: the rest is index -1, probability 0.
A row of nothing but -inf gives zeros and -1, no NaN.  Indices are int64, best first; probabilities have the dtype of
the logits.

Traffic: each logit is read once, which no algorithm can undercut; V values are never written.  Softmax followed by a
selection reads them three times (maximum, sum, normalise) and once more to select, and writes V probabilities: 5x.
Per row O(V + k log k) expected work, O(k) memory beside a block; at one exp per 4 bytes it is bound by memory.
Instability: exp of a raw logit overflows float32 at 89; with m taken off, every exponent is at most 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError
from weightless.ops.arguments import first_true, float_array, whole_number

BLOCK = 4096


def softmax_topk(logits: Any, k: int, block: int = BLOCK) -> tuple[np.ndarray, np.ndarray]:
    """(indices, probabilities): the k most probable tokens of each row, under the softmax over the whole row.

    logits   float16, float32 or float64 of shape (..., V); every position of the leading axes is one row
    k        how many, at least 1; it may exceed V
    block    logits worked on at a time (memory beside the input is rows x block); it does not change the result

    indices are int64 and probabilities have the dtype of the logits, both of shape (..., k), best first.  Probabilities
    are those of the full softmax, not renormalised over the k, and summed in float64.  Ties go to the lowest index.
    Padding: where k exceeds V, or a row has fewer than k logits above -inf, the rest is index -1 with probability 0; a
    row of -inf alone is all padding (no NaN).

    Raises ArgumentError (a ValueError) for NaN or +inf among the logits (with row and token), integers, an empty array,
    and k or block that are no whole numbers of at least 1.
    """
    logits = float_array("logits", logits, "V", at_least=True)
    k, block = whole_number("k", k), whole_number("block", block)
    z_RV = logits.reshape(-1, logits.shape[-1])
    n_rows, vocab_size = z_RV.shape
    m_R = np.full(n_rows, -np.inf)
    l_R = np.zeros(n_rows)
    best_RK, index_RK = np.full((n_rows, k), -np.inf), np.full((n_rows, k), -1)
    for start in range(0, vocab_size, block):
        z_RC = _checked(z_RV[:, start : start + block].astype(np.float64), start)
        m_new_R = np.maximum(m_R, z_RC.max(axis=1))
        shift_R = np.where(m_new_R == -np.inf, 0.0, m_new_R)  # -inf - -inf would be NaN
        l_R = l_R * np.exp(m_R - shift_R) + np.exp(z_RC - shift_R[:, None]).sum(axis=1)
        m_R = m_new_R
        best_RK, index_RK = _merge(best_RK, index_RK, z_RC, start)
    shift_R = np.where(m_R == -np.inf, 0.0, m_R)
    p_RK = np.exp(best_RK - shift_R[:, None]) / np.where(l_R == 0, 1.0, l_R)[:, None]
    shape = (*logits.shape[:-1], k)
    return index_RK.reshape(shape), p_RK.astype(logits.dtype).reshape(shape)


def softmax_topk_naive(logits: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What `softmax_topk` gives, by definition: the whole softmax, then a stable sort by logit.  Holds V numbers per
    row.

    `logits` (..., V) and `k`, results, ties, padding with -1 and errors (ArgumentError) are those of `softmax_topk`.
    """
    logits = float_array("logits", logits, "V", at_least=True)
    z = _checked(logits.reshape(-1, logits.shape[-1]).astype(np.float64), 0)
    top = z.max(axis=1, keepdims=True)
    e = np.exp(z - np.where(top == -np.inf, 0.0, top))
    p = e / np.maximum(e.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    n_kept = min(whole_number("k", k), z.shape[1])
    order = np.argsort(-z, axis=1, kind="stable")[:, :n_kept]
    known = np.take_along_axis(z, order, axis=1) > -np.inf
    rest = ((0, 0), (0, k - n_kept))
    index = np.pad(np.where(known, order, -1), rest, constant_values=-1)
    p = np.pad(np.where(known, np.take_along_axis(p, order, axis=1), 0.0), rest)
    shape = (*logits.shape[:-1], k)
    return index.reshape(shape), p.astype(logits.dtype).reshape(shape)


def _merge(best_RK: np.ndarray, index_RK: np.ndarray, z_RC: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of those kept and a block; what was kept has lower indices, so a stable sort settles ties.

    The k entries (-inf, -1) that a row begins with stand before every real -inf, so that one never gets an index.
    """
    n_rows, k = best_RK.shape
    z = np.concatenate((best_RK, z_RC), axis=1)
    i = np.concatenate((index_RK, np.broadcast_to(np.arange(start, start + z_RC.shape[1]), z_RC.shape)), axis=1)
    order = np.argsort(-z, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(z, order, axis=1), np.take_along_axis(i, order, axis=1)


def _checked(z_RC: np.ndarray, start: int) -> np.ndarray:
    bad = np.isnan(z_RC) | (z_RC == np.inf)
    if bad.any():
        row, column = first_true(bad)
        raise ArgumentError(f"logits hold {z_RC[row, column]} in row {row} at token {start + column}")
    return z_RC
