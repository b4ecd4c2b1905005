"""Feed-forward blocks: SwiGLU (Shazeer 2020), SiLU with two matrices, squared ReLU (So et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from weightless.layers.functions.activations import taken
from weightless.layers.functions.norm import widened


def ffn(
    x: torch.Tensor,
    up: torch.Tensor,
    down: torch.Tensor,
    activation: str,
    up_bias: torch.Tensor | None = None,
    down_bias: torch.Tensor | None = None,
    activations: str = "f32",
) -> torch.Tensor:
    """down · act(up · x + up_bias) + down_bias: [..., d] in the dtype of x.

    x            [..., d]
    up           (2 d_ff, d), gate above value, for "swiglu"; (d_ff, d) for the others
    down         (d, d_ff)
    activation   "swiglu": silu(gate) * value; "relu2": max(z, 0)^2; "silu": silu(z) = z / (1 + exp(-z)); "gelu": by
                 tanh, z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2
    up_bias      as many elements as `up` has rows, in any shape; None for none      down_bias   the same of `down`

    activations  "int8": what both matrices multiply is rounded first (`taken`)

    The activation of half-precision numbers is worked out in float32.  Shapes that do not fit raise RuntimeError.
    """
    hidden = widened(biased(F.linear(taken(x, activations), up), up_bias))
    unit = taken(activated(hidden, activation).to(x.dtype), activations)
    return biased(F.linear(unit, down), down_bias)


def activated(hidden: torch.Tensor, activation: str) -> torch.Tensor:
    """act of a projected input, of the dtype of `hidden`: [..., d_ff].

    hidden       [..., 2 d_ff], gate before value, for "swiglu"; [..., d_ff] for the others
    activation   "swiglu": silu(gate) * value; "relu2": max(z, 0)^2; "silu": z / (1 + exp(-z)); "gelu": by tanh

    Any shape will do; an odd last axis under "swiglu" raises RuntimeError.
    """
    if activation == "swiglu":
        gate, value = hidden.chunk(2, dim=-1)
        return F.silu(gate) * value
    if activation == "relu2":
        return F.relu(hidden).square()
    return F.gelu(hidden, approximate="tanh") if activation == "gelu" else F.silu(hidden)


def biased(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x plus a bias of its last axis: the shape and dtype of x.

    x      [..., d]
    bias   d elements in any shape, or None for none

    A bias of another width raises RuntimeError.
    """
    return x if bias is None else x + bias.reshape(-1).to(x.dtype)
