"""Feed-forward blocks: SwiGLU (Shazeer 2020), SiLU with two matrices, squared ReLU (So et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def ffn(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor, activation: str) -> torch.Tensor:
    """down · act(up · x); up is [gate; up] stacked (2 d_ff, d) for "swiglu", (d_ff, d) otherwise."""
    hidden = F.linear(x, up)
    if activation == "swiglu":
        gate, value = hidden.chunk(2, dim=-1)
        inner = F.silu(gate) * value
    elif activation == "relu2":
        inner = F.relu(hidden).square()
    else:
        inner = F.silu(hidden)
    return F.linear(inner, down)
