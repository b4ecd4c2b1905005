"""RMSNorm (Zhang & Sennrich 2019) over the last axis:  y = x / sqrt(mean(x^2) + eps) * w.

Computed in the dtype of the input; give float64 for a reference.
"""

from __future__ import annotations

import numpy as np


def rms_norm(x: np.ndarray, weight: np.ndarray | None, eps: float) -> np.ndarray:
    """Same shape as x [..., D]; `weight` has D elements in any shape, or is None for all ones (QK-norm)."""
    y = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(eps))
    return y if weight is None else y * weight.reshape(-1)
