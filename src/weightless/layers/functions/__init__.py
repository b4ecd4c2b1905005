"""PyTorch functions that layers are made of.

Importing this package does not import PyTorch; naming a block does (PEP 562).  So a layer can be described, and a
family's bytes counted from a configuration alone, in a fraction of a second.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightless.layers.functions.activations import taken
    from weightless.layers.functions.attention import causal_attention, rotary_tables, rotate
    from weightless.layers.functions.documents import document_layout
    from weightless.layers.functions.exits import exit_logits, exit_loss, mean_nats
    from weightless.layers.functions.experts import balance_loss, choose_experts, expert_ffn
    from weightless.layers.functions.feedforward import activated, biased, ffn
    from weightless.layers.functions.linear_attention import gated_linear_attention, unit
    from weightless.layers.functions.lookup import hashed_row, hashed_rows, looked_up
    from weightless.layers.functions.losses import (
        class_cross_entropy,
        fused_cross_entropy,
        group_cross_entropy,
        target_slots,
    )
    from weightless.layers.functions.memory import choose_slots, rows_scored, rows_summed
    from weightless.layers.functions.norm import layer_norm, rms_norm
    from weightless.layers.functions.scan import beginnings, causal_convolution, gated_scan
    from weightless.layers.functions.step import append_row, attend_rows
    from weightless.layers.functions.teaching import taught_cross_entropy

_ROOM_OF = {
    "activated": "feedforward",
    "append_row": "step",
    "attend_rows": "step",
    "balance_loss": "experts",
    "beginnings": "scan",
    "biased": "feedforward",
    "causal_attention": "attention",
    "causal_convolution": "scan",
    "choose_experts": "experts",
    "choose_slots": "memory",
    "exit_logits": "exits",
    "exit_loss": "exits",
    "mean_nats": "exits",
    "expert_ffn": "experts",
    "rotary_tables": "attention",
    "rotate": "attention",
    "ffn": "feedforward",
    "class_cross_entropy": "losses",
    "document_layout": "documents",
    "fused_cross_entropy": "losses",
    "group_cross_entropy": "losses",
    "taken": "activations",
    "target_slots": "losses",
    "taught_cross_entropy": "teaching",
    "unit": "linear_attention",
    "gated_linear_attention": "linear_attention",
    "gated_scan": "scan",
    "hashed_row": "lookup",
    "hashed_rows": "lookup",
    "layer_norm": "norm",
    "looked_up": "lookup",
    "rms_norm": "norm",
    "rows_scored": "memory",
    "rows_summed": "memory",
}

__all__ = [
    "activated",
    "append_row",
    "attend_rows",
    "balance_loss",
    "beginnings",
    "biased",
    "causal_attention",
    "causal_convolution",
    "choose_experts",
    "choose_slots",
    "class_cross_entropy",
    "document_layout",
    "exit_logits",
    "exit_loss",
    "expert_ffn",
    "ffn",
    "fused_cross_entropy",
    "gated_linear_attention",
    "gated_scan",
    "group_cross_entropy",
    "hashed_row",
    "hashed_rows",
    "layer_norm",
    "looked_up",
    "mean_nats",
    "rms_norm",
    "rotary_tables",
    "rotate",
    "rows_scored",
    "rows_summed",
    "taken",
    "target_slots",
    "taught_cross_entropy",
    "unit",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
