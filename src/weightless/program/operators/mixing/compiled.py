"""The compiled twins of `promise.py`: gates and mixtures."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import load_id, loaded, store_id, stored
from weightless.kernels.numba.rows import KERNEL
from weightless.program.registers import IN_STATE, STATUS

CHOICE = 7  # the uniform that chooses a component


@njit(**KERNEL)
def _size_class(n):  # type: ignore[no-untyped-def]
    return 0 if n < 2 else 1 if n < 4 else 2 if n < 16 else 3


@njit(**KERNEL)
def gate_by_list(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    level, n = c[2], load_id(S, c[0] + 12) - load_id(S, c[0] + 8)
    R[IN_STATE] += 8
    if n > 0:
        store_id(S, c[1], 1 + (level - 1) * 4 + _size_class(n))
        R[IN_STATE] += 4
    elif level == 1:
        store_id(S, c[1], 0)
        R[IN_STATE] += 4


@njit(**KERNEL)
def gate_by_match(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    matched = load_id(S, c[0])
    R[IN_STATE] += 8
    store_id(S, c[2], 0)
    if matched == 0:
        return
    if matched >= c[3]:
        R[STATUS] = 1
        return
    n = load_id(S, c[1] + 8 * matched + 4) - load_id(S, c[1] + 8 * matched)
    R[IN_STATE] += 8
    store_id(S, c[2], 1 + (matched - 1) * 4 + _size_class(n))


@njit(**KERNEL)
def _weight(c, W, S, R):  # type: ignore[no-untyped-def]
    """Of the first model, by the gate."""
    gate = load_id(S, c[2])
    if gate >= c[4]:
        R[STATUS] = 1
        return 0.0
    return np.float64(loaded(W, c[3] + 4 * gate, 1)[0])


@njit(**KERNEL)
def mix_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    w = _weight(c, W, S, R)
    x, y = np.float64(loaded(S, c[0], 1)[0]), np.float64(loaded(S, c[1], 1)[0])
    least = min(x, y)
    stored(S, c[5], 1)[0] = least - math.log(w * math.exp(least - x) + (1.0 - w) * math.exp(least - y))


@njit(**KERNEL)
def mix_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    w = _weight(c, W, S, R)
    a, b = loaded(S, c[0], 1), loaded(S, c[1], 1)
    stored(S, c[5], 1)[0] = a[0] if u[CHOICE] < w else b[0]


@njit(**KERNEL)
def mix_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    w, width = _weight(c, W, S, R), c[6]
    a, b, out = loaded(S, c[0], width), loaded(S, c[1], width), stored(S, c[5], width)
    for j in range(width):
        out[j] = w * np.float64(a[j]) + (1.0 - w) * np.float64(b[j])
