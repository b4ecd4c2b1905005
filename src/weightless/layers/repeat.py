"""Depth by going through the same layers again: k blocks, p passes (Dehghani et al. 2019; Lan et al. 2020).

    for pass i of p:   x += iteration[i];   x = layer_k(… layer_1(x))

The passes share every parameter; what a layer leaves in memory while decoding (caches) each pass has for itself.  So a
token touches the weights p times (T), of which they are distinct once (U).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError
from weightless.layers.holding import Holding
from weightless.layers.layer import REGISTERS, STREAM, Fused, Layer, Record, Window
from weightless.ledger.memory import Activation
from weightless.program.operators.lookup import AddRow
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

LINE = "iteration rows"


@dataclass(frozen=True)
class Repeat(Holding):
    """`layers` gone through `passes` times; `iteration` names a learned row per pass, empty: none.

    `only` are the passes, from 0, that this part of them has, where something stands between passes (`apart`); empty:
    all.  ConfigError unless there is a pass and a layer.
    """

    layers: tuple[Layer, ...]
    passes: int
    d_model: int
    format: str
    iteration: str = "iteration"
    only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.passes < 1 or not self.layers:
            raise ConfigError(f"{self.passes} passes through {len(self.layers)} layers: at least one of each is needed")

    def apart(self) -> tuple[Repeat, ...]:
        """Every pass as a layer of its own."""
        return tuple(dataclasses.replace(self, only=(i,)) for i in self._passes)

    @property
    def _passes(self) -> Sequence[int]:
        return self.only or range(self.passes)

    def parameters(self) -> list[Parameter]:
        inner = super().parameters()
        if not self.iteration:
            return inner
        shape = (self.passes, self.d_model)
        return [Parameter(self.iteration, shape, self.format, 0.02, "embedding", LINE, by_row=True), *inner]

    def after_step(self, p: Mapping[str, torch.Tensor], record: Record) -> None:
        if 0 in self._passes:  # what all passes have counted is acted on once
            super().after_step(p, record)

    def state(self) -> list[Tensor]:
        found = []
        for i in self._passes:
            names = self._of_pass(i)
            for tensor in super().state():
                found.append(dataclasses.replace(tensor, name=names.get(tensor.name, tensor.name)))
        return found

    def _of_pass(self, i: int) -> dict[str, str]:
        """{name within a layer: name in this pass} of what each pass has for itself."""
        state = [tensor for tensor in super().state() if tensor.component not in REGISTERS]
        return {tensor.name: f"{tensor.name}.pass.{i}" for tensor in state}

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        exited = window.exited_BT
        for i in self._passes:
            if self.iteration:
                moved_BTD = x_BTD + p[self.iteration][i]
                x_BTD = moved_BTD if exited is None else moved_BTD.where(~exited[..., None], x_BTD)
            x_BTD = super().forward(p, x_BTD, window)
        return x_BTD

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        for i in self._passes:
            own = {**s, **{name: s[renamed] for name, renamed in self._of_pass(i).items()}}
            if self.iteration:
                with fused("add_row"):
                    x_D = x_D + p[self.iteration][i]
            x_D = super().step(p, own, x_D, t, fused)
        return x_D

    def operators(self) -> list[Any]:
        found: list[Any] = []
        for i in self._passes:
            names = self._of_pass(i)
            if self.iteration:
                found.append(AddRow(self.iteration, STREAM, i))
            found += [_renamed(op, names) for op in super().operators()]
        return found

    def leaving(self) -> list[Any]:
        """Every pass has a memory of its own; no row of a pass is added to a stream that stays."""
        left = super().leaving()
        return [_renamed(op, self._of_pass(i)) for i in self._passes for op in left]

    def leave(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> None:
        for i in self._passes:
            own = {**s, **{name: s[renamed] for name, renamed in self._of_pass(i).items()}}
            super().leave(p, own, x_D, t, fused)

    def kept(self, T: int) -> list[Activation]:
        return len(self._passes) * super().kept(T)


def _renamed(op: Any, names: Mapping[str, str]) -> Any:
    """The operator over the tensors of one pass."""
    fields = {field.name: getattr(op, field.name) for field in dataclasses.fields(op)}
    return dataclasses.replace(
        op, **{key: names[value] for key, value in fields.items() if isinstance(value, str) and value in names}
    )
