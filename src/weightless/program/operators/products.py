"""What compiled operators do with a packed matrix, told by the six operands of `operator.packed`."""

from __future__ import annotations

from weightless.base.compiled import njit
from weightless.kernels.numba_calls import call
from weightless.kernels.numba_memory import READ, touch_rows
from weightless.kernels.numba_rows import KERNEL

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
def add_into(x, part, n):  # type: ignore[no-untyped-def]
    """x[:n] += part[:n]."""
    for j in range(n):
        x[j] += part[j]
