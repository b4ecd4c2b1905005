"""Floor 4: PyTorch building blocks that at least two model families share.

Importing this package does not import PyTorch; naming a block does (PEP 562).  So a family file can be read,
and its bytes counted from a configuration alone, in a fraction of a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightless.layers.attention import causal_attention, rotary_tables, rotate
    from weightless.layers.documents import document_layout
    from weightless.layers.feedforward import ffn
    from weightless.layers.lookup import hashed_row, hashed_rows, looked_up
    from weightless.layers.losses import class_cross_entropy, fused_cross_entropy, target_slots
    from weightless.layers.norm import rms_norm
    from weightless.layers.step import Fused, block_step

_ROOM_OF = {
    "block_step": "step",
    "causal_attention": "attention",
    "rotary_tables": "attention",
    "rotate": "attention",
    "ffn": "feedforward",
    "class_cross_entropy": "losses",
    "document_layout": "documents",
    "fused_cross_entropy": "losses",
    "target_slots": "losses",
    "hashed_row": "lookup",
    "hashed_rows": "lookup",
    "looked_up": "lookup",
    "Fused": "step",
    "rms_norm": "norm",
}

__all__ = [
    "Fused",
    "block_step",
    "causal_attention",
    "class_cross_entropy",
    "document_layout",
    "ffn",
    "fused_cross_entropy",
    "hashed_row",
    "hashed_rows",
    "looked_up",
    "rms_norm",
    "rotary_tables",
    "rotate",
    "target_slots",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
