"""What a step sees: windows of a long row of tokens, each with the same window one token later as its answer.

    x = tokens[i : i + m]            y = tokens[i + 1 : i + m + 1]            i uniform on 0 ... n - m - 1

The last start leaves exactly one token behind the window, the answer to its last place: both ends are reachable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def get_batch(
    dataset: Any,
    batch_size: int,
    context_length: int,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(x, y), each (batch_size, context_length) int64 on `device`, which an embedding takes as they are.

    dataset: one row of n tokens, a NumPy array of any integer type (a memory-mapped one is read only where a window
    lies), a tensor or a list.  generator: a torch.Generator on the CPU that chooses the starts, for runs that can be
    repeated; by default the global one.  ValueError for fewer than context_length + 1 tokens and for what is no row
    of whole numbers.
    """
    n_starts = len(dataset) - context_length
    if n_starts < 1 or context_length < 1:
        raise ValueError(f"{len(dataset)} tokens hold no window of {context_length} and its answer: one more is needed")
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size} should be at least 1")
    starts = torch.randint(n_starts, (batch_size,), generator=generator).tolist()
    windows = np.zeros((batch_size, context_length + 1), dtype=np.int64)
    for row, i in enumerate(starts):
        window = np.asarray(dataset[i : i + context_length + 1])
        if window.ndim != 1 or window.dtype.kind not in "iu":
            raise ValueError(f"dataset is {window.dtype} with {window.ndim} dimensions; give one row of whole numbers")
        windows[row] = window
    both = torch.from_numpy(windows).to(device)
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()
