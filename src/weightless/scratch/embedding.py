"""A token id chooses a row of a table: no arithmetic, d_model numbers read.

y = E[id]            id (...) whole numbers    E (vocab, d_model)    y (..., d_model)
"""

from __future__ import annotations

import torch

from weightless.scratch.initial import truncated_normal


class Embedding(torch.nn.Module):
    """The table E, which starts from N(0, 1) cut at 3, and the lookup in it."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.weight = truncated_normal((num_embeddings, embedding_dim), 1.0, device, dtype)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Rows of the table; an id outside it is an IndexError on the CPU, ids that are no integers a ValueError."""
        return rows(self.weight, token_ids)


def rows(table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """table[ids] for ids of any shape and integer type.

    Plain indexing would take uint8 ids for a mask and -1 for the last row; index_select takes neither.
    """
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise ValueError(f"ids are {ids.dtype}, and a row is chosen by a whole number: convert them with .long()")
    return table.index_select(0, ids.reshape(-1).long()).view(*ids.shape, table.shape[-1])
