"""A small model that uses every group: embedding, table (sparse gradient), matrix, vector and head."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from weightless.program.tensor import Parameter


class ToyModel:
    """logits = head . tanh(matrix . (embed[x] + table[hash(x, x before)]) * scale)."""

    V, D, R = 61, 16, 997

    def tensors(self) -> list[Parameter]:
        v, d, r = self.V, self.D, self.R
        return [
            Parameter("embed", (v, d), "int8", 0.3, "embedding"),
            Parameter("table", (r, d), "int8", "zeros", "table"),
            Parameter("matrix", (d, d), "int4", 0.25, "matrix"),
            Parameter("scale", (1, d), "f32", "ones", "vector"),
            Parameter("head", (v, d), "bf16", 0.1, "head"),
        ]

    def prepare(self, train_tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        return {"multiplier": np.array([7 + seed % 2], np.uint16)}

    def losses(
        self, p: dict[str, torch.Tensor], tokens_BT: torch.Tensor, targets_BT: torch.Tensor, record: Any = None
    ) -> torch.Tensor:
        before_BT = F.pad(tokens_BT[:, :-1], (1, 0))
        rows_BT = (tokens_BT * p["multiplier"] + before_BT * 31) % self.R
        x_BTD = F.embedding(tokens_BT, p["embed"]) + F.embedding(rows_BT, p["table"], sparse=True)
        x_BTD = F.dropout(torch.tanh((x_BTD * p["scale"]) @ p["matrix"].T), 0.05, training=torch.is_grad_enabled())
        logits_NV = (x_BTD @ p["head"].T).flatten(0, 1)
        return F.cross_entropy(logits_NV, targets_BT.flatten(), reduction="none").view_as(targets_BT)


def toy_tokens(n: int, seed: int = 0) -> np.ndarray:
    """A noisy cycle over the vocabulary: learnable in a few hundred steps."""
    rng = np.random.default_rng(seed)
    steps = np.where(rng.random(n) < 0.9, 3, rng.integers(0, ToyModel.V, n))
    return (np.cumsum(steps) % ToyModel.V).astype(np.uint16)
