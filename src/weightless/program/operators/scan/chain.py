"""The batched forms of a scan and of a convolution where the rows are one sequence in order: no stage per row."""

from __future__ import annotations

import numpy as np


def scanned(before_S: np.ndarray, x_NC: np.ndarray, decay_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(h [N, S], h silu(o) [N, S]) of x = [u | g | o], float32, from the state before the first row on."""
    from weightless.kernels.numba.scan import scan_rows

    n, width = len(x_NC), len(before_S)
    u, g, o, h, y = np.zeros((5, n + 1, width), np.float32)
    u[1:], g[1:], o[1:] = np.split(x_NC, 3, axis=1)
    h[0] = before_S
    scan_rows(u, g, o, np.array(decay_S, np.float32).reshape(-1), np.zeros(n + 1, np.uint8), 1, n + 1, h, y)
    return h[1:], y[1:]


def convolved(window_RC: np.ndarray, x_NC: np.ndarray, kernel_WC: np.ndarray, first: int) -> np.ndarray:
    """x_t + sum over i < W of K_i x_{t-i} of rows at positions first, first + 1, …; nothing before position 0 counts.

    Row t mod (W - 1) of the window holds x_t.
    """
    older = [
        window_RC[t % len(window_RC)] if t >= 0 else np.zeros_like(window_RC[0])
        for t in range(first - len(window_RC), first)
    ]
    all_NC = np.concatenate([older, x_NC])
    out_NC = x_NC + kernel_WC[0] * x_NC
    for i in range(1, len(kernel_WC)):
        out_NC += kernel_WC[i] * all_NC[len(older) - i : len(all_NC) - i]
    return out_NC


def window_after(window_RC: np.ndarray, x_NC: np.ndarray, first: int) -> np.ndarray:
    """The window that rows at positions first, first + 1, … leave."""
    left_RC = window_RC.copy()
    for t in range(max(0, len(x_NC) - len(window_RC)), len(x_NC)):
        left_RC[(first + t) % len(window_RC)] = x_NC[t]
    return left_RC
