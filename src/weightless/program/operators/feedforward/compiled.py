"""The compiled twin of `promise.py`: operands as its `lower` lists them, the packed matrices `up` and `down` first."""

from __future__ import annotations

from weightless.base.compiled import njit
from weightless.kernels.numba.layers import activate
from weightless.kernels.numba.memory import updated
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import join, normed, product


@njit(**KERNEL)
def norm_ffn_add(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_up, width, d_ff = c[2], c[8], c[9]
    x = updated(S, c[14], width)
    h, hidden = scratch[:width], scratch[width : width + n_up]
    inner = scratch[width + n_up : width + n_up + d_ff]
    normed(W, c[12], x, width, f[0], h)
    product(W, c[:6], h, hidden)
    activate(hidden, d_ff, c[13], inner)
    product(W, c[6:12], inner, h)
    join(W, x, h, width, c[14:18], f)
