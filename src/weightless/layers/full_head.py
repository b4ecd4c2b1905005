"""One softmax over the whole vocabulary: log p = log_softmax(W norm(x)), logits z perhaps as c tanh(z / c).

The matrix is a tensor of its own, or the embedding's, which is then read whole for every token.  In two factors it is
W = W_rows (V, R) W_narrow (R, D); tied, these are the embedding's own, the second transposed (Lan et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.embedding import NARROW, WIDEN
from weightless.layers.layer import STREAM, Fused, Head, register
from weightless.layers.residual import vector
from weightless.ledger.memory import Activation
from weightless.program.operators.attention import NormMatvec
from weightless.program.operators.full_head import LogitsFull, LogitsSample, LogitsScore
from weightless.program.program import OUTCOME, PROBABILITIES
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

    from weightless.layers.functions.teaching import Kept, Taught

LINE = "head"
NORM = "final_norm"


@dataclass(frozen=True)
class FullHead(Head):
    """`tied` names the embedding that serves as the matrix; empty: a matrix of its own, drawn with `std`.

    d_embed   R, 0 for a matrix in one piece        softcap   c, None for logits as they are
    normed    whether the stream is normed first         bare      whether that norm has no weights
    centred   whether it is a LayerNorm with bias         activations   whether rounded numbers are multiplied
    """

    vocab_size: int
    d_model: int
    eps: float
    format: str
    std: float = 0.0
    tied: str = ""
    d_embed: int = 0
    softcap: float | None = None
    normed: bool = True
    bare: bool = False
    centred: bool = False
    activations: str = "f32"

    @property
    def matrix(self) -> str:
        return self.tied or "head"

    @property
    def narrow(self) -> str:
        """The second factor, or nothing."""
        return (WIDEN if self.tied else "head_narrow") if self.d_embed else ""

    @property
    def norm(self) -> str:
        return NORM if self.normed and not self.bare else ""

    @property
    def norm_bias(self) -> str:
        return f"{NORM}_bias" if self.normed and self.centred else ""

    def parameters(self) -> list[Parameter]:
        d, r = self.d_model, self.d_embed
        found = [vector(NORM, d, LINE, is_bias=False)] if self.norm else []
        found += [vector(self.norm_bias, d, LINE)] if self.norm_bias else []
        if not self.tied:
            if r:
                found.append(Parameter(self.narrow, (r, d), self.format, (1 / d) ** 0.5, "matrix", LINE))
            found.append(Parameter("head", (self.vocab_size, r or d), self.format, self.std, "head", LINE))
        return found

    def state(self) -> list[Tensor]:
        logits = [register(name, self.vocab_size, "logits") for name in ("logits", PROBABILITIES)]
        narrow = [register(NARROW, self.d_embed)] if self.d_embed else []
        return [register(OUTCOME, 1), *logits, *narrow]

    def _read(self, p: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """What the rows of the matrix are multiplied with."""
        import torch.nn.functional as F

        h = L.rms_norm(x, p[NORM] if self.norm else None, self.eps) if self.normed and not self.centred else x
        if self.norm_bias:
            h = L.layer_norm(x, p[NORM], p[self.norm_bias], self.eps)
        if not self.d_embed:
            return L.taken(h, self.activations)
        return h @ p[WIDEN] if self.tied else F.linear(h, p[self.narrow])

    def _cap(self, logits: torch.Tensor) -> torch.Tensor:
        return logits if self.softcap is None else (logits / self.softcap).tanh() * self.softcap

    def nats(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        h_ND = self._read(p, x_BTD).flatten(0, 1)
        nats_N = L.fused_cross_entropy(h_ND, p[self.matrix], targets_BT.reshape(-1), self.softcap)
        return nats_N.view(targets_BT.shape)

    def taught(
        self,
        p: Mapping[str, torch.Tensor],
        x_BTD: torch.Tensor,
        targets_BT: torch.Tensor,
        kept: Kept,
        weight: float,
        temperature: float,
    ) -> Taught:
        h_ND, targets_N = self._read(p, x_BTD).flatten(0, 1), targets_BT.reshape(-1)
        found = L.taught_cross_entropy(h_ND, p[self.matrix], targets_N, kept, weight, temperature, self.softcap)
        return found._make(each.view(targets_BT.shape) for each in found)

    def log_probs(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor) -> torch.Tensor:
        return self._cap(self._read(p, x_BTD) @ p[self.matrix].T).log_softmax(dim=-1)

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
            h = self._read(p, x_D)
            if not self.d_embed:
                return self._cap(F.linear(h, p[self.matrix]))
        with fused("norm_matvec"):
            return self._cap(F.linear(h, p[self.matrix]))

    def operators(self) -> dict[str, tuple[Any, ...]]:
        cap: dict[str, Any] = {} if self.softcap is None else {"softcap": self.softcap}
        kind: dict[str, Any] = {"bare": self.normed and self.bare, "norm_bias": self.norm_bias}
        kind |= {"activations": self.activations}
        logits = [NormMatvec(self.norm, self.matrix, STREAM, "logits", self.eps, **cap, **kind)]
        if self.d_embed:
            turned: dict[str, Any] = {"transposed": True} if self.tied else {}
            logits = [
                NormMatvec(self.norm, self.narrow, STREAM, NARROW, self.eps, **turned, **kind),
                NormMatvec("", self.matrix, NARROW, "logits", self.eps, **cap),
            ]
        return {
            "score": (*logits, LogitsScore("logits", OUTCOME)),
            "sample": (*logits, LogitsSample("logits", OUTCOME)),
            "full": (*logits, LogitsFull("logits", PROBABILITIES)),
        }

    def kept(self, T: int) -> list[Activation]:
        """The gradient of its input is made in the forward pass and kept instead of logits."""
        found = [
            Activation("targets, or their order by class", T, 1, 8),
            Activation("head: gradient or sorted copy of its input", T * (self.d_embed or self.d_model)),
        ]
        if self.normed:
            outputs = 1 if self.bare else 2  # without weights the output is x / rms
            found.append(Activation("final norm: x / rms, output, 1 / rms", T * (outputs * self.d_model + 1)))
        else:
            found.append(Activation("head: its input", T * self.d_model))
        if self.d_embed:
            found.append(Activation("head: its input, narrowed", T * self.d_embed))
        return found
