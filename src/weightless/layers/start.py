"""The stream as it began, mixed into every block (the Parameter Golf baseline; value residuals are its relatives).

    x_0 = x / sqrt(mean(x^2) + eps);  x = x_0          once, behind the embedding          state       start
    x   = m_0 * x + m_1 * x_0                          at the beginning of block i         parameters  block.i.mix

m_0 begins at one and m_1 at zero: a stack that has learned nothing passes its stream on.  x_0 is kept for one position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.holding import Holding
from weightless.layers.layer import STREAM, Fused, Layer, Window, register
from weightless.ledger.memory import Activation
from weightless.program.operators.start import MixKept, NormKeep
from weightless.program.tensor import Parameter, Rows, Tensor

if TYPE_CHECKING:
    import torch

START, LINE = "start", "mixed starts"


@dataclass(frozen=True)
class FromStart(Holding):
    """`layers`, in which every `MixStart` finds the stream as it came in here, normed."""

    layers: tuple[Layer, ...]
    d_model: int
    eps: float

    def state(self) -> list[Tensor]:
        return [register(START, self.d_model), *super().state()]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        normed_BTD = L.rms_norm(x_BTD, None, self.eps)
        exited_BT = window.exited_BT
        x_BTD = normed_BTD if exited_BT is None else normed_BTD.where(~exited_BT[..., None], x_BTD)
        return super().forward(p, x_BTD, window._replace(start_BTD=x_BTD))

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        with fused("norm_keep"):
            x_D = L.rms_norm(x_D, None, self.eps)
            own = {**s, START: x_D.clone()}
        return super().step(p, own, x_D, t, fused)

    def operators(self) -> list[Any]:
        return [NormKeep(STREAM, START, self.eps), *super().operators()]

    def kept(self, T: int) -> list[Activation]:
        """The layers' own and 1 / rms; x_0 itself is what the first block mixes."""
        return [Activation("norms: 1 / rms", T), *super().kept(T)]


@dataclass(frozen=True)
class MixStart(Layer):
    """The beginning of block `block`; stands within a `FromStart`."""

    block: int
    d_model: int

    @property
    def mix(self) -> str:
        return f"block.{self.block}.mix"

    def parameters(self) -> list[Parameter]:
        return [Parameter(self.mix, (2, self.d_model), "f32", Rows(1.0, 0.0), "vector", LINE)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        assert window.start_BTD is not None
        return self._mixed(p, x_BTD, window.start_BTD)

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        with fused("mix_kept"):
            return self._mixed(p, x_D, s[START])

    def _mixed(self, p: Mapping[str, torch.Tensor], x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        m_2D = p[self.mix]
        return m_2D[0] * x + m_2D[1] * start

    def operators(self) -> list[Any]:
        return [MixKept(self.mix, START, STREAM)]

    def kept(self, T: int) -> list[Activation]:
        """What it mixes, for the gradient of the factors."""
        return [Activation("streams before they are mixed", T * self.d_model)]
