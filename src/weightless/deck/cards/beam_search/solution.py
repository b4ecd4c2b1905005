"""Batched beam search with a length penalty, and a small model to search: our solution of the card `beam_search`.

Why finished beams must stay in the pool, which score selects, and what a step costs: weightless/decode/beam_search.py,
which this file hands on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weightless.decode import beam_search

VOCAB_SIZE, D_MODEL = 1000, 64


def batched_beam_search(
    prompts: Sequence[Sequence[int]],
    beam_width: int,
    max_new_tokens: int,
    alpha: float = 0.6,
    eos_token_id: int = 0,
    log_probs: Callable[[list[list[int]]], Any] | None = None,
) -> list[list[tuple[list[int], float]]]:
    """Per prompt up to `beam_width` pairs (new tokens, score), best first; without `log_probs` a random model."""
    asked = MinimalLM().log_probs if log_probs is None else log_probs
    return beam_search.batched_beam_search(prompts, beam_width, max_new_tokens, alpha, eos_token_id, asked)


class MinimalLM:
    """One causal transformer block with random weights; the same weights for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.embed_VD = rng.standard_normal((VOCAB_SIZE, D_MODEL)) / np.sqrt(D_MODEL)
        square = (4, D_MODEL, D_MODEL)
        self.q_DD, self.k_DD, self.v_DD, self.o_DD = rng.standard_normal(square) / np.sqrt(D_MODEL)
        self.up_DF = rng.standard_normal((D_MODEL, 4 * D_MODEL)) / np.sqrt(D_MODEL)
        self.down_FD = rng.standard_normal((4 * D_MODEL, D_MODEL)) / np.sqrt(4 * D_MODEL)

    def log_probs(self, prefixes: list[list[int]]) -> np.ndarray:
        """log p of the next token (n, V): every prefix by itself, so that nothing is padded."""
        return np.stack([self._next(prefix) for prefix in prefixes])

    def _next(self, prefix: list[int]) -> np.ndarray:
        x_TD = self.embed_VD[prefix] + self._places(len(prefix))
        n_TD = _normed(x_TD)
        s_T = (n_TD[-1] @ self.q_DD) @ (n_TD @ self.k_DD).T / np.sqrt(D_MODEL)  # the last position sees all
        p_T = np.exp(s_T - s_T.max())
        x_D = x_TD[-1] + (p_T / p_T.sum()) @ (n_TD @ self.v_DD) @ self.o_DD
        x_D = x_D + np.maximum(_normed(x_D) @ self.up_DF, 0) @ self.down_FD
        logit_V = 8 * _normed(x_D) @ self.embed_VD.T
        shifted_V = logit_V - logit_V.max()
        return shifted_V - np.log(np.exp(shifted_V).sum())

    def _places(self, n: int) -> np.ndarray:
        angle = np.arange(n)[:, None] / 100.0 ** (np.arange(D_MODEL // 2) / (D_MODEL // 2))
        return 0.1 * np.concatenate((np.sin(angle), np.cos(angle)), axis=1)


def _normed(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
