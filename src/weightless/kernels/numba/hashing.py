"""Hashed n-gram rows in compiled code; the definition and oracle is `ops.hashing.row_index`."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.rows import KERNEL
from weightless.ops.hashing import MIX_1, MIX_2, PRIME

_PRIME, _MIX_1, _MIX_2, _SHIFT = np.uint64(PRIME), np.uint64(MIX_1), np.uint64(MIX_2), np.uint64(33)


@njit(**KERNEL)
def hashed_row(history, t, order, start, pad, n_rows):  # type: ignore[no-untyped-def]
    """Row of the last `order` of history[0:t] (uint32); `start` is `ops.hashing.start_of(seed)` as uint64."""
    h = np.uint64(start)
    for i in range(t - order, t):
        token = np.uint64(history[i]) if i >= 0 else np.uint64(pad)
        h = (h ^ token) * _PRIME
    h = (h ^ (h >> _SHIFT)) * _MIX_1
    h = (h ^ (h >> _SHIFT)) * _MIX_2
    h ^= h >> _SHIFT
    return np.int64(h % np.uint64(n_rows))
