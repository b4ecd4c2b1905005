"""The compiled twins of `promise.py`: operands as its `lower` lists them."""

from __future__ import annotations

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import loaded, stored, updated
from weightless.kernels.numba.rows import KERNEL
from weightless.kernels.numba.scan import decays, sigmoid
from weightless.program.registers import T


@njit(**KERNEL)
def scan(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n, answers = c[4], c[5] != 0
    x, decay = loaded(S, c[0], 2 * n), loaded(W, c[1], n)
    taken, gates = x[:n], x[n : 2 * n]
    if R[T] > 1:
        h = updated(S, c[2], n)
        for j in range(n):
            a, rest = decays(gates[j] + decay[j])
            h[j] = a * h[j] + rest * taken[j]
    else:
        h = stored(S, c[2], n)
        for j in range(n):
            a, rest = decays(gates[j] + decay[j])
            h[j] = rest * taken[j]
    if answers:
        o, out = loaded(S, c[0] + 8 * n, n), stored(S, c[3], n)
        for j in range(n):
            out[j] = h[j] * o[j] * sigmoid(o[j])


@njit(**KERNEL)
def convolve(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n, width, position, answers = c[3], c[4], R[T] - 1, c[5] != 0
    x, given = loaded(S, c[0], n), scratch[:n]
    for j in range(n):
        given[j] = x[j]
    if answers:
        x = stored(S, c[0], n)
    for i in range(min(width, R[T]) if answers else 0):
        weight = loaded(W, c[1] + 4 * i * n, n)
        if i == 0:
            for j in range(n):
                x[j] += weight[j] * given[j]
        else:
            before = loaded(S, c[2] + 4 * ((position - i) % (width - 1)) * n, n)
            for j in range(n):
                x[j] += weight[j] * before[j]
    row = stored(S, c[2] + 4 * (position % (width - 1)) * n, n)
    for j in range(n):
        row[j] = given[j]
