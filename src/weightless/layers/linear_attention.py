"""Linear attention in the place of attention: a matrix of state per head (Yang et al. 2024; Dao & Gu 2024), with the
delta rule if wanted (Yang, Kautz & Hatamizadeh 2025).

    [q | k | v | o | g | b] = W_in norm(x)        q, k, v through a short convolution, if there is one
    S = a S + k w^T                               a = sigma(-(g + decay)), one number per head
    w = v, or sigma(b) (v - a S^T k)              delta: q and k are made vectors of length 1
    x += W_out (norm(S^T q) silu(o))              head by head, a norm without weights

H heads of width K: H K^2 numbers of state, read and written at every position, whatever the position is.
parameters  norm, in, decay, conv, out          state  S, the convolution's window, heads_in, heads_out
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.convolution import RECURRENT, ShortConvolution
from weightless.layers.layer import STREAM, Fused, Layer, Window, register
from weightless.layers.residual import Residual
from weightless.layers.scan import decays_up_to
from weightless.ledger.memory import Activation
from weightless.program.operators.attention import MatvecAdd, NormMatvec
from weightless.program.operators.linear_attention import LinearAttend
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

LINE = "linear attention"


@dataclass(frozen=True)
class LinearAttention(Layer):
    """`block` is its place in the stack; `conv` is the width of the convolution, 0: none; `chunk` says how many
    positions lie between two states that training keeps; `in_std`, `out_std` are the deviations of its matrices."""

    block: int
    residual: Residual
    n_heads: int
    d_head: int
    delta: bool
    conv: int
    chunk: int
    context: int
    format: str
    state_format: str
    in_std: float
    out_std: float | str

    def _named(self, what: str) -> str:
        return f"block.{self.block}.{what}"

    @property
    def memory(self) -> str:
        return f"S.{self.block}"

    @property
    def width(self) -> int:
        return self.n_heads * self.d_head

    @property
    def parts(self) -> list[int]:
        """Widths of q, k, v together, of o, of g, and of b."""
        return [3 * self.width, self.width, self.n_heads, *([self.n_heads] if self.delta else [])]

    @property
    def convolution(self) -> ShortConvolution:
        return ShortConvolution(self.block, self.conv, 3 * self.width, "heads_in", LINE)

    def parameters(self) -> list[Parameter]:
        d = self.residual.d_model
        return self.residual.parameters(
            LINE,
            Parameter(self._named("in"), (sum(self.parts), d), self.format, self.in_std, "matrix", LINE),
            Parameter(self._named("decay"), (1, self.n_heads), "f32", decays_up_to(self.context), "vector", LINE),
            *self.convolution.parameters(),
            Parameter(self._named("out"), (d, self.width), self.format, self.out_std, "matrix", LINE),
        )

    def state(self) -> list[Tensor]:
        memory = Tensor(self.memory, (self.width, self.d_head), self.state_format, RECURRENT, "state")
        registers = register("heads_in", sum(self.parts)), register("heads_out", self.width)
        return [memory, *self.convolution.state(), *registers]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        inner_BTC = F.linear(self.residual.before(p, x_BTD), p[self._named("in")])
        qkv_BTC, o_BTC, g_BTH, *b_BTH = (part.contiguous() for part in inner_BTC.split(self.parts, dim=-1))
        q, k, v = self._heads(self.convolution.forward(p, qkv_BTC, window))
        y_BTHK = L.gated_linear_attention(
            *(q, k, v),
            g_BTH + p[self._named("decay")],
            torch.sigmoid(b_BTH[0]) if self.delta else None,
            window.documents,
            self.chunk,
            self.state_format,
        )
        y_BTC = L.rms_norm(y_BTHK, None, self.residual.eps).flatten(-2) * F.silu(o_BTC)
        return self.residual.joined(p, x_BTD, F.linear(y_BTC, p[self._named("out")]))

    def _heads(self, qkv: torch.Tensor) -> list[torch.Tensor]:
        """q, k, v [..., H, K]; q and k of length 1 with the delta rule."""
        q, k, v = (part.unflatten(-1, (self.n_heads, self.d_head)) for part in qkv.chunk(3, dim=-1))
        return [L.unit(q), L.unit(k), v] if self.delta else [q, k, v]

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        from weightless.quant.straight_through import fake_quantise

        with fused("norm_matvec"):
            qkv, o, g_H, *b_H = F.linear(self.residual.before(p, x_D), p[self._named("in")]).split(self.parts)
        qkv = self.convolution.step(p, s, qkv, t, fused)
        with fused("linear_attend"):
            q_HK, k_HK, w_HK = self._heads(qkv)
            memory, H, K = s[self.memory], self.n_heads, self.d_head
            beta_H1 = torch.sigmoid(b_H[0])[:, None] if self.delta else 1.0
            a_H11 = torch.sigmoid(-(g_H + p[self._named("decay")][0]))[:, None, None]
            if t > 1:
                S_HKK = a_H11 * memory.view(H, K, K)
                if self.delta:
                    w_HK = w_HK - (k_HK[:, None] @ S_HKK)[:, 0]
                S_HKK = S_HKK + k_HK[:, :, None] * (beta_H1 * w_HK)[:, None]
            else:  # at position 1 there is nothing before
                S_HKK = k_HK[:, :, None] * (beta_H1 * w_HK)[:, None]
            y_HK = (q_HK[:, None] @ S_HKK)[:, 0]
            memory.copy_(fake_quantise(S_HKK.reshape(H * K, K), self.state_format))
            y = L.rms_norm(y_HK, None, self.residual.eps).flatten() * F.silu(o)
        with fused("matvec_add"):
            return self.residual.joined(p, x_D, F.linear(y, p[self._named("out")]))

    def operators(self) -> list[Any]:
        r, after = self.residual, {"eps": self.residual.eps} if self.residual.after else {}
        sizes = (self.n_heads, self.d_head, self.d_head, self.delta, r.eps)
        return [
            NormMatvec(r.norm, self._named("in"), STREAM, "heads_in", r.eps),
            *self.convolution.operators(),
            LinearAttend("heads_in", self._named("decay"), self.memory, "heads_out", *sizes),
            MatvecAdd(self._named("out"), "heads_out", STREAM, **r.fields(), **after),
        ]

    def kept(self, T: int) -> list[Activation]:
        """What the recurrence reads, the state before every chunk, and what the norms and the output gate keep."""
        n, H = T * self.width, self.n_heads
        found = [
            *self.residual.kept(T),
            *self.convolution.kept(T),
            Activation("linear attention: q, k, v", n, 3),
            Activation("linear attention: gates of heads", T * H, 2 if self.delta else 1),
            Activation("linear attention: states", -(-T // min(self.chunk, T)) * self.width * self.d_head),
            Activation("linear attention: where documents begin", T, 1, 1),
            Activation("linear attention: answer / rms, its gate and SiLU, result", n, 4),
            Activation("linear attention: 1 / rms of answers", T * H),
        ]
        return [*found, Activation("keys and queries of length 1", 2 * (n + T * H))] if self.delta else found
