"""The compiled twins of `promise.py`: operands as its `lower` lists them."""

from __future__ import annotations

from weightless.base.compiled import njit
from weightless.kernels.numba.layers import bare_rms_norm
from weightless.kernels.numba.memory import loaded, stored, updated
from weightless.kernels.numba.rows import KERNEL


@njit(**KERNEL)
def norm_keep(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n = c[2]
    x, out = updated(S, c[0], n), stored(S, c[1], n)
    bare_rms_norm(x, n, f[0], out)
    for j in range(n):
        x[j] = out[j]


@njit(**KERNEL)
def mix_kept(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n = c[3]
    m, kept, x = loaded(W, c[0], 2 * n), loaded(S, c[1], n), updated(S, c[2], n)
    for j in range(n):
        x[j] = m[j] * x[j] + m[n + j] * kept[j]
