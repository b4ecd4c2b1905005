"""A diagonal recurrence in the place of attention (minGRU: Feng et al. 2024; RG-LRU: De et al. 2024).

    [u | g | o] = W_in norm(x)        u through a short convolution, if there is one
    a = sigma(-(g + decay)) = exp(-softplus(g + decay))
    h = a h + (1 - a) u               x += W_out (h silu(o))

S numbers of state in float32, read and written at every position, whatever the position is: 8 S bytes, where attention
reads all rows of its cache.  `decay` begins so that 1 / (1 - a), the positions that a number remembers, goes from 2 to
the context in even steps of its logarithm.
parameters  norm, in, decay, conv, out          state  h, the convolution's window, scan_in, scan_out
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.convolution import RECURRENT, ShortConvolution
from weightless.layers.layer import STREAM, Fused, Layer, Window, register
from weightless.layers.residual import Residual
from weightless.ledger.memory import Activation
from weightless.program.operators.attention import MatvecAdd, NormMatvec
from weightless.program.operators.scan import Scan as ScanOperator
from weightless.program.tensor import Parameter, Spread, Tensor

if TYPE_CHECKING:
    import torch

LINE = "scan"


def decays_up_to(context: int) -> Spread:
    """Initial decays: sigma(decay) = 1 / n for n from 2 to the context."""
    return Spread(0.0, -math.log(max(2, context) - 1))


@dataclass(frozen=True)
class Scan(Layer):
    """`block` is its place in the stack; `in_std`, `out_std` are the initial deviations of its matrices; `conv` is the
    width of the convolution, 0: none."""

    block: int
    residual: Residual
    d_state: int
    conv: int
    context: int
    format: str
    in_std: float
    out_std: float | str

    def _named(self, what: str) -> str:
        return f"block.{self.block}.{what}"

    @property
    def memory(self) -> str:
        return f"h.{self.block}"

    @property
    def convolution(self) -> ShortConvolution:
        return ShortConvolution(self.block, self.conv, self.d_state, "scan_in", LINE)

    def parameters(self) -> list[Parameter]:
        d, n = self.residual.d_model, self.d_state
        return self.residual.parameters(
            LINE,
            Parameter(self._named("in"), (3 * n, d), self.format, self.in_std, "matrix", LINE),
            Parameter(self._named("decay"), (1, n), "f32", decays_up_to(self.context), "vector", LINE),
            *self.convolution.parameters(),
            Parameter(self._named("out"), (d, n), self.format, self.out_std, "matrix", LINE),
        )

    def state(self) -> list[Tensor]:
        memory = Tensor(self.memory, (1, self.d_state), "f32", RECURRENT, "state")
        registers = register("scan_in", 3 * self.d_state), register("scan_out", self.d_state)
        return [memory, *self.convolution.state(), *registers]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch.nn.functional as F

        inner_BTC = F.linear(self.residual.before(p, x_BTD), p[self._named("in")])
        u_BTS, g_BTS, o_BTS = (part.contiguous() for part in inner_BTC.chunk(3, dim=-1))
        u_BTS = self.convolution.forward(p, u_BTS, window)
        y_BTS = L.gated_scan(u_BTS, g_BTS, o_BTS, p[self._named("decay")], window.documents)
        return self.residual.joined(p, x_BTD, F.linear(y_BTS, p[self._named("out")]))

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch.nn.functional as F

        with fused("norm_matvec"):
            u_S, g_S, o_S = F.linear(self.residual.before(p, x_D), p[self._named("in")]).split(self.d_state)
        u_S = self.convolution.step(p, s, u_S, t, fused)
        with fused("scan"):
            y_S = self._remembered(p, s, u_S, g_S, t) * F.silu(o_S)
        with fused("matvec_add"):
            return self.residual.joined(p, x_D, F.linear(y_S, p[self._named("out")]))

    def _remembered(self, p: Any, s: Any, u_S: torch.Tensor, g_S: torch.Tensor, t: int) -> torch.Tensor:
        """The state at position t, which is written."""
        import torch

        z_S = g_S + p[self._named("decay")][0]
        h_S = torch.sigmoid(z_S) * u_S
        if t > 1:  # at position 1 there is nothing before
            h_S = torch.sigmoid(-z_S) * s[self.memory][0] + h_S
        s[self.memory].copy_(h_S[None])
        return h_S

    def operators(self) -> list[Any]:
        found = self._scanned({}, {})
        return [*found, MatvecAdd(self._named("out"), "scan_out", STREAM, **self.residual.joining())]

    def _scanned(self, rows: dict[str, Any], answers: dict[str, Any]) -> list[Any]:
        """From the stream to the state; `rows` of the matrix, and whether it answers, where not all as it comes."""
        r = self.residual
        return [
            NormMatvec(r.norm, self._named("in"), STREAM, "scan_in", r.eps, **r.first(), **rows),
            *self.convolution.operators(),
            ScanOperator("scan_in", self._named("decay"), self.memory, "scan_out", **answers),
        ]

    def leave(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> None:
        import torch.nn.functional as F

        with fused("norm_matvec"):
            rows = p[self._named("in")][: 2 * self.d_state]
            u_S, g_S = F.linear(self.residual.before(p, x_D), rows).split(self.d_state)
        u_S = self.convolution.step(p, s, u_S, t, fused)
        with fused("scan"):
            self._remembered(p, s, u_S, g_S, t)

    def leaving(self) -> list[Any]:
        """The state goes on from u and its gates; nothing is answered."""
        return self._scanned({"count": 2 * self.d_state}, {"answers": False})

    def kept(self, T: int) -> list[Activation]:
        """Its inputs, the state at every position, and what comes out; gates are made again."""
        return [
            *self.residual.kept(T),
            *self.convolution.kept(T),
            Activation("scan: u, gates, output gates, state, result", T * self.d_state, 5),
            Activation("scan: where documents begin", T, 1, 1),
        ]
