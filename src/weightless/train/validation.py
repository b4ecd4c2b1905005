"""The validation loss: mean nats per token over a fixed slice of contiguous windows, the same at every call.

Window i predicts tokens i*context + 1 ... (i+1)*context from those before them in the window (the first ones have
little to go by, so the figure is an upper bound of what sliding windows give).  When fewer tokens are asked for than
there are, the windows are spread evenly over the text, so that no single document decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from weightless.base.errors import ConfigError
from weightless.train.step import as_tensor


class Validation:
    """The slice, cut once."""

    def __init__(self, tokens: Any, context: int, batch_size: int, n_tokens: int, device: str = "cpu") -> None:
        n_available = (len(tokens) - 1) // context
        n_windows = min(n_tokens // context, n_available)
        if n_windows < 1:
            raise ConfigError(f"{len(tokens)} validation tokens, eval_tokens = {n_tokens}: not one window of {context}")
        starts = np.arange(n_windows) * n_available // n_windows * context
        rows = np.stack([np.asarray(tokens[s : s + context + 1]).astype(np.int64) for s in starts.tolist()])
        self.inputs_NT = as_tensor(rows[:, :-1], device)
        self.targets_NT = as_tensor(rows[:, 1:], device)
        self.batch_size = batch_size
        self.n_tokens = n_windows * context

    @torch.no_grad()
    def loss(self, model: Any, inputs: dict[str, torch.Tensor]) -> float:
        """Mean nats per token with these weights and constants."""
        total = 0.0
        for start in range(0, self.inputs_NT.shape[0], self.batch_size):
            rows = slice(start, start + self.batch_size)
            total += float(model.losses(inputs, self.inputs_NT[rows], self.targets_NT[rows]).double().sum())
        return total / self.n_tokens
