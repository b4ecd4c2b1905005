"""Averages of the weights along a run: what is validated and packed in the place of the last weights.

    ema   first a <- w, then a <- a + (1 - decay) (w - a) after every step          (Polyak & Juditsky 1992)
    swa   a <- a + (w - a) / (n + 1) after the n-th step averaged: the plain mean   (Izmailov et al. 2018, 1803.05407)

They are of the float32 masters, never of what rounding leaves of them; a model that is trained through rounding is
averaged first and rounded after, by the same strength.  Constants that layers change (a balance of experts) are not
averaged: the last ones hold.  Of weights that are trained through three values or two, an exponential average is
another model: a number that goes to and fro between two values is rounded to the one in between, or to either.  It is
made, and a warning says so.  4 bytes per parameter, counted with the state of the optimizer; every step reads and
writes all of them, also of a lookup table of which it touched few rows.
"""

# torch._foreach has no public name; the optimizers of torch call it in the same way.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from weightless.program.tensor import Parameter
from weightless.quant.layout import format_named
from weightless.train.config import TrainConfig
from weightless.train.run_state import Counters
from weightless.train.working_weights import WorkingWeights

GROUP = "average"
"""Their name among the groups of optimizer state."""
FEW_LEVELS = 3
"""Values of a code, ternary and binary, between which an average lies."""


class Averages:
    """One average per parameter, or nothing where none is asked for; how many steps are in it, the counters say."""

    def __init__(
        self, config: TrainConfig, masters: Mapping[str, torch.Tensor], specs: Iterable[Parameter] = ()
    ) -> None:
        self.config = config
        if doubt := doubt_of(config, specs):
            print(f"WARNING: {doubt}", file=sys.stderr)
        self.tensors = {} if config.average == "none" else {k: torch.zeros_like(w) for k, w in masters.items()}
        for tensor in self.tensors.values():
            tensor.requires_grad_(False)

    def state(self) -> dict[str, torch.Tensor]:
        """The live tensors by name; a checkpoint writes them and copies into them."""
        return {f"{name}/{GROUP}": tensor for name, tensor in self.tensors.items()}

    def state_bytes(self) -> dict[str, int]:
        """{GROUP: bytes}, or nothing."""
        return {GROUP: sum(t.numel() * t.element_size() for t in self.tensors.values())} if self.tensors else {}

    @torch.no_grad()
    def follow(self, masters: Mapping[str, torch.Tensor], progress: float, counters: Counters) -> None:
        """Take in the masters behind a step that began at this share of the run, before the counters count it."""
        if not self.tensors or progress < self.config.average_start:
            return
        held, weights = list(self.tensors.values()), [masters[name] for name in self.tensors]
        n = counters.averaged
        if n == 0:
            counters.average_step = counters.step
            torch._foreach_copy_(held, weights)
        else:
            share = 1.0 / (n + 1) if self.config.average == "swa" else 1.0 - self.config.ema_decay
            torch._foreach_lerp_(held, weights, share)
        counters.averaged = n + 1

    def inputs(self, weights: WorkingWeights, counters: Counters) -> dict[str, torch.Tensor]:
        """What validation computes with: the averages, rounded as the weights are, once there are any."""
        return weights.inputs_of(self.tensors) if counters.averaged else weights.inputs

    @torch.no_grad()
    def adopt(self, weights: WorkingWeights, counters: Counters) -> None:
        """At the end the masters become the averages; how far they were apart is kept.  Twice is as good as once."""
        if not counters.averaged:
            return
        if counters.average_distance is None:
            masters = [weights.masters[name] for name in self.tensors]
            apart = torch._foreach_sub(list(self.tensors.values()), masters)
            counters.average_distance = _norm(apart) / max(_norm(masters), 1e-30)
        weights.become(self.tensors)


def _norm(tensors: list[torch.Tensor] | tuple[torch.Tensor, ...]) -> float:
    return float(torch.linalg.vector_norm(torch.stack(list(torch._foreach_norm(list(tensors))))))


def doubt_of(config: TrainConfig, specs: Iterable[Parameter]) -> str:
    """Why the average that is asked for will hardly be the model that was trained; empty where it may well be."""
    if config.average != "ema" or config.qat_start >= 1.0:
        return ""
    few = [spec for spec in specs if 0 < format_named(spec.format).levels <= FEW_LEVELS]
    if not few:
        return ""
    return (
        f"average = 'ema' and {len(few)} tensors trained through {few[0].format} do not go together: numbers that go "
        "to and fro between few values are averaged to none of them; leave the average out"
    )


def told(config: TrainConfig, counters: Counters, specs: Iterable[Parameter] = ()) -> dict[str, dict[str, Any]]:
    """The assertion that the average that was asked for was made, of what, and stands in the place of the weights."""
    if config.average == "none":
        return {}
    kind = f"ema of decay {config.ema_decay:g}" if config.average == "ema" else "even average (swa)"
    begun, distance = counters.average_step, counters.average_distance
    if begun is None:
        told = f"{kind} asked for from {config.average_start:.0%} of the run on, but never begun"
    else:
        told = f"{kind} over {counters.averaged:,} steps, from step {begun} on"
        told += "; not in the place of the last weights" if distance is None else "; validated and packed"
        told += "" if distance is None else f", {distance:.2%} of their norm away from the last weights"
    if doubt := doubt_of(config, specs):
        told += f"; WARNING: {doubt}"
    ok = begun is not None and distance is not None and counters.averaged == counters.step - begun
    return {"average of the weights": {"ok": ok, "detail": told}}
