"""Skips from the first half of a stack to the second (Ronneberger et al. 2015; the Parameter Golf baseline).

    first half    x = block_i(x);  push x              second half    x += w_j * pop();  x = block_j(x)

The last one pushed is the first one popped; w_j are D learned numbers each.  A skip is kept for one position only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError
from weightless.layers.layer import STREAM, Fused, Layer, Record, Window, register, through
from weightless.layers.start import MixStart
from weightless.ledger.memory import Activation
from weightless.program.operators.lookup import AddKept, Keep
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch

LINE = "skips"
Block = tuple[Layer, ...]


@dataclass(frozen=True)
class UNet(Layer):
    """`first` blocks push, as many of the `second` pop, from its beginning on; ConfigError when those are too few."""

    first: tuple[Block, ...]
    second: tuple[Block, ...]
    d_model: int

    def __post_init__(self) -> None:
        if not 0 < len(self.first) <= len(self.second):
            raise ConfigError(
                f"{len(self.first)} blocks push and {len(self.second)} pop: at least one, and no more than pop"
            )

    @property
    def layers(self) -> list[Layer]:
        return [*chain(*self.first), *chain(*self.second)]

    @property
    def n_skips(self) -> int:
        return len(self.first)

    def parameters(self) -> list[Parameter]:
        inner = [spec for layer in self.layers for spec in layer.parameters()]
        shape = (1, self.d_model)
        return [*inner, *(Parameter(f"skip.{j}", shape, "f32", "ones", "vector", LINE) for j in range(self.n_skips))]

    def constants(self) -> list[Tensor]:
        return [tensor for layer in self.layers for tensor in layer.constants()]

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        return {name: array for layer in self.layers for name, array in layer.prepare(tokens, seed).items()}

    def after_step(self, p: Mapping[str, torch.Tensor], record: Record) -> None:
        for layer in self.layers:
            layer.after_step(p, record)

    def state(self) -> list[Tensor]:
        skips = [register(f"kept.{i}", self.d_model) for i in range(self.n_skips)]
        return [*(tensor for layer in self.layers for tensor in layer.state()), *skips]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        kept, exited = [], window.exited_BT
        for block in self.first:
            for layer in block:
                x_BTD = through(layer, p, x_BTD, window)
            kept.append(x_BTD)
        for j, block in enumerate(self.second):
            if kept:
                moved_BTD = x_BTD + p[f"skip.{j}"].reshape(-1) * kept.pop()
                x_BTD = moved_BTD if exited is None else moved_BTD.where(~exited[..., None], x_BTD)
            for layer in block:
                x_BTD = through(layer, p, x_BTD, window)
        return x_BTD

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        kept = []
        for block in self.first:
            for layer in block:
                x_D = layer.step(p, s, x_D, t, fused)
            with fused("keep"):
                kept.append(x_D.clone())
        for j, block in enumerate(self.second):
            if kept:
                with fused("add_kept"):
                    x_D = x_D + p[f"skip.{j}"].reshape(-1) * kept.pop()
            for layer in block:
                x_D = layer.step(p, s, x_D, t, fused)
        return x_D

    def operators(self) -> list[Any]:
        found: list[Any] = []
        for i, block in enumerate(self.first):
            found += [*(op for layer in block for op in layer.operators()), Keep(STREAM, f"kept.{i}")]
        for j, block in enumerate(self.second):
            if j < self.n_skips:
                found.append(AddKept(f"kept.{self.n_skips - 1 - j}", f"skip.{j}", STREAM))
            found += [op for layer in block for op in layer.operators()]
        return found

    def leaving(self) -> list[Any]:
        """What its layers leave; a skip is of one position, and none comes from one that has exited."""
        return [op for layer in self.layers for op in layer.leaving()]

    def leave(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> None:
        for layer in self.layers:
            layer.leave(p, s, x_D, t, fused)

    def kept(self, T: int) -> list[Activation]:
        """The layers' own, and each skip for the gradient of its factor, unless the next block keeps what it reads."""
        inner = [item for layer in self.layers for item in layer.kept(T)]
        kept_anyway = sum(isinstance(block[0], MixStart) for block in self.first[1:])
        return [*inner, Activation("skips", T * self.d_model, self.n_skips - kept_anyway)]
