"""How sure a token is that it may leave early (Schuster et al. 2022): c = sigmoid(w · x / sqrt(mean(x^2) + eps) + b).

float32 at least; x [..., D] gives c [...].
"""

from __future__ import annotations

import numpy as np

from weightless.ops.experts import scored
from weightless.ops.norm import rms_norm


def confidence(x: np.ndarray, weight: np.ndarray, bias: float, eps: float) -> np.ndarray:
    """c [...], in 0..1; `weight` has D elements in any shape.  ConfigError for an eps as in `rms_norm`."""
    z = rms_norm(x, None, eps) @ weight.reshape(-1) + weight.dtype.type(bias)
    return scored(z, "sigmoid")
