"""Floating-point operations: 2 m n p for the product of an (m, n) with an (n, p) matrix, and nothing else.

Norms, softmax, activations, RoPE and the embedding lookup are left out (under 1 % at these widths).  Without
`causal` attention is charged for all T x T pairs, as a kernel without a causal short cut does; with it, for the
T (T + 1) / 2 pairs that a causal model needs.  The backward pass costs twice the forward pass (one product for the
gradient of the input, one for that of the weights), so training costs 3 times the forward pass.

    AdamW, per parameter: first moment 3, second moment 4, update 3, decay and application 4 = 14

Letters as in `shape`.  All results are exact whole numbers unless they are times.
"""

from __future__ import annotations

from typing import NamedTuple

from weightless.base.errors import ConfigError
from weightless.ledger.shape import TransformerShape

TRAINING_FACTOR = 3
ADAMW_STEP = 14
DAY = 86_400


class Matmul(NamedTuple):
    """`times` products of an (m, n) with an (n, p) matrix on one line of the ledger."""

    component: str
    name: str
    m: int
    n: int
    p: int
    times: int

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.p * self.times


def forward_matmuls(shape: TransformerShape, T: int = 0, causal: bool = False) -> list[Matmul]:
    """Every matrix product of one forward pass over one sequence of T tokens (0: the context)."""
    T = T or shape.context
    if T < 1:
        raise ConfigError(f"a sequence of {T} tokens has no FLOPs: give a context of at least 1")
    D, K, F, n = shape.d_model, shape.width, shape.d_ff, shape.n_layers
    pairs = T * (T + 1) // 2 if causal else T * T
    heads = n * shape.n_heads
    up = "gate and up" if shape.ffn == "gated" else "up"
    return [
        Matmul("attention projections", "q", T, D, shape.d_q, n),
        Matmul("attention projections", "k and v", T, D, 2 * shape.d_kv, n),
        Matmul("attention projections", "out", T, shape.d_q, D, n),
        Matmul("attention scores and values", "scores q k'", 1, K, pairs, heads),
        Matmul("attention scores and values", "weights times v", 1, pairs, K, heads),
        Matmul("feed-forward", up, T, D, F * (shape.matrices_of_ffn - 1), n),
        Matmul("feed-forward", "down", T, F, D, n),
        Matmul("head", "logits", T, D, shape.vocab_size, 1),
    ]


def forward_flops(shape: TransformerShape, T: int = 0, causal: bool = False) -> dict[str, int]:
    """{component: FLOPs} of one forward pass over one sequence."""
    out: dict[str, int] = {}
    for product in forward_matmuls(shape, T, causal):
        out[product.component] = out.get(product.component, 0) + product.flops
    return out


def training_flops(forward: int, n_sequences: int = 1) -> int:
    """Forward and backward over `n_sequences` that cost `forward` each."""
    return TRAINING_FACTOR * forward * n_sequences


def optimizer_flops(n_parameters: int) -> int:
    """One AdamW step."""
    return ADAMW_STEP * n_parameters


def seconds_for(n_flops: float, flops_per_second: float, mfu: float) -> float:
    """Time at `mfu` (model FLOPs utilisation, 0 to 1) of a device's peak; ConfigError outside these bounds."""
    if not flops_per_second > 0:
        raise ConfigError(f"flops_per_second = {flops_per_second} should be greater than 0, for example 495e12")
    if not 0 < mfu <= 1:
        raise ConfigError(f"mfu = {mfu} should lie above 0 and at most at 1: it is the share of the peak that is used")
    return n_flops / (flops_per_second * mfu)
