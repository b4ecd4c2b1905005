"""Softmax and the k most probable tokens in one pass: our solution of the card `fuse` in NumPy.

Online sum, selection, traffic and cost: weightless/ops/softmax_topk.py, which this file hands on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.ops.softmax_topk import softmax_topk


def fused_softmax_topk(logits: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices int64, probabilities) of shape (B, T, k), best first, under the softmax over all of V."""
    return softmax_topk(logits, k)
