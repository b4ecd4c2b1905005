"""Feed-forward blocks: SwiGLU (Shazeer 2020), SiLU with two matrices, squared ReLU (So et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from weightless.layers.functions.norm import widened


def ffn(x: torch.Tensor, up: torch.Tensor, down: torch.Tensor, activation: str) -> torch.Tensor:
    """down · act(up · x), without biases: [..., d] in the dtype of x.

    x            [..., d]
    up           (2 d_ff, d), gate above value, for "swiglu"; (d_ff, d) for the others
    down         (d, d_ff)
    activation   "swiglu": silu(gate) * value; "relu2": max(z, 0)^2; "silu": silu(z) = z / (1 + exp(-z)); "gelu": by
                 tanh, z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2

    The activation of half-precision numbers is worked out in float32.  Shapes that do not fit raise RuntimeError.
    """
    hidden = widened(F.linear(x, up))
    if activation == "swiglu":
        gate, value = hidden.chunk(2, dim=-1)
        inner = F.silu(gate) * value
    elif activation == "relu2":
        inner = F.relu(hidden).square()
    elif activation == "gelu":
        inner = F.gelu(hidden, approximate="tanh")
    else:
        inner = F.silu(hidden)
    return F.linear(inner.to(x.dtype), down)
