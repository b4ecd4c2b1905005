"""A training that diverged is a result: where it stopped, with what loss and which gradients.

It has diverged when the loss of a step, its gradient norm, a validation loss or a weight is not finite, or when a loss
is above EXPLODED_NATS: a uniform guess over the largest vocabulary there can be costs ln(2^24) = 16.6 nats.  So it has
when a weight at the end is above EXPLODED_WEIGHT, whose square is hardly a float32, or too large for its format.
The record lies in the checkpoint, so the same training is not done again; a fresh one begins anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.quant.formats import encode_rows

EXPLODED_NATS, EXPLODED_WEIGHT = 100.0, 1e15
ADVICE = "lower the learning rate, clip harder or warm up longer"


class Diverged(WeightlessError):
    """Raised where it is seen; the loop makes a `Divergence` of it."""

    def __init__(self, what: str, loss: float, norm: float, largest: Sequence[tuple[str, float]], batches: str) -> None:
        super().__init__(f"{what}: loss {loss:.4g}, gradient norm {norm:.4g}")
        self.what, self.loss, self.norm, self.largest, self.batches = what, loss, norm, tuple(largest), batches


@dataclass(frozen=True)
class Divergence:
    """`step`, `tokens`, `seconds` of training before it; `largest` gradient norms by tensor."""

    what: str
    step: int
    tokens: int
    seconds: float
    loss: float
    gradient_norm: float
    largest: tuple[tuple[str, float], ...]
    batches: str

    @staticmethod
    def of(error: Diverged, step: int, tokens: int, seconds: float) -> Divergence:
        """What was raised, and when."""
        return Divergence(error.what, step, tokens, seconds, error.loss, error.norm, error.largest, error.batches)

    @property
    def detail(self) -> str:
        """One line without advice: diverged at step 31, batch 31: loss nan …"""
        at = f"step {self.step}" + (f", {self.batches}" if self.batches else "")
        named = ", ".join(f"{name} ({norm:.3g})" for name, norm in self.largest)
        gradients = f"; largest gradients: {named}" if named else ""
        return f"diverged at {at}: {self.what} {self.loss:.4g}, gradient norm {self.gradient_norm:.4g}{gradients}"

    def to_plain(self) -> dict[str, Any]:
        """JSON values; NaN and infinity, which JSON has not, as text."""
        return {
            "what": self.what,
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "loss": _plain(self.loss),
            "gradient_norm": _plain(self.gradient_norm),
            "largest": [[name, _plain(norm)] for name, norm in self.largest],
            "batches": self.batches,
        }

    @classmethod
    def from_plain(cls, values: Any) -> Divergence:
        """The inverse of `to_plain`; CorruptFileError for anything else."""
        try:
            largest = tuple((str(name), float(norm)) for name, norm in values["largest"])
            return cls(
                str(values["what"]),
                int(values["step"]),
                int(values["tokens"]),
                float(values["seconds"]),
                float(values["loss"]),
                float(values["gradient_norm"]),
                largest,
                str(values["batches"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CorruptFileError(f"the checkpoint's record of its divergence is damaged ({error!r})") from None


def is_sound(loss: float, norm: float) -> bool:
    """Whether a step with this loss and gradient norm may be taken."""
    return math.isfinite(norm) and loss <= EXPLODED_NATS  # NaN is not


def fits(weights: torch.Tensor, fmt: str) -> bool:
    """Whether weights can be computed with, and stored in their format."""
    largest = float(weights.detach().abs().max()) if weights.numel() else 0.0
    if not largest <= EXPLODED_WEIGHT:  # NaN is not
        return False
    try:
        encode_rows(np.array([[largest, 0.0]], np.float32), fmt)
    except ConfigError:
        return False
    return True


def check_weights(
    masters: Mapping[str, torch.Tensor], formats: Iterable[tuple[str, str]], loss: float, norm: float
) -> None:
    """Diverged for a weight that no step has read since: it would show only when the model is packed or run."""
    wrong = sorted(name for name, fmt in formats if not fits(masters[name], fmt))
    if wrong:
        told = f"weights of {', '.join(wrong[:3])} are not finite, or too large to be stored or computed with; loss"
        raise Diverged(told, loss, norm, (), "")


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
