"""One softmax over the whole vocabulary: log p = log_softmax(W norm(x)).

`matrix` is a tensor of its own, or the embedding's, which is then read whole for every token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.layer import STREAM, Fused, Head, register
from weightless.ledger.memory import Activation
from weightless.program.operators.attention import NormMatvec
from weightless.program.operators.full_head import LogitsFull, LogitsSample, LogitsScore
from weightless.program.program import OUTCOME, PROBABILITIES
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

LINE = "head"
NORM = "final_norm"


@dataclass(frozen=True)
class FullHead(Head):
    """`tied` names the embedding that serves as the matrix; empty: a matrix of its own, drawn with `std`."""

    vocab_size: int
    d_model: int
    eps: float
    format: str
    std: float = 0.0
    tied: str = ""

    @property
    def matrix(self) -> str:
        return self.tied or "head"

    def parameters(self) -> list[Parameter]:
        norm = Parameter(NORM, (1, self.d_model), "f32", "ones", "vector", LINE)
        if self.tied:
            return [norm]
        return [norm, Parameter("head", (self.vocab_size, self.d_model), self.format, self.std, "head", LINE)]

    def state(self) -> list[Tensor]:
        logits = [register(name, self.vocab_size, "logits") for name in ("logits", PROBABILITIES)]
        return [register(OUTCOME, 1), *logits]

    def nats(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        h_BTD = L.rms_norm(x_BTD, p[NORM], self.eps)
        nats_N = L.fused_cross_entropy(h_BTD.flatten(0, 1), p[self.matrix], targets_BT.reshape(-1))
        return nats_N.view(targets_BT.shape)

    def log_probs(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor) -> torch.Tensor:
        return (L.rms_norm(x_BTD, p[NORM], self.eps) @ p[self.matrix].T).log_softmax(dim=-1)

    def step_nats(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, target: int, fused: Fused) -> torch.Tensor:
        logits_V = self._logits(p, x_D, fused)
        with fused("logits_score"):
            return -logits_V.log_softmax(dim=-1)[target]

    def step_probabilities(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: Fused) -> torch.Tensor:
        logits_V = self._logits(p, x_D, fused)
        with fused("logits_full"):
            return logits_V.softmax(dim=-1)

    def _logits(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: Fused) -> torch.Tensor:
        import torch.nn.functional as F

        with fused("norm_matvec"):
            return F.linear(L.rms_norm(x_D, p[NORM], self.eps), p[self.matrix])

    def operators(self) -> dict[str, tuple[Any, ...]]:
        logits = NormMatvec(NORM, self.matrix, STREAM, "logits", self.eps)
        return {
            "score": (logits, LogitsScore("logits", OUTCOME)),
            "sample": (logits, LogitsSample("logits", OUTCOME)),
            "full": (logits, LogitsFull("logits", PROBABILITIES)),
        }

    def kept(self, T: int) -> list[Activation]:
        """The gradient of its input is made in the forward pass and kept instead of logits."""
        return [
            Activation("targets, or their order by class", T, 1, 8),
            Activation("final norm: x / rms, output, 1 / rms", T * (2 * self.d_model + 1)),
            Activation("head: gradient or sorted copy of its input", T * self.d_model),
        ]
