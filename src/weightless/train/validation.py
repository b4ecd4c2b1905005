"""The validation loss: mean nats per token over a fixed slice of contiguous windows, the same at every call.

Window i predicts tokens i*context + 1 ... (i+1)*context from those before them in the window (the first ones have
little to go by, so the figure is an upper bound of what sliding windows give).  When fewer tokens are asked for than
there are, the windows are spread evenly over the text, so that no single document decides.

Windows run across documents, however the training packs them, because that is how the engine reads an artifact's
held-out text: one yardstick for all runs.  `apart` measures with the document mask instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from weightless.base.errors import ConfigError
from weightless.data.batches.packing import IGNORED
from weightless.train.processes import ALONE, Processes
from weightless.train.step import as_tensor


def windows_of(n_available: int, context: int, n_tokens: int) -> int:
    """How many windows of `context` the slice has; ConfigError when there is not one."""
    n_windows = min(n_tokens, n_available - 1) // context
    if n_windows < 1:
        raise ConfigError(f"{n_available} validation tokens, eval_tokens = {n_tokens}: not one window of {context}")
    return n_windows


class Validation:
    """The slice, cut once."""

    def __init__(
        self,
        tokens: Any,
        context: int,
        batch_size: int,
        n_tokens: int,
        device: str = "cpu",
        end_of_text: int | None = None,
    ) -> None:
        if not len(tokens):
            raise ConfigError(
                "the corpus has no validation text, and training measures itself by it: prepare one "
                "with it (--val_fraction above 0, --val_last N or --validation TEXT)"
            )
        n_available = (len(tokens) - 1) // context
        n_windows = windows_of(len(tokens), context, n_tokens)
        starts = np.arange(n_windows) * n_available // n_windows * context
        rows = np.stack([np.asarray(tokens[s : s + context + 1]).astype(np.int64) for s in starts.tolist()])
        self.inputs_NT = as_tensor(rows[:, :-1], device)
        self.targets_NT = as_tensor(rows[:, 1:], device)
        self.batch_size = batch_size
        self.n_tokens = int(np.count_nonzero(rows[:, 1:] != IGNORED))
        self.document_NT = None if end_of_text is None else (self.inputs_NT == end_of_text).cumsum(1)

    @torch.no_grad()
    def loss(
        self, model: Any, inputs: dict[str, torch.Tensor], apart: bool = False, together: Processes = ALONE
    ) -> float:
        """Mean nats per target with these weights and constants; IGNORED targets do not count.

        Processes `together` take turns at the batches, and each has the sum that one would have.
        """
        starts, sums = range(0, self.inputs_NT.shape[0], self.batch_size), []
        for start in starts[together.rank :: together.world]:
            rows = slice(start, start + self.batch_size)
            arrays = [self.inputs_NT[rows], self.targets_NT[rows]]
            if apart and self.document_NT is not None:
                arrays.append(self.document_NT[rows])
            sums.append(float(model.losses(inputs, *arrays).double().sum()))
        total = 0.0
        for each in together.dealt(sums, len(starts)):
            total += each
        return total / self.n_tokens

    def apart_and_across(self, model: Any, inputs: dict[str, torch.Tensor]) -> str:
        """Both losses of a model that learned with documents apart, as a sentence."""
        across, apart = (self.loss(model, inputs, mask) for mask in (False, True))
        return f"validation loss {apart:.4f} with documents apart, {across:.4f} read across them, as the engine does"
