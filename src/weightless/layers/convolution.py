"""A short causal convolution in front of a recurrence, channel by channel (Fu et al. 2023): part of a layer, no layer.

    x_t += sum over i < W of K_i x_{t-i}        K begins at zero: then x passes as it is

Its state is the W - 1 inputs before the newest, one row each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.layer import Fused, Window
from weightless.ledger.memory import Activation
from weightless.program.operators.scan import Convolve
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

RECURRENT = "recurrent state"
"""Ledger line of what a recurrence reads and writes at every position."""


@dataclass(frozen=True)
class ShortConvolution:
    """`width` positions of `channels` columns of `register` from `first` on; width 0: there is none.  `name` tells two
    of a block apart."""

    block: int
    width: int
    channels: int
    register: str
    line: str
    name: str = "conv"
    first: int = 0

    @property
    def kernel(self) -> str:
        return f"block.{self.block}.{self.name}"

    @property
    def window(self) -> str:
        return f"{self.name}.{self.block}"

    def parameters(self) -> list[Parameter]:
        if not self.width:
            return []
        return [Parameter(self.kernel, (self.width, self.channels), "f32", "zeros", "vector", self.line)]

    def state(self) -> list[Tensor]:
        if not self.width:
            return []
        return [Tensor(self.window, (self.width - 1, self.channels), "f32", RECURRENT, "state")]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTC: torch.Tensor, window: Window) -> torch.Tensor:
        """The channels of a whole window."""
        return L.causal_convolution(x_BTC, p[self.kernel], window.documents) if self.width else x_BTC

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_C: torch.Tensor, t: int, fused: Fused
    ) -> torch.Tensor:
        """The channels at position t, from 1."""
        if not self.width:
            return x_C
        with fused("convolve"):
            kernel_WC, window, n = p[self.kernel], s[self.window], self.width - 1
            out_C = x_C + kernel_WC[0] * x_C
            for i in range(1, min(self.width, t)):
                out_C = out_C + kernel_WC[i] * window[(t - 1 - i) % n]
            window[(t - 1) % n].copy_(x_C)
            return out_C

    def leave(self, s: Mapping[str, torch.Tensor], x_C: torch.Tensor, t: int, fused: Fused) -> None:
        """What later positions need of this one, when nobody asks for its own result."""
        if self.width:
            with fused("convolve"):
                s[self.window][(t - 1) % (self.width - 1)].copy_(x_C)

    def operators(self, answers: bool = True) -> list[Any]:
        """Without `answers` only the input is remembered."""
        if not self.width:
            return []
        fields: dict[str, Any] = {} if answers else {"answers": False}
        return [Convolve(self.register, self.kernel, self.window, self.first, **fields)]

    def kept(self, T: int) -> list[Activation]:
        return [Activation("convolution: its input", T * self.channels)] if self.width else []
