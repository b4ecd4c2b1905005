"""Growing tables without what is empty, to be saved: a mask per row says which of its values follow.

    squeeze(rows, empty, masks, values) -> how many values      expand(masks, values, rows, empty) -> how many, or -1

rows uint32 [n, w <= 16]; a row whose first value is 0 is nobody's, and its mask 0; else bit k stands for a value k that
is not `empty`.  Oracle: `values = rows[mask]` in NumPy.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.rows import KERNEL

_NOBODY = np.uint32(0)


@njit(**KERNEL)
def squeeze(rows, empty, masks, values):  # type: ignore[no-untyped-def]
    n = 0
    for i in range(rows.shape[0]):
        mask = 0
        if rows[i, 0] != _NOBODY:
            values[n], mask = rows[i, 0], 1
            n += 1
            for k in range(1, rows.shape[1]):
                if rows[i, k] != empty:
                    values[n] = rows[i, k]
                    mask |= 1 << k
                    n += 1
        masks[i] = mask
    return n


@njit(**KERNEL)
def expand(masks, values, rows, empty):  # type: ignore[no-untyped-def]
    """Into rows that are 0; -1 where the masks ask for more values than there are, or for some that no row has."""
    n = 0
    for i in range(rows.shape[0]):
        mask = np.int64(masks[i])
        if mask == 0:
            continue
        if mask & 1 == 0 or mask >> rows.shape[1] != 0:
            return -1
        for k in range(rows.shape[1]):
            if mask >> k & 1 == 0:
                rows[i, k] = empty
            elif n < values.shape[0]:
                rows[i, k] = values[n]
                n += 1
            else:
                return -1
    return n
