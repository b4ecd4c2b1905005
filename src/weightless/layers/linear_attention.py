"""Linear attention in the place of attention: a matrix of state per head (Yang et al. 2024; Dao & Gu 2024), with the
delta rule if wanted (Yang, Kautz & Hatamizadeh 2025).

    [q | k | v | o | g | b] = W_in norm(x)        q, k, v through a short convolution, if there is one
    S = a S + k w^T                               a = sigma(-(g + decay)), one number per head
    w = v, or sigma(b) (v - a S^T k)              delta: q and k are made vectors of length 1
    x += W_out (norm(S^T q) silu(o))              head by head, a norm without weights

H heads of width K: H K^2 numbers of state, read and written at every position, whatever the position is.
parameters  norm, in, decay, conv_q, conv_kv, out          state  S, windows of the convolutions, heads_in, heads_out
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
        """Widths of q, of k and v together, of o, of g, and of b."""
        return [self.width, 2 * self.width, self.width, self.n_heads, *([self.n_heads] if self.delta else [])]

    @property
    def convolutions(self) -> tuple[ShortConvolution, ShortConvolution]:
        """Of q, and of k and v: a token that is passed over remembers q, and needs k and v."""
        n, where = self.width, ("heads_in", LINE)
        return (
            ShortConvolution(self.block, self.conv, n, *where, "conv_q"),
            ShortConvolution(self.block, self.conv, 2 * n, *where, "conv_kv", n),
        )

    def parameters(self) -> list[Parameter]:
        d = self.residual.d_model
        return self.residual.parameters(
            LINE,
            Parameter(self._named("in"), (sum(self.parts), d), self.format, self.in_std, "matrix", LINE),
            Parameter(self._named("decay"), (1, self.n_heads), "f32", decays_up_to(self.context), "vector", LINE),
            *(spec for part in self.convolutions for spec in part.parameters()),
            Parameter(self._named("out"), (d, self.width), self.format, self.out_std, "matrix", LINE),
        )

    def state(self) -> list[Tensor]:
        memory = Tensor(self.memory, (self.width, self.d_head), self.state_format, RECURRENT, "state")
        registers = register("heads_in", sum(self.parts)), register("heads_out", self.width)
        return [memory, *(tensor for part in self.convolutions for tensor in part.state()), *registers]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        inner_BTC = F.linear(self.residual.before(p, x_BTD), p[self._named("in")])
        q_BTC, kv_BTC, o_BTC, g_BTH, *b_BTH = (part.contiguous() for part in inner_BTC.split(self.parts, dim=-1))
        first, second = self.convolutions
        q, k, v = self._heads(first.forward(p, q_BTC, window), second.forward(p, kv_BTC, window))
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

    def _heads(self, *parts: torch.Tensor) -> list[torch.Tensor]:
        """(q, k and v) or only the latter as [..., H, K] each; q and k of length 1 with the delta rule."""
        heads = [z for part in parts for z in part.unflatten(-1, (-1, self.n_heads, self.d_head)).unbind(-3)]
        return [*(L.unit(z) for z in heads[:-1]), heads[-1]] if self.delta else heads

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch.nn.functional as F

        with fused("norm_matvec"):
            q, kv, o, *gates = F.linear(self.residual.before(p, x_D), p[self._named("in")]).split(self.parts)
        first, second = self.convolutions
        q, kv = first.step(p, s, q, t, fused), second.step(p, s, kv, t, fused)
        with fused("linear_attend"):
            q_HK, k_HK, v_HK = self._heads(q, kv)
            S_HKK = self._remembered(p, s, k_HK, v_HK, gates, t)
            y_HK = (q_HK[:, None] @ S_HKK)[:, 0]
            y = L.rms_norm(y_HK, None, self.residual.eps).flatten() * F.silu(o)
        with fused("matvec_add"):
            return self.residual.joined(p, x_D, F.linear(y, p[self._named("out")]))

    def _remembered(self, p: Any, s: Any, k_HK: torch.Tensor, w_HK: torch.Tensor, gates: Any, t: int) -> torch.Tensor:
        """The state at position t before it is rounded; rounded it is written."""
        import torch

        from weightless.quant.straight_through import fake_quantise

        memory, H, K = s[self.memory], self.n_heads, self.d_head
        beta_H1 = torch.sigmoid(gates[1])[:, None] if self.delta else 1.0
        a_H11 = torch.sigmoid(-(gates[0] + p[self._named("decay")][0]))[:, None, None]
        if t > 1:
            S_HKK = a_H11 * memory.view(H, K, K)
            if self.delta:
                w_HK = w_HK - (k_HK[:, None] @ S_HKK)[:, 0]
            S_HKK = S_HKK + k_HK[:, :, None] * (beta_H1 * w_HK)[:, None]
        else:  # at position 1 there is nothing before
            S_HKK = k_HK[:, :, None] * (beta_H1 * w_HK)[:, None]
        memory.copy_(fake_quantise(S_HKK.reshape(H * K, K), self.state_format))
        return S_HKK

    def operators(self) -> list[Any]:
        found = [op for part in self.convolutions for op in part.operators()]
        found = [self._product(), *found, self._scan()]
        return [*found, MatvecAdd(self._named("out"), "heads_out", STREAM, **self.residual.joining())]

    def _product(self, **rows: Any) -> Any:
        """The matrix, or some of its rows."""
        r = self.residual
        return NormMatvec(r.norm, self._named("in"), STREAM, "heads_in", r.eps, **r.first(), **rows)

    def _scan(self, **answers: Any) -> Any:
        names = ("heads_in", self._named("decay"), self.memory, "heads_out")
        sizes = (self.n_heads, self.d_head, self.d_head, self.delta, self.residual.eps)
        return LinearAttend(*names, *sizes, **answers)

    @property
    def _left(self) -> tuple[int, int]:
        """The first row that a token needs which asks nothing, and where o begins: a convolution remembers q, too."""
        return 0 if self.conv else self.width, 3 * self.width

    def leave(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> None:
        import torch.nn.functional as F

        (first, end), W = self._left, p[self._named("in")]
        with fused("norm_matvec"):
            *q, kv = F.linear(self.residual.before(p, x_D), W[first:end]).split(self.parts[0 if self.conv else 1 : 2])
        with fused("norm_matvec"):
            gates = F.linear(self.residual.before(p, x_D), W[end + self.width :]).split(self.n_heads)
        if self.conv:
            self.convolutions[0].leave(s, q[0], t, fused)
        kv = self.convolutions[1].step(p, s, kv, t, fused)
        with fused("linear_attend"):
            k_HK, v_HK = self._heads(kv)
            self._remembered(p, s, k_HK, v_HK, gates, t)

    def leaving(self) -> list[Any]:
        """The state goes on from k, v and their gates; nothing is asked and nothing answered."""
        first, end = self._left
        gates = {"first": end + self.width, "count": sum(self.parts) - end - self.width}
        asked, kept = self.convolutions
        found = [*asked.operators(answers=False), *kept.operators()]
        return [
            self._product(first=first, count=end - first),
            self._product(**gates),
            *found,
            self._scan(answers=False),
        ]

    def kept(self, T: int) -> list[Activation]:
        """What the recurrence reads, the state before every chunk, and what the norms and the output gate keep."""
        n, H = T * self.width, self.n_heads
        found = [
            *self.residual.kept(T),
            *(item for part in self.convolutions for item in part.kept(T)),
            Activation("linear attention: q, k, v", n, 3),
            Activation("linear attention: gates of heads", T * H, 2 if self.delta else 1),
            Activation("linear attention: states", -(-T // min(self.chunk, T)) * self.width * self.d_head),
            Activation("linear attention: where documents begin", T, 1, 1),
            Activation("linear attention: answer / rms, its gate and SiLU, result", n, 4),
            Activation("linear attention: 1 / rms of answers", T * H),
        ]
        return [*found, Activation("keys and queries of length 1", 2 * (n + T * H))] if self.delta else found
