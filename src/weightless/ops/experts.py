"""Which experts a token takes, and with what weight (Shazeer et al. 2017; sigmoid and bias: DeepSeek-AI 2024).

    p = softmax(s) or sigmoid(s)      chosen = the k largest of p + bias      gate_i = p_i / sum over the chosen of p

With k = 1 the gate is p itself (Fedus et al. 2021): divided by itself it would be 1, and no router would learn.  The
bias shifts who is chosen, never a gate: it balances the load and has no gradient.  Of equal values the lower number is
chosen.  float32 at least.  Shapes: N tokens, E experts, k chosen.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.arguments import working_dtype
from weightless.ops.attention import softmax

SMALLEST_SUM = 1e-20  # of the chosen p: sigmoids of very negative scores can all be zero


def scored(s_NE: np.ndarray, scoring: str) -> np.ndarray:
    """p [N, E] from the router's scores."""
    s_NE = s_NE.astype(working_dtype(s_NE), copy=False)
    if scoring == "softmax":
        return softmax(s_NE)
    small = np.exp(-np.abs(s_NE))
    return np.where(s_NE >= 0, 1, small) / (1 + small)


def gates_of(p_NE: np.ndarray, bias_E: np.ndarray | None, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(chosen int64 [N, k], gates [N, k]), the largest first; ConfigError when k is not in 1..E."""
    if not 1 <= k <= p_NE.shape[1]:
        raise ConfigError(f"{k} of {p_NE.shape[1]} experts cannot be chosen")
    wanted_NE = p_NE if bias_E is None else p_NE + bias_E
    chosen_NK = np.argsort(-wanted_NE, axis=1, kind="stable")[:, :k]
    p_NK = np.take_along_axis(p_NE, chosen_NK, axis=1)
    if k == 1:
        return chosen_NK, p_NK
    return chosen_NK, p_NK / np.maximum(p_NK.sum(axis=1, keepdims=True), p_NE.dtype.type(SMALLEST_SUM))
