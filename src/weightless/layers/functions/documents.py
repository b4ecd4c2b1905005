"""Documents packed into one row, kept apart: who may attend to whom, and where positions begin.

`document_BT` numbers the documents of a row; a document is a run of equal numbers.  A position may attend to itself
and to what precedes it in its own document, and rotary positions count from the document's first token.  So a document
computes in a packed row exactly what it computes alone, rounded caches included (RoPE's scores depend on differences
of positions only, but a key rounded to int8 depends on its own angle).

Memory: B T^2 bytes for the mask, made once per batch and shared by all layers; on a CPU PyTorch's fused attention adds
4 B T^2 bytes when it turns the mask into numbers (`benchmarks/batches.py` measures 5 to 7 B T^2 in all, e.g. 5 MB at
4 rows of 512), and never holds the B H T^2 scores.  Slices, document by document, were no faster at these sizes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from weightless.base.errors import ConfigError


class DocumentLayout(NamedTuple):
    """allowed_BTT: True = query t may attend to key s; position_BT: place within the document, from 0."""

    allowed_BTT: torch.Tensor
    position_BT: torch.Tensor


def document_layout(document_BT: torch.Tensor | None) -> DocumentLayout | None:
    """Who may attend to whom among documents packed into rows, and where positions begin; None for None.

    document_BT   integers [B, T]: a document is a run of equal numbers in a row

    Returns DocumentLayout(allowed_BTT: bool, True = query t sees key s; position_BT: place within the document, from
    0). Raises ConfigError unless `document_BT` is a matrix of integers.
    """
    if document_BT is None:
        return None
    if document_BT.ndim != 2 or document_BT.is_floating_point():
        raise ConfigError(f"document_BT has shape {tuple(document_BT.shape)}; it should be integers [B, T]")
    begins_BT = torch.ones_like(document_BT, dtype=torch.bool)
    begins_BT[:, 1:] = document_BT[:, 1:] != document_BT[:, :-1]
    place_T = torch.arange(document_BT.shape[1], device=document_BT.device)
    first_BT = torch.where(begins_BT, place_T, 0).cummax(dim=1).values
    allowed_BTT = (first_BT[:, :, None] == first_BT[:, None, :]).tril()
    return DocumentLayout(allowed_BTT, place_T - first_BT)
