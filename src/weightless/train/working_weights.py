"""The weights a step computes with: the masters themselves, or what is left of them after rounding to their formats.

Quantisation-aware training is straight-through (Bengio 2013, 1308.3432): the loss sees w' = decode(encode(w)), and the
gradient with respect to w' is applied to w.  So w' is kept as a leaf of its own.  After an update only what changed is
rounded again: whole matrices, but of a table only the touched rows (rows are rounded independently of each other).
While rounding sets in, w + strength (w' - w) is computed with, and everything is made anew with every step of strength.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from weightless.program.tensor import Parameter
from weightless.quant.layout import format_named
from weightless.quant.straight_through import fake_quantise, rounded
from weightless.train.gradients import Gradient, RowGradient
from weightless.train.learned_clips import LearnedClips

BLOCK_ELEMENTS = 1 << 22


class WorkingWeights:
    """`leaves` by name are what autograd differentiates; `inputs` adds the constants."""

    def __init__(
        self,
        specs: Iterable[Parameter],
        masters: Mapping[str, torch.Tensor],
        constants: Mapping[str, torch.Tensor],
        clips: LearnedClips | None = None,
    ) -> None:
        self.formats = {spec.name: spec.format for spec in specs}
        self.masters, self.constants = dict(masters), dict(constants)
        self.leaves = dict(masters)
        self.strength = 0.0
        self.clips = clips

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What the model's losses take."""
        return {**self.leaves, **self.constants}

    def inputs_of(self, masters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the losses take with other masters, rounded as these are now."""
        return {**{name: self._seen(name, master) for name, master in masters.items()}, **self.constants}

    @torch.no_grad()
    def become(self, masters: Mapping[str, torch.Tensor]) -> None:
        """Take the values of other masters."""
        for name, master in masters.items():
            self.masters[name].copy_(master)
            if self.leaves[name] is not self.masters[name]:
                self.leaves[name].copy_(self._worked_with(name, self.masters[name]))

    def packed(self) -> dict[str, torch.Tensor]:
        """The same with every weight as it will be packed."""
        found = {name: self._rounded(name, master.detach()) for name, master in self.masters.items()}
        return {**found, **self.constants}

    def changed_constants(self) -> dict[str, np.ndarray]:
        """Those constants that layers change (a balance of experts), as they are now; whole numbers never change."""
        return {name: t.cpu().numpy().copy() for name, t in self.constants.items() if t.is_floating_point()}

    def round_by(self, strength: float) -> tuple[int, int]:
        """Compute with w + strength (w' - w) from here on; (tensors that this changed, tensors rounded)."""
        self.strength = strength
        n_changed = n_rounded = 0
        for name, master in self.masters.items():
            if self.formats[name] == "f32":
                continue
            self.leaves[name] = self._worked_with(name, master.detach()).requires_grad_()
            n_rounded += 1
            n_changed += not torch.equal(self.leaves[name], master)
        return n_changed, n_rounded

    @torch.no_grad()
    def follow(self, gradients: Mapping[str, Gradient]) -> None:
        """After an update of the masters with `gradients`, round again what they changed."""
        for name, leaf in self.leaves.items():
            master, gradient = self.masters[name], gradients.get(name)
            if leaf is master or gradient is None:
                continue
            if isinstance(gradient, RowGradient):
                leaf[gradient.rows_R] = self._worked_with(name, master[gradient.rows_R])
            else:
                leaf.copy_(self._worked_with(name, master))

    def _seen(self, name: str, master: torch.Tensor) -> torch.Tensor:
        return master if self.formats[name] == "f32" or not self.strength else self._worked_with(name, master)

    @torch.no_grad()
    def _worked_with(self, name: str, master: torch.Tensor) -> torch.Tensor:
        found = self._rounded(name, master)
        return found if self.strength == 1.0 else found.sub_(master).mul_(self.strength).add_(master)

    def _rounded(self, name: str, master: torch.Tensor) -> torch.Tensor:
        factors = None if self.clips is None else self.clips.factors.get(name)
        if factors is not None:
            return rounded(master, format_named(self.formats[name]), factors.detach())
        return _rounded(master, self.formats[name])


@torch.no_grad()
def _rounded(w: torch.Tensor, fmt: str) -> torch.Tensor:
    """fake_quantise by blocks of rows, so that a large table needs no temporaries of its own size."""
    if w.numel() <= BLOCK_ELEMENTS or w.ndim < 2:
        return fake_quantise(w, fmt).detach().clone()
    out = torch.empty_like(w)
    step = max(1, BLOCK_ELEMENTS // w[0].numel())
    for start in range(0, w.shape[0], step):
        out[start : start + step] = fake_quantise(w[start : start + step], fmt)
    return out
