"""What a layer promises: one frozen description with every face that the house asks for.

    parameters   what is trained                         state       what decoding leaves in memory
    forward      a whole window, in PyTorch              step        one position with that memory, in PyTorch
    operators    its part of the decode program          kept        what training keeps of a sequence

A layer holds shapes and formats, never arrays; a model is a list of layers (`stack.py`).  The faces say the same thing
in different ways and are held to each other: `forward` against `step` and against the engine that runs `operators`, by
the contract tests; the bytes of `operators` against those that a trace of `step` sees.

Shapes: B batch, T time, D model width.  `p` maps names to parameters and constants, `s` to state tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from weightless.base.errors import ConfigError
from weightless.ledger.memory import Activation
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch

    from weightless.layers.functions.documents import DocumentLayout
    from weightless.layers.functions.teaching import Kept, Taught

Fused = Callable[[str], AbstractContextManager[Any]]
"""Marks the operators of a step: entered once per operator of the program, in its order."""

HISTORY, STREAM = "history", "x"
"""State that every stack has: the tokens fed [1, context] u32, and the residual stream [1, D] f32."""

REGISTERS = ("activations", "logits")
"""Ledger lines of what only passes from one operator to the next."""

SLOTS = "slots of "
"""How the name of a count begins whose parts are so many that the run's record keeps a summary of them."""


@dataclass
class Record:
    """What layers leave behind in a training step beside the stream.

    auxiliary   scalars that are minimised beside the nats, and never counted among them
    counts      {name: float [n]}: how often each of n parts (experts, slots) was used, for balance and the run's record
    at_end      functions of (targets_BT, the model's nats_BT) that give auxiliary scalars, asked behind the head
    """

    auxiliary: list[torch.Tensor] = field(default_factory=list)
    counts: dict[str, torch.Tensor] = field(default_factory=dict)
    at_end: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = field(default_factory=list)

    def count(self, name: str, used: torch.Tensor) -> None:
        """Add to a count: a layer may be gone through more than once."""
        self.counts[name] = self.counts[name] + used if name in self.counts else used


class Window(NamedTuple):
    """What `forward` may know of the batch beside the stream: its tokens, where documents begin, while training the
    record that it may write into, the stream as it began, where layers ask for it (`start.py`), which positions have
    exited, so that their stream stays (`through`), and what halves of a stack have kept for the other (`unet.py`)."""

    tokens_BT: torch.Tensor
    documents: DocumentLayout | None = None
    record: Record | None = None
    start_BTD: torch.Tensor | None = None
    exited_BT: torch.Tensor | None = None
    pushed: dict[int, torch.Tensor] | None = None


class Layer(Protocol):
    """One frozen description of a layer with all its faces; those with a body here are those that many layers lack.

    parameters   what is trained                      state       what decoding leaves in memory
    forward      a whole window, in PyTorch           step        one position with that memory, in PyTorch
    operators    its part of the decode program       kept        what training keeps of a sequence
    """

    def parameters(self) -> list[Parameter]:
        """What is trained, with its line in the ledger; matrices are (outputs, inputs)."""
        ...

    def constants(self) -> list[Tensor]:
        """What is computed from the training text and packed beside the parameters."""
        return []

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """The values of `constants`."""
        return {}

    def after_step(self, p: Mapping[str, torch.Tensor], record: Record) -> None:
        """Change its constants in `p` after a training step, by what the step has counted (not by a gradient)."""

    def state(self) -> list[Tensor]:
        """What it leaves in memory while decoding: caches, and registers between operators."""
        return []

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        """The stream after this layer [B, T, D]; the first layer of a stack is handed None."""
        ...

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        """The stream at position t (from 1) [D]; reads and writes `s` as its operators do."""
        ...

    def operators(self) -> list[Any]:
        """Its part of the decode program, from the stream to the stream."""
        ...

    def kept(self, T: int) -> list[Activation]:
        """Tensors that training keeps of one sequence of T positions for the backward pass."""
        ...

    def leaving(self) -> list[Any]:
        """Operators that leave in memory what `operators` leave there for later positions, while the stream stays.

        A layer without a memory of its own leaves nothing.  ConfigError for one that has, and does not say how.
        """
        if memory := [tensor.name for tensor in self.state() if tensor.component not in REGISTERS]:
            raise ConfigError(
                f"no token can exit before a layer {type(self).__name__}: it does not say what it leaves in {memory[0]}"
                " when it is passed over; exit behind it, or not at all"
            )
        return []

    def leave(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> None:
        """One position of `leaving`, in PyTorch."""


class Head(Protocol):
    """The end of a stack: from the stream to probabilities, normalised exactly."""

    def parameters(self) -> list[Parameter]: ...

    def constants(self) -> list[Tensor]:
        return []

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        return {}

    def state(self) -> list[Tensor]: ...

    def nats(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        """-log p(target) [B, T], 0 where the target is IGNORED."""
        ...

    def log_probs(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor) -> torch.Tensor:
        """Normalised log-probabilities [B, T, V]."""
        ...

    def taught(
        self,
        p: Mapping[str, torch.Tensor],
        x_BTD: torch.Tensor,
        targets_BT: torch.Tensor,
        kept: Kept,
        weight: float,
        temperature: float,
    ) -> Taught:
        """What is minimised under a teacher, nats and KL, each [B, T] (`functions/teaching.py`); kept of B T positions.

        Here by all log-probabilities, for every head; one with faster ways has its own.
        """
        from weightless.layers.functions.teaching import taught_by_log_probs

        nats_BT = self.nats(p, x_BTD, targets_BT)
        return taught_by_log_probs(nats_BT, self.log_probs(p, x_BTD), targets_BT, kept, weight, temperature)

    def step_nats(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, target: int, fused: Fused) -> torch.Tensor:
        """-log p(target) at one position (mode S)."""
        ...

    def step_probabilities(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: Fused) -> torch.Tensor:
        """p [V] at one position (mode F)."""
        ...

    def operators(self) -> dict[str, tuple[Any, ...]]:
        """The heads of the decode program: score, sample, full."""
        ...

    def kept(self, T: int) -> list[Activation]: ...


def through(layer: Layer, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
    """The stream behind a layer; where a position has exited it is the one before.

    That is what passing over a layer means: what it leaves in memory comes from the stream as it stood at the exit.
    """
    new_BTD = layer.forward(p, x_BTD, window)
    return new_BTD if window.exited_BT is None else new_BTD.where(~window.exited_BT[..., None], x_BTD)


def register(name: str, width: int, component: str = "activations") -> Tensor:
    """A vector between operators, float32."""
    return Tensor(name, (1, width), "f32", component, "state")
