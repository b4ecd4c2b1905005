"""Looked-up rows for whole batches: which row of a hashed table, and the rows themselves.

The hash is that of `ops.hashing`, so the engine finds the same rows; it is NumPy's, which torch.compile leaves alone.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from weightless.layers.functions.documents import DocumentLayout
from weightless.ops.hashing import last_tokens, row_index, row_index_scalar


@torch.compiler.disable
def hashed_rows(
    tokens_BT: torch.Tensor,
    order: int,
    seed: int,
    n_rows: int,
    pad: int,
    documents: DocumentLayout | None = None,
) -> torch.Tensor:
    """int64 [B, T]: the row of a hashed table that the last `order` tokens at every position name.

    tokens_BT   int64 [B, T]        order   tokens that are hashed, 1..8        seed   of the hash
    n_rows      rows of the table        pad   the token that stands before the start of a row of the batch
    documents   None, or a `document_layout`: what precedes the own document is `pad` as well
    """
    history = last_tokens(tokens_BT.cpu().numpy(), order, pad)
    if documents is not None:
        age = np.arange(order)[::-1]
        history = np.where(age <= documents.position_BT.cpu().numpy()[..., None], history, np.uint64(pad))
    return torch.from_numpy(row_index(history, seed, n_rows)).to(tokens_BT.device)


def hashed_row(seen: torch.Tensor, order: int, seed: int, n_rows: int, pad: int) -> int:
    """The row of a hashed table that the last `order` tokens name, as `hashed_rows` finds it.

    seen     the last tokens, at most `order` of them, oldest first        order   tokens that are hashed, 1..8
    seed     of the hash        n_rows   rows of the table        pad   the token that stands before the first
    """
    return row_index_scalar([pad] * (order - len(seen)) + seen.tolist(), seed, n_rows)


def looked_up(table: torch.Tensor, rows_BT: torch.Tensor) -> torch.Tensor:
    """table[rows]: [B, T, D]; the gradient is sparse, so that a table of millions costs only what was fetched.

    table   [R, D]        rows_BT   int64 [B, T], below R
    """
    return F.embedding(rows_BT, table, sparse=True)
