"""The compiled twins of `promise.py`: operands (logits, how many, outcome)."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.layers import draw, exp_shifted, log_sum_exp
from weightless.kernels.numba.memory import loaded, stored
from weightless.kernels.numba.rows import KERNEL
from weightless.program.registers import TARGET


@njit(**KERNEL)
def logits_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    logits = loaded(S, c[0], c[1])
    stored(S, c[2], 1)[0] = log_sum_exp(logits, c[1]) - np.float64(logits[R[TARGET]])


@njit(**KERNEL)
def logits_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    stored(S, c[2], 1)[0] = draw(loaded(S, c[0], c[1]), c[1], u[0])


@njit(**KERNEL)
def logits_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    logits = loaded(S, c[0], c[1])
    exp_shifted(logits, log_sum_exp(logits, c[1]), c[1], stored(S, c[2], c[1]))
