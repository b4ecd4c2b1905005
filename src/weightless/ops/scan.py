"""A diagonal gated recurrence and a short causal convolution, one position after the other: the slow twins.

    h_t = a_t h_{t-1} + (1 - a_t) u_t        a_t = sigma(-z_t) = exp(-softplus(z_t)), elementwise (Feng et al. 2024)
    c_t = x_t + sum over i < W of K_i x_{t-i}        the last W inputs of every channel, the newest with K_0

Where a document begins, h_{t-1} and all older inputs count as zero.  a and 1 - a are both made from exp(-|z|), so
neither loses digits where it is small, and nothing overflows.  float32 at least.
Shapes: T positions, S state, C channels, W width of the convolution.
"""

from __future__ import annotations

import numpy as np

from weightless.ops.arguments import working_dtype


def decays(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a, 1 - a) with a = sigma(-z)."""
    z = z.astype(working_dtype(z), copy=False)
    small = np.exp(-np.abs(z))
    large = 1 / (1 + small)
    small = small * large
    return np.where(z > 0, small, large), np.where(z > 0, large, small)


def scan_step(h: np.ndarray | None, u: np.ndarray, z: np.ndarray) -> np.ndarray:
    """h_t from h_{t-1}, or from nothing where that is None."""
    a, rest = decays(z)
    return rest * u if h is None else a * h + rest * u


def scan(u_TS: np.ndarray, z_TS: np.ndarray, begins_T: np.ndarray | None = None) -> np.ndarray:
    """h [T, S]; `begins_T` is true where nothing before counts (the first position always is)."""
    rows: list[np.ndarray] = []
    for t in range(len(u_TS)):
        is_first = t == 0 or (begins_T is not None and bool(begins_T[t]))
        rows.append(scan_step(None if is_first else rows[-1], u_TS[t], z_TS[t]))
    return np.stack(rows)


def convolve(x_TC: np.ndarray, kernel_WC: np.ndarray, begins_T: np.ndarray | None = None) -> np.ndarray:
    """c [T, C]; `begins_T` as in `scan`."""
    out, since = np.empty_like(x_TC), 0
    for t in range(len(x_TC)):
        since = t if begins_T is not None and begins_T[t] else since
        out[t] = x_TC[t]
        for i in range(min(len(kernel_WC), t - since + 1)):
            out[t] += kernel_WC[i] * x_TC[t - i]
    return out
