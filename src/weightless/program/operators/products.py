"""What compiled operators do with a packed matrix (the six operands of `operator.packed`), and with the stream."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.codes import BARE
from weightless.kernels.numba.calls import call
from weightless.kernels.numba.layers import bare_rms_norm, layer_norm, rms_norm
from weightless.kernels.numba.memory import READ, loaded, touch_rows
from weightless.kernels.numba.rows import KERNEL

AT, STRIDE, ROWS, COLS, FORM, CODE = range(6)


@njit(**KERNEL)
def product(W, m, x, out):  # type: ignore[no-untyped-def]
    """out = the matrix times x."""
    product_of_rows(W, m, m[AT], m[ROWS], x, out)


@njit(**KERNEL)
def product_of_rows(W, m, at, n_rows, x, out):  # type: ignore[no-untyped-def]
    """out = `n_rows` of the matrix's rows from byte `at` on, times x."""
    touch_rows(W, at, m[STRIDE], n_rows, m[COLS], m[FORM], READ)
    call(m[CODE], (W[:3], at, m[STRIDE], n_rows, m[COLS], x, out))


@njit(**KERNEL)
def sum_of_rows(W, m, x, row, out):  # type: ignore[no-untyped-def]
    """out = the transposed matrix times x: its rows, each decoded into `row`, weighted and summed."""
    rows, cols = m[ROWS], m[COLS]
    touch_rows(W, m[AT], m[STRIDE], rows, cols, m[FORM], READ)
    for j in range(cols):
        out[j] = np.float32(0)
    for i in range(rows):
        call(m[CODE], (W[:3], m[AT] + i * m[STRIDE], cols, row))
        for j in range(cols):
            out[j] += x[i] * row[j]


@njit(**KERNEL)
def add_into(x, part, n):  # type: ignore[no-untyped-def]
    """x[:n] += part[:n]."""
    for j in range(n):
        x[j] += part[j]


@njit(**KERNEL)
def normed(W, at, x, n, eps, out):  # type: ignore[no-untyped-def]
    """out = RMSNorm of x with the weights at byte `at`, without any where that is BARE, or a copy where it is -1."""
    if at >= 0:
        rms_norm(x, loaded(W, at, n), eps, out)
    elif at == BARE:
        bare_rms_norm(x, n, eps, out)
    else:
        for j in range(n):
            out[j] = x[j]


@njit(**KERNEL)
def normed_or_centred(W, at, shift, x, n, eps, out):  # type: ignore[no-untyped-def]
    """The same, but LayerNorm where there is a bias at byte `shift`."""
    if shift >= 0:
        layer_norm(x, loaded(W, at, n), loaded(W, shift, n), eps, out)
    else:
        normed(W, at, x, n, eps, out)


@njit(**KERNEL)
def add_bias(W, at, n, out):  # type: ignore[no-untyped-def]
    """out += the bias at byte `at`, unless that is -1."""
    if at >= 0:
        add_into(out, loaded(W, at, n), n)


@njit(**KERNEL)
def join(W, x, branch, n, m, f):  # type: ignore[no-untyped-def]
    """The compiled twin of `residual.Joined.join`: m = (x, after, on the branch, gains), f = (eps, scale)."""
    after, on_branch, gains, scale = m[1], m[2], m[3], np.float32(f[1])
    if after >= 0 and on_branch != 0:
        rms_norm(branch, loaded(W, after, n), f[0], branch)
    if f[1] != 1.0:
        for j in range(n):
            branch[j] *= scale
    if gains >= 0:
        factors = loaded(W, gains, n)
        for j in range(n):
            branch[j] *= factors[j]
    add_into(x, branch, n)
    if after >= 0 and on_branch == 0:
        rms_norm(x, loaded(W, after, n), f[0], x)
