"""Learned clips: factors on the scales of what is trained through its rounding (quant/learned_steps.py).

    qat_clip = "tensor"   one factor for all scales of a tensor        "group"   one for every scale

They begin at 1, the rule's own scale, and learn while weights are rounded, by AdamW without decay at max_lr (by SGD
under optimizer sgd, which alone feels the paper's scale of their gradient); no norm that is clipped contains their
gradients.  Tables of looked-up rows keep their rule: a step reads few of their rows.
They lie with the state of the optimizer, and decide together with the weights which codes and scales are packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from weightless.base.errors import ConfigError
from weightless.program.tensor import Parameter
from weightless.quant.layout import format_named, n_groups
from weightless.quant.learned_steps import step_gradients
from weightless.train.config import TrainConfig
from weightless.train.gradients import Gradient, RowGradient
from weightless.train.optimizers.adamw import AdamW
from weightless.train.optimizers.sgd import SGD

SUFFIX = "/clip"
"""Behind the name of a tensor: its factors in a checkpoint."""
LEAST, MOST = 1 / 64, 64.0
GROUP = "clips"


class LearnedClips:
    """`factors` by name of the tensor, float32 [R, G] or [1, 1]; ConfigError where no tensor has codes."""

    def __init__(self, config: TrainConfig, specs: Iterable[Parameter], device: str) -> None:
        held = [s for s in specs if format_named(s.format).levels and s.group != "table" and len(s.shape) == 2]
        if not held:
            raise ConfigError(
                f"qat_clip = {config.qat_clip!r} has nothing to learn: no matrix of this model is stored in codes: "
                "give weight_format or a plan"
            )
        wide = config.qat_clip == "group"
        shapes = {s.name: (s.shape[0], n_groups(s.format, s.shape[1])) if wide else (1, 1) for s in held}
        self.formats = {s.name: format_named(s.format) for s in held}
        self.factors = {name: torch.ones(shape, device=device) for name, shape in shapes.items()}
        betas = (config.beta1, config.beta2)
        self.optimizer = SGD(self.factors, 0.0) if config.optimizer == "sgd" else AdamW(self.factors, 0.0, betas)
        self.peak, self.gradients = config.max_lr, dict[str, Gradient]()

    def take(self, gradients: dict[str, Gradient], masters: Mapping[str, torch.Tensor], strength: float) -> None:
        """Turn the gradients at w + strength (w' - w) into those of w, in place, and keep those of the factors."""
        self.gradients = {}
        for name in self.factors if strength else ():
            if (g := gradients.get(name)) is None:
                continue
            g = g.dense() if isinstance(g, RowGradient) else g
            d_w, d_clip = step_gradients(masters[name].detach(), self.formats[name], self.factors[name], g)
            gradients[name] = d_w if strength == 1.0 else g.lerp(d_w, strength)
            self.gradients[name] = d_clip.mul_(strength)

    @torch.no_grad()
    def update(self, factor: float, t: int) -> None:
        """Step t of the factors, at `factor` times the peak rate."""
        if self.gradients:
            self.optimizer.update(self.gradients, factor * self.peak, t)
            for held in self.factors.values():
                held.clamp_(LEAST, MOST)

    def state(self) -> dict[str, torch.Tensor]:
        """The live tensors by name; a checkpoint writes them and copies into them."""
        factors = {f"{name}{SUFFIX}": held for name, held in self.factors.items()}
        return factors | {f"clip of {name}": held for name, held in self.optimizer.state().items()}

    def state_bytes(self) -> dict[str, int]:
        """{GROUP: bytes}, the factors themselves included."""
        return {GROUP: sum(t.numel() * t.element_size() for t in self.state().values())}

    def told(self) -> dict[str, dict[str, Any]]:
        """The assertion that they have learned."""
        every = torch.cat([held.flatten() for held in self.factors.values()])
        moved = sum(bool((held != 1).any()) for held in self.factors.values())
        detail = f"{every.numel():,} factors of {len(self.factors)} tensors, {float(every.min()):.3f} to "
        detail += f"{float(every.max()):.3f}, mean {float(every.mean()):.3f}; {moved} tensors have moved"
        return {"learned clips": {"ok": moved == len(self.factors), "detail": detail}}


def clips_in(optimizer_state: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """{tensor: factors} of a checkpoint."""
    return {
        name.removesuffix(SUFFIX): held.detach().cpu().numpy().copy()
        for name, held in optimizer_state.items()
        if name.endswith(SUFFIX)
    }
