"""The compiled twins of `promise.py`: operands as its `lower` lists them, the packed table first."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.calls import call
from weightless.kernels.numba.hashing import hashed_row
from weightless.kernels.numba.memory import READ, loaded, store_id, stored, touch, touch_rows, updated
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import add_into
from weightless.program.registers import STATUS, TOKEN, T


@njit(**KERNEL)
def accept_token(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    store_id(S, c[0] + 4 * (R[T] - 1), R[TOKEN])


@njit(**KERNEL)
def gather_row(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    at = c[6] + 4 * (R[T] - 1)
    touch(S, at, 4, READ)
    row = np.int64(S[3][at // 4])
    if row >= c[2]:
        R[STATUS] = 1
        return
    _fetch(c, W, S, row, c[8] != 0, scratch)


@njit(**KERNEL)
def gather_position(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    _fetch(c, W, S, R[T] - 1, True, scratch)


@njit(**KERNEL)
def add_row(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    _fetch(c, W, S, c[6], True, scratch)


@njit(**KERNEL)
def keep(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    x, out = loaded(S, c[0], c[2]), stored(S, c[1], c[2])
    for j in range(c[2]):
        out[j] = x[j]


@njit(**KERNEL)
def add_kept(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n = c[3]
    x, skip, gains = updated(S, c[0], n), loaded(S, c[1], n), loaded(W, c[2], n)
    for j in range(n):
        x[j] += gains[j] * skip[j]


@njit(**KERNEL)
def gather_hashed(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    seen = min(c[8], R[T])
    touch(S, c[6] + 4 * (R[T] - seen), 4 * seen, READ)
    history = S[3][c[6] // 4 : c[6] // 4 + R[T]]
    row = hashed_row(history, R[T], c[8], np.uint64(c[9]), c[10], c[2])
    _fetch(c, W, S, row, True, scratch)


@njit(**KERNEL)
def _fetch(c, W, S, row, add, scratch):  # type: ignore[no-untyped-def]
    """x = a row of the table, or x += it."""
    at, stride, cols = c[0] + row * c[1], c[1], c[3]
    touch_rows(W, at, stride, 1, cols, c[4], READ)
    x = stored(S, c[7], cols)
    if add:
        touch(S, c[7], 4 * cols, READ)
        call(c[5], (W[:3], at, cols, scratch[:cols]))
        add_into(x, scratch, cols)
    else:
        call(c[5], (W[:3], at, cols, x))
