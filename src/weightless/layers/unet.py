"""Skips from the first half of a stack to the second (Ronneberger et al. 2015; the Parameter Golf baseline).

    first half    x = block_i(x);  push x              second half    x += w_j * pop();  x = block_j(x)

The last one pushed is the first one popped; w_j are D learned numbers each.  A skip is kept for one position only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError
from weightless.layers.holding import Holding
from weightless.layers.layer import STREAM, Fused, Layer, Window
from weightless.layers.start import MixStart
from weightless.ledger.memory import Activation
from weightless.program.operators.lookup import AddKept, Keep
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

LINE = "skips"
Block = tuple[Layer, ...]


def with_skips(first: Sequence[Block], second: Sequence[Block], d_model: int) -> tuple[list[Block], list[Block]]:
    """Both halves, the first with a `Push` behind each block, the second with a `Pop` in front of as many.

    They stand within a `UNet`.  ConfigError when the second half is too short.
    """
    n = len(first)
    if not 0 < n <= len(second):
        raise ConfigError(f"{n} blocks push and {len(second)} pop: at least one, and no more than pop")
    pushing, popping = [], list(second)
    for i, block in enumerate(first):
        goes_to_mix = i + 1 < n and isinstance(first[i + 1][0], MixStart)
        pushing.append((*block, Push(i, d_model, goes_to_mix)))
    for j in range(n):
        popping[j] = (Pop(j, n - 1 - j, d_model), *second[j])
    return pushing, popping


def unet(first: Sequence[Block], second: Sequence[Block], d_model: int) -> UNet:
    """`first` blocks push, as many of the `second` pop, from its beginning on."""
    pushing, popping = with_skips(first, second, d_model)
    return UNet(tuple(chain(*pushing, *popping)))


@dataclass(frozen=True)
class UNet(Holding):
    """`layers`, in which every `Pop` finds what a `Push` has kept of this position."""

    layers: tuple[Layer, ...]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        return super().forward(p, x_BTD, window._replace(pushed={}))


@dataclass(frozen=True)
class Push(Layer):
    """Keep the stream as number `i`; `kept_anyway`: the next layer keeps what it reads, and training nothing more."""

    i: int
    d_model: int
    kept_anyway: bool = False

    @property
    def register(self) -> str:
        return f"kept.{self.i}"

    def parameters(self) -> list[Parameter]:
        return []

    def state(self) -> list[Tensor]:
        """No register: where a token exits before its `Pop`, nothing reads what was written all the same."""
        return [Tensor(self.register, (1, self.d_model), "f32", LINE, "state")]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        assert window.pushed is not None
        window.pushed[self.i] = x_BTD
        return x_BTD

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        with fused("keep"):
            s[self.register].copy_(x_D[None])
        return x_D

    def operators(self) -> list[Any]:
        return [Keep(STREAM, self.register)]

    def leaving(self) -> list[Any]:
        """Nothing: a skip is of one position, and none comes from one that has exited."""
        return []

    def kept(self, T: int) -> list[Activation]:
        """The skip, for the gradient of its factor."""
        return [] if self.kept_anyway else [Activation("skips", T * self.d_model)]


@dataclass(frozen=True)
class Pop(Layer):
    """x += w_j * what was pushed as number `i`."""

    j: int
    i: int
    d_model: int

    @property
    def gains(self) -> str:
        return f"skip.{self.j}"

    def parameters(self) -> list[Parameter]:
        return [Parameter(self.gains, (1, self.d_model), "f32", "ones", "vector", LINE)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        assert window.pushed is not None
        return x_BTD + p[self.gains].reshape(-1) * window.pushed[self.i]

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        with fused("add_kept"):
            return x_D + p[self.gains].reshape(-1) * s[f"kept.{self.i}"][0]

    def operators(self) -> list[Any]:
        return [AddKept(f"kept.{self.i}", self.gains, STREAM)]

    def kept(self, T: int) -> list[Activation]:
        return []
