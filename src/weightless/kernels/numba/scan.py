"""The diagonal gated recurrence in compiled code, float32, forwards and backwards; twin and oracle: `ops.scan`.

    h_t = a_t h_{t-1} + (1 - a_t) u_t        a_t = sigma(-(g_t + lambda))        y_t = h_t silu(o_t)

A batch is one long sequence of N = B T rows whose state is cleared where `begins_N` says so: at the first position of
every row and document.  The loops over S have no dependence and become vector code; the one over N is the recurrence.

Backwards, with dh_t = dy_t silu(o_t) + a_{t+1} dh_{t+1}:

    du_t = (1 - a_t) dh_t        dg_t = a_t (1 - a_t) (u_t - h_{t-1}) dh_t        dlambda = sum of dg_t
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.layers import exp
from weightless.kernels.numba.rows import KERNEL


@njit(inline="always", **KERNEL)
def decays(z):  # type: ignore[no-untyped-def]
    """(a, 1 - a) with a = sigma(-z), both of full relative precision."""
    small = exp(-abs(z))
    large = np.float32(1) / (np.float32(1) + small)
    small = small * large
    return (small, large) if z > np.float32(0) else (large, small)


@njit(inline="always", **KERNEL)
def sigmoid(z):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-z)); 0 where the exponential is infinite."""
    return np.float32(1) / (np.float32(1) + exp(-z))


@njit(**KERNEL)
def scan_rows(u_NS, g_NS, o_NS, decay_S, begins_N, first, stop, h_NS, y_NS):  # type: ignore[no-untyped-def]
    """h and y of rows first … stop - 1; row `first` begins."""
    n = u_NS.shape[1]
    for row in range(first, stop):
        u, g, o, h, y = u_NS[row], g_NS[row], o_NS[row], h_NS[row], y_NS[row]
        if begins_N[row]:
            for j in range(n):
                a, rest = decays(g[j] + decay_S[j])
                h[j] = rest * u[j]
        else:
            before = h_NS[row - 1]
            for j in range(n):
                a, rest = decays(g[j] + decay_S[j])
                h[j] = a * before[j] + rest * u[j]
        for j in range(n):
            y[j] = h[j] * o[j] * sigmoid(o[j])


@njit(**KERNEL)
def scan_backward_rows(  # type: ignore[no-untyped-def]
    dy_NS, u_NS, g_NS, o_NS, decay_S, begins_N, h_NS, first, stop, du_NS, dg_NS, do_NS, dh_S, ddecay_S
):
    """Gradients of rows first … stop - 1; `dh_S` (scratch) begins at zero, `ddecay_S` (float64) is added to."""
    n = u_NS.shape[1]
    for row in range(stop - 1, first - 1, -1):
        dy, u, g, o, h = dy_NS[row], u_NS[row], g_NS[row], o_NS[row], h_NS[row]
        du, dg, do = du_NS[row], dg_NS[row], do_NS[row]
        for j in range(n):
            s = sigmoid(o[j])
            dh_S[j] += dy[j] * o[j] * s
            do[j] = dy[j] * h[j] * s * (np.float32(1) + o[j] * (np.float32(1) - s))
        if begins_N[row]:
            for j in range(n):
                a, rest = decays(g[j] + decay_S[j])
                du[j] = rest * dh_S[j]
                dg[j] = a * rest * u[j] * dh_S[j]
                dh_S[j] = np.float32(0)
        else:
            before = h_NS[row - 1]
            for j in range(n):
                a, rest = decays(g[j] + decay_S[j])
                du[j] = rest * dh_S[j]
                dg[j] = a * rest * (u[j] - before[j]) * dh_S[j]
                dh_S[j] = a * dh_S[j]
        for j in range(n):
            ddecay_S[j] += np.float64(dg[j])
