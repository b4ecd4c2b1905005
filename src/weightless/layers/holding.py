"""A layer that holds layers: every face is theirs, one after the other, until a combinator says otherwise.

`UNet`, `FromStart`, `Repeat` and `ExitAfter` each change a face or two of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weightless.layers.layer import Fused, Layer, Record, Window, through
from weightless.ledger.memory import Activation
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch


class Holding(Layer):
    """The faces of `held`, in order."""

    layers: tuple[Layer, ...]

    @property
    def held(self) -> tuple[Layer, ...]:
        """All layers that it holds."""
        return self.layers

    def parameters(self) -> list[Parameter]:
        return [spec for layer in self.held for spec in layer.parameters()]

    def constants(self) -> list[Tensor]:
        return [tensor for layer in self.held for tensor in layer.constants()]

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        return {name: array for layer in self.held for name, array in layer.prepare(tokens, seed).items()}

    def after_step(self, p: Mapping[str, torch.Tensor], record: Record) -> None:
        for layer in self.held:
            layer.after_step(p, record)

    def state(self) -> list[Tensor]:
        return [tensor for layer in self.held for tensor in layer.state()]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        for layer in self.held:
            x_BTD = through(layer, p, x_BTD, window)
        return x_BTD

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        for layer in self.held:
            x_D = layer.step(p, s, x_D, t, fused)
        return x_D

    def operators(self) -> list[Any]:
        return [op for layer in self.held for op in layer.operators()]

    def leaving(self) -> list[Any]:
        """What its layers leave; what it does itself to the stream is passed over with them."""
        return [op for layer in self.held for op in layer.leaving()]

    def leave(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> None:
        for layer in self.held:
            layer.leave(p, s, x_D, t, fused)

    def kept(self, T: int) -> list[Activation]:
        return [item for layer in self.held for item in layer.kept(T)]
