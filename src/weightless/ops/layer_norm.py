"""Layer normalisation over the last axis, forwards and backwards (Ba, Kiros & Hinton 2016).

    forward     mu = mean(x)     r = 1 / sqrt(mean((x - mu)^2) + eps)     xhat = (x - mu) r     y = gamma xhat + beta
    backward    dyhat = dy gamma
                dx     = r (dyhat - mean(dyhat) - xhat mean(dyhat xhat))
                dgamma = sum dy xhat          dbeta = sum dy          (both over every axis but the last)

Where dx comes from.  xhat depends on x_i directly, through mu and through r:
    d xhat_j / d x_i = r (delta_ij - 1/D - xhat_i xhat_j / D)
since dmu/dx_i = 1/D and dr/dx_i = -r^2 xhat_i / D (the deviations sum to zero, so the path var -> mu adds nothing).
Multiply by dyhat_j and sum over j.  Two consequences make good tests: sum_i dx_i = 0, and dx is linear in dy.

Where instability hides.
    mean(x^2) - mean(x)^2 cancels: at an offset of 1e6 it is wrong in the fourth digit in float64 and negative (NaN) in
    float32.  Here the mean is taken off first (two passes over a row that is in cache anyway).
    Squares overflow at 1e154: deviations are scaled by the largest of them when that exceeds 1.
    eps stands inside the root, so a constant row gives xhat = 0 and finite gradients.
    Sums run in float64 whatever the input is; results return to the input's dtype.

Cost for (B, T, D): O(B T D) time, about 8 B T D multiply-adds backwards.  The cache is xhat (as large as x), r (one
number per row) and gamma; x itself is not kept.  Bound by memory: the backward reads dy and xhat and writes dx, once.
As one kernel: a block per row (or per few rows) holds dy and xhat in registers, reduces the two means together in one
shuffle tree, writes dx, and adds its share to partial dgamma, dbeta that a second small kernel sums over the blocks.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import ArgumentError
from weightless.ops.arguments import finite, float_array, real_number, same_shape


class LayerNormCache(NamedTuple):
    """What the backward pass needs: normalised rows, one over their deviation, and gamma."""

    xhat: np.ndarray
    r: np.ndarray
    gamma: np.ndarray


def layer_norm_forward(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> tuple[np.ndarray, LayerNormCache]:
    """(y, cache): layer normalisation of x over its last axis, y = gamma (x - mean) / sqrt(var + eps) + beta.

    x        float16, float32 or float64 of shape (..., D): any leading axes; every position of them is one row of D
    gamma    (D,) gains        beta    (D,) offsets, floats of any width
    eps      positive, added to the variance (the mean of squared deviations, divided by D) inside the root

    y has the shape and dtype of x; sums are float64, so rows may stand far from zero.  A constant row gives beta.
    `cache` is a LayerNormCache(xhat, r, gamma) for `layer_norm_backward`: xhat the normalised rows in the shape and
    dtype of x, r = 1 / sqrt(var + eps) of shape (..., 1) in float64, and gamma itself.  Nothing is padded or masked.

    Raises ArgumentError (a ValueError) naming the argument for wrong shapes, an empty array, integers or booleans, NaN
    or infinity anywhere, and eps that is not a positive finite number.
    """
    x = finite("x", float_array("x", x, "D", at_least=True))
    gamma, beta = (finite(name, float_array(name, v, "D")) for name, v in (("gamma", gamma), ("beta", beta)))
    same_shape("gamma", gamma, "the last axis of x", x.shape[-1:])
    same_shape("beta", beta, "the last axis of x", x.shape[-1:])
    if real_number("eps", eps) <= 0:
        raise ArgumentError(f"eps should be a positive number, not {eps!r}")
    centred = x - x.mean(axis=-1, keepdims=True, dtype=np.float64)
    centred -= centred.mean(axis=-1, keepdims=True)  # what rounding left of the mean
    size = np.maximum(np.abs(centred).max(axis=-1, keepdims=True), 1.0)
    variance = np.mean((centred / size) ** 2, axis=-1, keepdims=True)  # in units of size^2
    r = 1.0 / (size * np.sqrt(variance + eps / size / size))
    xhat = centred * r
    y = gamma * xhat + beta
    return y.astype(x.dtype), LayerNormCache(xhat.astype(x.dtype), r, gamma)


def layer_norm_backward(dy: Any, cache: LayerNormCache) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta): the gradients of layer normalisation from the upstream gradient.

    dy       the gradient of y, floats of the shape of x, (..., D)
    cache    what `layer_norm_forward` returned beside y: (xhat, r, gamma)

    dx has the shape (..., D) and the dtype of dy; dgamma and dbeta have the shape (D,) and the dtype of gamma and are
    summed over every axis but the last, in float64.  Each row of dx adds up to zero, to rounding.

    Raises ArgumentError (a ValueError) for dy of another shape than xhat, integers, NaN or infinity, and a cache that
    is none.
    """
    xhat, r, gamma = checked_cache(cache)
    dy = finite("dy", float_array("dy", dy, "D", at_least=True))
    same_shape("dy", dy, "x", xhat.shape)
    dyhat = dy * gamma.astype(np.float64)
    mean_dyhat = dyhat.mean(axis=-1, keepdims=True)
    mean_dyhat_xhat = (dyhat * xhat).mean(axis=-1, keepdims=True)
    dx = r * (dyhat - mean_dyhat - xhat * mean_dyhat_xhat)
    rows = tuple(range(dy.ndim - 1))
    dgamma = np.sum(dy * xhat.astype(np.float64), axis=rows)
    dbeta = np.sum(dy, axis=rows, dtype=np.float64)
    return dx.astype(dy.dtype), dgamma.astype(gamma.dtype), dbeta.astype(gamma.dtype)


def checked_cache(cache: Any) -> LayerNormCache:
    """The cache of a forward pass, or ArgumentError."""
    if not isinstance(cache, tuple) or [np.ndim(part) for part in cache[1:]] != [np.ndim(cache[0]), 1]:
        found = f"a {type(cache).__name__} without them"
        raise ArgumentError(f"cache should be what layer_norm_forward returned (xhat, r, gamma), not {found}")
    return LayerNormCache(*cache)
