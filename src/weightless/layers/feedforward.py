"""The feed-forward half of a block: x += W_down act(W_up norm(x)), fused into one operator.

"swiglu" has a gate, W_up = [gate; up] stacked (Shazeer 2020); "silu", "relu2" and "gelu" have not (So et al. 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless.layers import functions as L
from weightless.layers.layer import STREAM, Fused, Layer, Window
from weightless.layers.residual import Residual, vector
from weightless.ledger.memory import Activation
from weightless.program.operators.feedforward import NormFfnAdd
from weightless.program.tensor import Parameter, Uniform

if TYPE_CHECKING:
    import torch

Kind = Literal["swiglu", "silu", "relu2", "gelu"]
LINE = "feed-forward"
KEPT = {"swiglu": 4, "silu": 2, "relu2": 2, "gelu": 2}
"""Vectors of width d_ff that autograd keeps per position: gate, its SiLU, up and product; or hidden and activation."""


@dataclass(frozen=True)
class FeedForward(Layer):
    """`block` is its place in the stack; `in_std`, `out_std` are the initial deviations of up and down.

    `biases`: up and down add a vector each.  `activations`: whether both multiply rounded numbers (`L.taken`).
    """

    block: int
    residual: Residual
    d_ff: int
    activation: Kind
    format: str
    in_std: float | Uniform
    out_std: float | str
    biases: bool = False
    activations: str = "f32"

    @property
    def up(self) -> str:
        return f"block.{self.block}.up"

    @property
    def down(self) -> str:
        return f"block.{self.block}.down"

    @property
    def vectors(self) -> dict[str, str]:
        """{role: tensor} of the biases."""
        return {"up_bias": f"{self.up}_bias", "down_bias": f"{self.down}_bias"} if self.biases else {}

    def parameters(self) -> list[Parameter]:
        d, n_up = self.residual.d_model, self.d_ff * (2 if self.activation == "swiglu" else 1)
        matrices = self.residual.parameters(
            LINE,
            Parameter(self.up, (n_up, d), self.format, self.in_std, "matrix", LINE),
            Parameter(self.down, (d, self.d_ff), self.format, self.out_std, "matrix", LINE),
        )
        widths = {"up_bias": n_up, "down_bias": d}
        return [*matrices, *(vector(name, widths[role], LINE) for role, name in self.vectors.items())]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        return self._applied(p, x_BTD)

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        with fused("norm_ffn_add"):
            return self._applied(p, x_D)

    def _applied(self, p: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        more: dict[str, Any] = {role: p[name] for role, name in self.vectors.items()}
        more |= {"activations": self.activations}
        branch = L.ffn(self.residual.before(p, x), p[self.up], p[self.down], self.activation, **more)
        return self.residual.joined(p, x, branch)

    def operators(self) -> list[Any]:
        r = self.residual
        fields = {**r.fields(), **r.first(), **self.vectors, "activations": self.activations}
        return [NormFfnAdd(r.norm, self.up, self.down, STREAM, self.activation, r.eps, **fields)]

    def kept(self, T: int) -> list[Activation]:
        hidden = Activation("feed-forward hidden", KEPT[self.activation] * T * self.d_ff)
        return [*self.residual.kept(T), hidden]
