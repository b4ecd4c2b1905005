"""The compiled engine's gates and mixtures; the readable twins are in `operators/mixing.py`."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba_memory import load_id, loaded, store_id, stored
from weightless.kernels.numba_rows import KERNEL
from weightless.program import opcodes as op
from weightless.program.registers import IN_STATE, STATUS

_GATE_BY_LIST, _GATE_BY_MATCH = op.GATE_BY_LIST, op.GATE_BY_MATCH
_MIX_SCORE, _MIX_SAMPLE = op.MIX_SCORE, op.MIX_SAMPLE
CHOICE = 7  # the uniform that chooses a component


@njit(**KERNEL)
def _size_class(n):  # type: ignore[no-untyped-def]
    return 0 if n < 2 else 1 if n < 4 else 2 if n < 16 else 3


@njit(**KERNEL)
def _gate_by_list(c, S, R):  # type: ignore[no-untyped-def]
    level, n = c[2], load_id(S, c[0] + 12) - load_id(S, c[0] + 8)
    R[IN_STATE] += 8
    if n > 0:
        store_id(S, c[1], 1 + (level - 1) * 4 + _size_class(n))
        R[IN_STATE] += 4
    elif level == 1:
        store_id(S, c[1], 0)
        R[IN_STATE] += 4


@njit(**KERNEL)
def _gate_by_match(c, S, R):  # type: ignore[no-untyped-def]
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
def _mix(kind, c, W, S, R, u):  # type: ignore[no-untyped-def]
    gate, width = load_id(S, c[2]), c[6]
    if gate >= c[4]:
        R[STATUS] = 1
        return
    w = np.float64(loaded(W, c[3] + 4 * gate, 1)[0])
    a, b, out = loaded(S, c[0], width), loaded(S, c[1], width), stored(S, c[5], width)
    if kind == _MIX_SCORE:
        x, y = np.float64(a[0]), np.float64(b[0])
        least = min(x, y)
        out[0] = least - math.log(w * math.exp(least - x) + (1.0 - w) * math.exp(least - y))
    elif kind == _MIX_SAMPLE:
        out[0] = a[0] if u[CHOICE] < w else b[0]
    else:
        for j in range(width):
            out[j] = w * np.float64(a[j]) + (1.0 - w) * np.float64(b[j])


@njit(**KERNEL)
def run_mixing(kind, c, W, S, R, u):  # type: ignore[no-untyped-def]
    """One instruction of a mixture."""
    if kind == _GATE_BY_LIST:
        _gate_by_list(c, S, R)
    elif kind == _GATE_BY_MATCH:
        _gate_by_match(c, S, R)
    else:
        _mix(kind, c, W, S, R, u)
