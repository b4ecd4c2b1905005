"""Feed-forward blocks: SwiGLU (Shazeer 2020), SiLU with two matrices, squared ReLU (So et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from weightless.layers.norm import widened


def ffn(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor, activation: str) -> torch.Tensor:
    """down · act(up · x); up is [gate; up] stacked (2 d_ff, d) for "swiglu", (d_ff, d) otherwise.

    The activation of half-precision numbers is worked out in float32; the result has the dtype of x.
    """
    hidden = widened(F.linear(x, up))
    if activation == "swiglu":
        gate, value = hidden.chunk(2, dim=-1)
        inner = F.silu(gate) * value
    elif activation == "relu2":
        inner = F.relu(hidden).square()
    else:
        inner = F.silu(hidden)
    return F.linear(inner.to(x.dtype), down)
