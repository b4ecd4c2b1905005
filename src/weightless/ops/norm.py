"""RMSNorm (Zhang & Sennrich 2019) over the last axis:  y = x / sqrt(mean(x^2) + eps) * w;  LayerNorm (Ba et al. 2016):

    y = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * w + b

Computed in float32 at least (squares of half-precision numbers leave their range at 256) and given back in the dtype
of the input, whatever that of the weight is; give float64 for a reference.
Errors: ConfigError for an eps that is not in 1e-30..1: 0 would divide a row of zeros by zero.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.arguments import as_given, working_dtype

SMALLEST_EPS = 1e-30


def rms_norm(x: np.ndarray, weight: np.ndarray | None, eps: float) -> np.ndarray:
    """Same shape and dtype as x [..., D]; `weight` has D elements in any shape, or is None for all ones (QK-norm)."""
    check_eps(eps)
    z = x.astype(working_dtype(x), copy=False)
    y = z / np.sqrt(np.mean(z * z, axis=-1, keepdims=True) + z.dtype.type(eps))
    return as_given(y if weight is None else y * weight.reshape(-1), x)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """Same shape and dtype as x [..., D]; `weight` and `bias` have D elements in any shape.

    As decoding needs it: what is not finite passes through.  `ops.layer_norm` has the checks and the gradient.
    """
    z = x.astype(working_dtype(x), copy=False)
    return as_given(rms_norm(z - z.mean(axis=-1, keepdims=True), weight, eps) + bias.reshape(-1), x)


def check_eps(eps: float) -> None:
    """ConfigError unless eps is a number that float32 holds and that keeps a row of zeros finite."""
    if not SMALLEST_EPS <= eps <= 1:
        raise ConfigError(f"eps = {eps!r} should lie between {SMALLEST_EPS:g} and 1 (1e-5 is usual)")
