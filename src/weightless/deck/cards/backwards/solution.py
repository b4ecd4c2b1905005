"""Layer normalisation, forwards and backwards, and a gradient check: our solution of the card `backwards`.

Derivation, stability, cost and the fused kernel: weightless/ops/layer_norm.py, which this file hands on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from weightless.ops import layer_norm

STEP = 1e-5


def layer_norm_forward(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> tuple[np.ndarray, Any]:
    """(y, cache) of x (B, T, D): y = gamma (x - mean) / sqrt(var + eps) + beta in the dtype of x."""
    return layer_norm.layer_norm_forward(x, gamma, beta, eps)


def layer_norm_backward(dy: Any, cache: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) from the gradient of y and what the forward pass kept."""
    return layer_norm.layer_norm_backward(dy, cache)


def gradient_check(
    x: Any,
    gamma: Any,
    beta: Any,
    dy: Any,
    eps: float = 1e-5,
    forward: Callable[..., Any] = layer_norm_forward,
    backward: Callable[..., Any] = layer_norm_backward,
) -> float:
    """Largest |difference| over the largest |central difference|, the worst of dx, dgamma and dbeta.

    Central differences of sum(y dy) with h = 1e-5 err by about h^2 + eps / h = 1e-10 relative to the gradient; in
    float32 the second term alone would be 1e-2, so everything is float64.
    """
    inputs = [np.array(value, np.float64) for value in (x, gamma, beta)]
    weights = np.array(dy, np.float64)
    _, cache = forward(*inputs, eps)
    worst = 0.0
    for which, found in enumerate(backward(weights, cache)):
        wanted = np.empty_like(inputs[which])
        for at in np.ndindex(wanted.shape):
            ends = []
            for step in (STEP, -STEP):
                moved = [value.copy() for value in inputs]
                moved[which][at] += step
                ends.append(float((forward(*moved, eps)[0] * weights).sum()))
            wanted[at] = (ends[0] - ends[1]) / (2 * STEP)
        scale = max(float(np.abs(wanted).max()), 1e-12)
        worst = max(worst, float(np.abs(np.asarray(found) - wanted).max()) / scale)
    return worst
