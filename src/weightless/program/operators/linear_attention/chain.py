"""The batched form of linear attention where the rows are one sequence in order: the recurrence of training."""

from __future__ import annotations

from typing import Any

import numpy as np


def chained(before_HKV: np.ndarray, given: tuple[Any, ...], is_bf16: bool) -> tuple[np.ndarray, np.ndarray]:
    """(y [N, H, V], the state that the last row leaves), float32; given = (q, k [N, H, K], v, a, beta or None).

    `is_bf16`: the state is rounded behind every row.
    """
    from weightless.kernels.numba.linear_attention import linear_attention_row

    (n, H), beta = given[3].shape, given[4]
    q, k, v, a = (np.ascontiguousarray(z, np.float32) for z in given[:4])
    b = a if beta is None else np.ascontiguousarray(beta, np.float32)
    y, S_HKV, kept = np.empty_like(v), before_HKV.astype(np.float32), np.empty((1, *before_HKV.shape), np.float32)
    w, begins_N = np.empty(v.shape[2], np.float32), np.zeros(n, np.uint8)
    for h in range(H):
        linear_attention_row(q, k, v, a, b, begins_N, h, n, beta is not None, is_bf16, S_HKV[h], w, kept, y)
    return y, S_HKV
