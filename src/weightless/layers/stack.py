"""A model is a stack: an embedding, layers, a head.  Training and the decode program are written once, here.

    window   x = layer_n(… layer_1(embedding(tokens)));  nats = head(x, targets)
    step     the same, one position at a time, with the state that the layers declare
    program  accept the token, then every layer's operators, then the head's

Two layers may share a register (the same name, shape and format); two tensors of one name that differ are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError
from weightless.base.format_names import has_integer_product
from weightless.layers.full_head import FullHead
from weightless.layers.layer import HISTORY, REGISTERS, Fused, Head, Layer, Record, Window
from weightless.ledger.memory import Activation
from weightless.program.cached import first_weights
from weightless.program.operators.lookup import AcceptToken
from weightless.program.program import Program
from weightless.program.tensor import Parameter, Tensor
from weightless.quant.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    import torch

    from weightless.layers.functions.teaching import Kept, Taught


@dataclass(frozen=True)
class Stack:
    """`layers` from the first lookup to the last block; `context` is the longest window.

    `plan` gives parameters other formats than those that the layers name.
    """

    vocab_size: int
    context: int
    layers: tuple[Layer, ...]
    head: Head
    plan: Plan = Plan()

    @property
    def parts(self) -> Iterator[Layer | Head]:
        yield from self.layers
        yield self.head

    def rounding(self, activations: str) -> Stack:
        """The same with activations of that format in every product; ConfigError naming a layer that knows none.

        Both sides of a product are whole numbers then, so every matrix has to be stored in codes."""
        rounded = [_rounding(part, activations) for part in self.parts]
        changed = replace(self, layers=tuple(rounded[:-1]), head=rounded[-1])
        multiplied = {name for part in changed.parts for name in _matrices(part)}
        for spec in changed.parameters():
            if spec.name in multiplied and not has_integer_product(spec.format):
                raise ConfigError(
                    f"activation_format = {activations!r} makes products of whole numbers, and {spec.name} is stored "
                    f"as {spec.format}: give it int8, int4, int2, t2 or binary (weight_format, plan)"
                )
        return changed

    def parameters(self) -> list[Parameter]:
        """Every trained tensor once, in the order of the artifact."""
        specs = _once(spec for part in self.parts for spec in part.parameters())
        vectors = frozenset(spec.name for spec in specs if spec.group == "vector")
        formats = self.plan.applied({spec.name: spec.format for spec in specs}, vectors)
        return [replace(spec, format=formats[spec.name]) for spec in specs]

    def kept(self, T: int) -> list[Activation]:
        """What training keeps of one sequence of T positions; tensors of one kind on one line."""
        found: dict[tuple[str, int, int], int] = {}
        for part in self.parts:
            for item in part.kept(T):
                key = (item.name, item.elements, item.width)
                found[key] = found.get(key, 0) + item.times
        return [Activation(name, elements, times, width) for (name, elements, width), times in found.items()]

    def program(self) -> Program:
        """How to run it, one token at a time; every byte it will touch follows from here."""
        body = [AcceptToken(HISTORY), *(op for layer in self.layers for op in layer.operators())]
        return Program(
            self.vocab_size, self.context, tuple(self.memory()), tuple(body), self.head.operators()
        ).validate()

    def memory(self) -> list[Tensor]:
        """Every tensor with its line in the ledger: parameters and constants as packed, then state."""
        weights = [Tensor(s.name, _matrix(s), s.format, s.component, by_row=s.by_row) for s in self.parameters()]
        constants = [tensor for part in self.parts for tensor in part.constants()]
        state = [tensor for part in self.parts for tensor in part.state()]
        history = Tensor(HISTORY, (1, self.context), "u32", "activations", "state")
        return _once([*weights, *constants, *state, history])


def _matrices(part: Layer | Head) -> list[str]:
    """What a part multiplies by."""
    tied = [part.tied] if isinstance(part, FullHead) and part.tied else []
    return [*tied, *(spec.name for spec in part.parameters() if spec.group in ("matrix", "head"))]


def _rounding(part: Any, activations: str) -> Any:
    if not _matrices(part):
        return part
    if not hasattr(part, "activations") or getattr(part, "d_embed", 0):
        what = "a factorised head" if hasattr(part, "activations") else f"a layer of kind {type(part).__name__}"
        raise ConfigError(f"activation_format = {activations!r}: {what} multiplies numbers as they are; leave it out")
    return replace(part, activations=activations)


class StackModel:
    """How a stack is trained: parameter shapes, and losses as a function of them.

    Nothing of a window cache is PyTorch's: its weights are constants, which are fitted behind training.
    """

    def __init__(self, stack: Stack, window_cache: int = 0) -> None:
        self.stack, self.window_cache = stack, window_cache

    def tensors(self) -> list[Parameter]:
        """Names and shapes as they are packed; matrices are (outputs, inputs)."""
        return self.stack.parameters()

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """What is computed from the data before training."""
        found = {name: array for part in self.stack.parts for name, array in part.prepare(tokens, seed).items()}
        return found | first_weights(self.window_cache)

    def losses(
        self,
        p: Mapping[str, torch.Tensor],
        tokens_BT: torch.Tensor,
        targets_BT: torch.Tensor,
        document_BT: torch.Tensor | None = None,
        record: Record | None = None,
    ) -> torch.Tensor:
        """Nats per target [B, T], 0 where the target is -1; `document_BT` keeps the documents of a row apart.

        `record` takes what else layers want to be minimised or counted; the nats do not depend on it.
        """
        nats_BT = self.stack.head.nats(p, self._stream(p, tokens_BT, document_BT, record), targets_BT)
        if record is not None:
            record.auxiliary += [asked(targets_BT, nats_BT) for asked in record.at_end]
        return nats_BT

    def taught(
        self,
        p: Mapping[str, torch.Tensor],
        tokens_BT: torch.Tensor,
        targets_BT: torch.Tensor,
        document_BT: torch.Tensor | None,
        kept: Kept,
        weight: float,
        temperature: float,
        record: Record | None = None,
    ) -> Taught:
        """`losses` under a teacher: what is minimised, nats and KL, each [B, T]; `kept` is of B T positions."""
        x_BTD = self._stream(p, tokens_BT, document_BT, record)
        found = self.stack.head.taught(p, x_BTD, targets_BT, kept, weight, temperature)
        if record is not None:
            record.auxiliary += [asked(targets_BT, found.nats) for asked in record.at_end]
        return found

    def after_step(self, p: Mapping[str, torch.Tensor], record: Record) -> None:
        """Let layers change their constants by what a step has counted."""
        for layer in self.stack.layers:
            layer.after_step(p, record)

    def log_probs(
        self, p: Mapping[str, torch.Tensor], tokens_BT: torch.Tensor, document_BT: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Normalised log-probabilities [B, T, V]; `document_BT` as in `losses`."""
        return self.stack.head.log_probs(p, self._stream(p, tokens_BT, document_BT))

    def _stream(
        self,
        p: Mapping[str, torch.Tensor],
        tokens_BT: torch.Tensor,
        document_BT: torch.Tensor | None,
        record: Record | None = None,
    ) -> torch.Tensor:
        """The residual stream [B, T, D] that the head reads."""
        from weightless.layers.functions import document_layout

        window, x_BTD = Window(tokens_BT, document_layout(document_BT), record), None
        for layer in self.stack.layers:
            x_BTD = layer.forward(p, x_BTD, window)
        assert x_BTD is not None
        return x_BTD

    def new_cache(self) -> dict[str, torch.Tensor]:
        """What `step` remembers, by the names of the decode program: the tokens fed, and what has rows.

        Registers are left out: in a step they are PyTorch's own tensors, which pass from one operator to the next.
        """
        import torch

        state = [tensor for layer in self.stack.layers for tensor in layer.state() if tensor.component not in REGISTERS]
        cache = {tensor.name: torch.zeros(tensor.shape) for tensor in state}
        return {HISTORY: torch.zeros(self.stack.context, dtype=torch.int64), **cache}

    def step(
        self,
        p: Mapping[str, torch.Tensor],
        cache: Mapping[str, torch.Tensor],
        token: int,
        t: int,
        fused: Fused = nullcontext,
    ) -> torch.Tensor:
        """Feed one token at position t (from 1): the residual stream [D]; `fused` marks the operators."""
        with fused("accept_token"):
            cache[HISTORY][t - 1] = token
        x_D = None
        for layer in self.stack.layers:
            x_D = layer.step(p, cache, x_D, t, fused)
        assert x_D is not None
        return x_D

    def step_nats(
        self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, target: int, fused: Fused = nullcontext
    ) -> torch.Tensor:
        """-log p(target) after a step (mode S)."""
        return self.stack.head.step_nats(p, x_D, target, fused)

    def step_probabilities(
        self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: Fused = nullcontext
    ) -> torch.Tensor:
        """p [V] after a step (mode F)."""
        return self.stack.head.step_probabilities(p, x_D, fused)


def _matrix(spec: Parameter) -> tuple[int, int]:
    rows, cols = spec.shape
    return rows, cols


def _once(tensors: Any) -> list[Any]:
    """Each name once; ConfigError when two tensors of one name differ."""
    found: dict[str, Any] = {}
    for tensor in tensors:
        if found.setdefault(tensor.name, tensor) != tensor:
            raise ConfigError(
                f"two layers declare a tensor {tensor.name!r} differently: {found[tensor.name]} and {tensor}"
            )
    return list(found.values())
