"""Leaving early: behind chosen layers a token that is sure of itself goes to the head (Schuster et al. 2022).

    c = sigmoid(w · norm(x) + b);    c >= threshold: x goes to the head as it is    else: x = layer_n(… layer_k(x))

The layers that are passed over leave in memory what they would leave, had the stream not changed since the exit, so
that later positions find a key and a value of every earlier one (`Layer.leaving`); that is counted.

Trained jointly: every exit adds its own nats, by the model's own head, times `weight`; c learns how far the exit's
distribution is from the model's (`functions.exit_loss`), without a gradient to the stream.  In training all layers
run; the threshold is fitted behind it, on training text that was held out (`train/settling.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.layers.full_head import FullHead
from weightless.layers.holding import Holding
from weightless.layers.layer import STREAM, Fused, Head, Layer, Window, through
from weightless.ledger.memory import Activation
from weightless.program.operators.exits import ExitTest
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch

LINE = "exit tests"
THRESHOLD = "exit.threshold"
NEVER = 2.0
"""A threshold that no c reaches: the model at full depth."""


@dataclass(frozen=True)
class ExitAfter(Holding):
    """`layers`, then a test; `behind` are those that it may pass over, perhaps with a test of their own.

    name        of its tensors and its register           head        of the model, for the nats of the exit
    threshold   what is packed unless it is fitted        weight      of the nats of the exit in training
    allowed     nats per token that exits may cost where it is fitted, None where it is given
    """

    layers: tuple[Layer, ...]
    head: Head
    threshold: float
    behind: tuple[Layer, ...]
    name: str
    d_model: int
    eps: float
    weight: float
    allowed: float | None = None

    def __post_init__(self) -> None:
        if not self.behind:
            raise ConfigError(f"{self.name}: there is no layer to pass over")
        self.leaving()

    @property
    def held(self) -> tuple[Layer, ...]:
        return (*self.layers, *self.behind)

    @property
    def tensors(self) -> tuple[str, str]:
        """Weight and bias of the test."""
        return f"{self.name}.weight", f"{self.name}.bias"

    @property
    def sure(self) -> str:
        return f"{self.name}.sure"

    def parameters(self) -> list[Parameter]:
        own = [
            Parameter(name, (1, width), "f32", "zeros", "vector", LINE)
            for name, width in zip(self.tensors, (self.d_model, 1), strict=True)
        ]
        return [*own, *super().parameters()]

    def constants(self) -> list[Tensor]:
        """All tests of a model share the threshold."""
        own = Tensor(THRESHOLD, (1, 1), "f32", LINE, "constant")
        return [own, *super().constants()]

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        return {THRESHOLD: np.full((1, 1), self.threshold, np.float32), **super().prepare(tokens, seed)}

    def state(self) -> list[Tensor]:
        own = Tensor(self.sure, (1, 1), "f32", LINE, "state")
        return [own, *super().state()]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        """In training all layers; else those that each position goes through."""
        for layer in self.layers:
            x_BTD = through(layer, p, x_BTD, window)
        if window.record is not None:
            window.record.at_end.append(self._losses(p, x_BTD))
        else:
            exits_BT = self._logits(p, x_BTD).sigmoid() >= p[THRESHOLD].reshape(())
            exited_BT = exits_BT if window.exited_BT is None else exits_BT | window.exited_BT
            window = window._replace(exited_BT=exited_BT)
        for layer in self.behind:
            x_BTD = through(layer, p, x_BTD, window)
        return x_BTD

    def _logits(self, p: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.tensors
        return L.exit_logits(x, p[weight], p[bias], self.eps)

    def _losses(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor) -> Any:
        """What the exit asks for once the model's nats are known: its own, and the loss of its test."""
        logits_BT = self._logits(p, x_BTD.detach())

        def asked(targets_BT: torch.Tensor, nats_BT: torch.Tensor) -> torch.Tensor:
            early_BT = self.head.nats(p, x_BTD, targets_BT)
            return self.weight * L.mean_nats(early_BT, targets_BT) + L.exit_loss(
                logits_BT, early_BT, nats_BT, targets_BT
            )

        return asked

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        for layer in self.layers:
            x_D = layer.step(p, s, x_D, t, fused)
        with fused("exit_test"):
            sure = self._logits(p, x_D).sigmoid()
            s[self.sure].copy_(sure.reshape(1, 1))
            exits = float(sure) >= float(p[THRESHOLD])
        for layer in self.behind:
            if exits:
                layer.leave(p, s, x_D, t, fused)
            else:
                x_D = layer.step(p, s, x_D, t, fused)
        return x_D

    def operators(self) -> list[Any]:
        before, full, lite = (
            [op for layer in self.layers for op in layer.operators()],
            [op for layer in self.behind for op in layer.operators()],
            [op for layer in self.behind for op in layer.leaving()],
        )
        weight, bias = self.tensors
        test = ExitTest(weight, bias, THRESHOLD, STREAM, self.sure, self.eps, len(full), len(lite))
        return [*before, test, *full, *lite]

    def kept(self, T: int) -> list[Activation]:
        """The layers' own, what the head keeps of the exit's nats (a full one's targets are the model's), and of the
        test its input, z, the ratio that it learns, and twice which targets count."""
        inner = [item for layer in self.held for item in layer.kept(T)]
        nats = self.head.kept(T)[1 if isinstance(self.head, FullHead) else 0 :]
        stream = Activation("exit tests: the stream, normed", T * self.d_model)
        return [*inner, *nats, stream, Activation("exit tests: z, ratio, what counts", T, 1, 4 + 4 + 2)]


@dataclass(frozen=True, kw_only=True)
class EarlyExit:
    """The fields of a family whose tokens may leave early; `exits` puts the tests between its blocks."""

    exit_after: tuple[int, ...] = ()
    """Blocks after which a token that is sure may go to the head, 2 4; none: nowhere."""
    exit_threshold: float | None = None
    """How sure it has to be, above 0 and up to 1; none: fitted after training, for exit_loss."""
    exit_loss: float = 0.01
    """What leaving early may cost where the threshold is fitted, in nats per token."""
    exit_weight: float = 0.3
    """Weight of the nats of every exit in training."""

    def check_exits(self, n_blocks: int) -> None:
        """ConfigError when tests are asked for that cannot be, or a field would do nothing."""
        after, threshold = self.exit_after, self.exit_threshold
        if not after:
            for name in ("exit_threshold", "exit_loss", "exit_weight"):
                if getattr(self, name) != getattr(EarlyExit, name):
                    raise ConfigError(f"{name} is of an early exit, and exit_after names no block: exit_after = [2]")
        if list(after) != sorted(set(after)) or not all(1 <= block < n_blocks for block in after):
            raise ConfigError(
                f"exit_after = {list(after)!s:.40} should name blocks from 1 to {n_blocks - 1} ({n_blocks} are "
                "there, and behind the last is the head), each once, in order"
            )
        if threshold is not None and not 0 < threshold <= 1:
            raise ConfigError(
                f"exit_threshold = {threshold:g} should lie above 0 and be at most 1 (1: hardly ever); leave it out to "
                "have it fitted"
            )
        if threshold is not None and self.exit_loss != EarlyExit.exit_loss:
            raise ConfigError("exit_loss fits the threshold, and exit_threshold gives it: leave one of them out")
        if not 0 <= self.exit_loss < 1e6 or not 0 <= self.exit_weight < 1e6:
            raise ConfigError(
                f"exit_loss = {self.exit_loss:g} and exit_weight = {self.exit_weight:g} are from 0 to 1e6"
            )

    def exits(self, blocks: Sequence[Sequence[Layer]], head: Head, d_model: int, eps: float) -> tuple[Layer, ...]:
        """The layers of all blocks, with a test after those that `exit_after` names."""
        given = NEVER if self.exit_threshold is None else self.exit_threshold
        rest = (d_model, eps, self.exit_weight, self.exit_loss if self.exit_threshold is None else None)
        last = self.exit_after[-1] if self.exit_after else 0
        found = tuple(chain(*blocks[last:]))
        for first, end in reversed(list(pairwise((0, *self.exit_after)))):
            layers = tuple(chain(*blocks[first:end]))
            found = (ExitAfter(layers, head, given, found, f"exit.{end}", *rest),)
        return found
