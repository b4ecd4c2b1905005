"""The compiled twin of `promise.py`: operands as its `lower` lists them, the packed matrices `up` and `down` first."""

from __future__ import annotations

from weightless.base.compiled import njit
from weightless.kernels.numba.layers import activate
from weightless.kernels.numba.memory import updated
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import add_bias, join, normed_or_centred, product


@njit(**KERNEL)
def norm_ffn_add(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_up, width, d_ff = c[2], c[8], c[9]
    x = updated(S, c[14], width)
    h, hidden = scratch[:width], scratch[width : width + n_up]
    inner = scratch[width + n_up : width + n_up + d_ff]
    normed_or_centred(W, c[12], c[18], x, width, f[0], h)
    product(W, c[:6], h, hidden)
    add_bias(W, c[19], n_up, hidden)
    activate(hidden, d_ff, c[13], inner)
    product(W, c[6:12], inner, h)
    add_bias(W, c[20], width, h)
    join(W, x, h, width, c[14:18], f)
