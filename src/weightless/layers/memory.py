"""A memory in the place of a feed-forward half: per head the k of n x n slots whose product keys a query likes best.

    values    x += sum over heads and chosen slots of g_i v_i                        (Lample et al. 2019, 1907.05242)
    neurons   x += sum over heads and chosen slots of g_i act(u_i . norm(x)) v_i     (PEER: He 2024, 2407.04153)

    q = Q norm(x), by heads;  s = half-queries times half-keys;  chosen: the k largest s_1[i] + s_2[j];  g = softmax
    parameters  norm, query, keys, (up,) down                            state  slots

Every head has keys and slots of its own.  In both papers the heads share the slots; then two of them may choose the
same one, it is read once, and the bytes of a step are the data's.  With slots of their own they follow from shapes, and
H heads over M / H slots each need fewer keys than H heads over M.

The query may be divided by its root mean square.  Lample et al. have batch norm there, whose statistics in training are
of other positions, later ones too, and where one token is decoded there is no batch.

Rows are in the group "table": their gradient is sparse, and an accumulator per row is all the optimizer keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless.base.errors import ConfigError
from weightless.kernels.codes import QK_EPS
from weightless.layers import functions as L
from weightless.layers.feedforward import KEPT
from weightless.layers.layer import SLOTS, STREAM, Fused, Layer, Window, register
from weightless.layers.residual import Residual
from weightless.ledger.memory import Activation
from weightless.program.operators.memory import AddSlots, ChooseSlots
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

LINE, QUERY, KEYS = "memory slots", "memory query", "memory keys"


@dataclass(frozen=True)
class Memory(Layer):
    """`n_heads` heads over `n_side` x `n_side` slots each, of which a token takes `k`; half of `d_key` for each side.

    `activation` is of neurons ("silu", "relu2", "gelu"); empty: the slots are values.
    """

    block: int
    residual: Residual
    n_heads: int
    n_side: int
    k: int
    d_key: int
    activation: str
    gating: Literal["softmax", "sigmoid"]
    query_norm: bool
    format: str
    in_std: float
    out_std: float

    def __post_init__(self) -> None:
        if self.residual.bare or self.residual.centred:
            raise ConfigError("the query and the neurons share an RMSNorm with weights: no other norm is theirs")

    def _named(self, what: str) -> str:
        return f"block.{self.block}.{what}"

    @property
    def n_slots(self) -> int:
        """Of all heads."""
        return self.n_heads * self.n_side**2

    @property
    def up(self) -> str:
        return self._named("slots_up") if self.activation else ""

    @property
    def down(self) -> str:
        return self._named("slots")

    def parameters(self) -> list[Parameter]:
        d, H, half = self.residual.d_model, self.n_heads, self.d_key // 2
        query = Parameter(
            self._named("query"), (H * self.d_key, d), self.format, self.in_std, "matrix", QUERY, stacked=H
        )
        keys = Parameter(self._named("keys"), (2 * H * self.n_side, half), self.format, (1 / half) ** 0.5, "head", KEYS)
        stds = {self.up: self.in_std, self.down: self.out_std}
        tables = [
            Parameter(name, (self.n_slots, d), self.format, std, "table", LINE, by_row=True)
            for name, std in stds.items()
            if name
        ]
        return self.residual.parameters(QUERY, query, keys, *tables)

    def state(self) -> list[Tensor]:
        return [register("slots", 2 * self.n_heads * self.k)]

    def _chosen(self, p: Mapping[str, torch.Tensor], h_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(rows int64 [N, H k], gates [N, H k])."""
        import torch
        import torch.nn.functional as F

        N, H, n = len(h_ND), self.n_heads, self.n_side
        q_NHK = F.linear(h_ND, p[self._named("query")]).view(N, H, self.d_key)
        if self.query_norm:
            q_NHK = L.rms_norm(q_NHK, None, QK_EPS)
        keys_SCR = p[self._named("keys")].view(2 * H, n, -1).transpose(1, 2)
        s_SNR = torch.bmm(q_NHK.view(N, 2 * H, -1).transpose(0, 1), keys_SCR)
        slots_NHK, gates_NHK = L.choose_slots(s_SNR.transpose(0, 1).reshape(N, H, 2, n), self.k, self.gating)
        rows_NHK = slots_NHK + n * n * torch.arange(H, device=h_ND.device)[:, None]
        return rows_NHK.flatten(1), gates_NHK.flatten(1)

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        h_ND = self.residual.before(p, x_BTD).flatten(0, 1)
        rows_NK, weights_NK = self._chosen(p, h_ND)
        if window.record is not None:
            used = rows_NK.reshape(-1).bincount(minlength=self.n_slots).to(h_ND.dtype)
            window.record.count(f"{SLOTS}block {self.block}", used)
        if self.activation:
            weights_NK = weights_NK * L.activated(L.rows_scored(p[self.up], rows_NK, h_ND), self.activation)
        branch_ND = L.rows_summed(p[self.down], rows_NK, weights_NK)
        return self.residual.joined(p, x_BTD, branch_ND.view_as(x_BTD))

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        with fused("choose_slots"):
            rows_NK, gates_NK = self._chosen(p, self.residual.before(p, x_D)[None])
            slots = torch.cat([rows_NK[0].float(), gates_NK[0]])
        with fused("add_slots"):
            rows, weights = slots[: len(slots) // 2].long(), slots[len(slots) // 2 :]
            if self.activation:
                hidden = F.embedding(rows, p[self.up]) @ self.residual.before(p, x_D)
                weights = weights * L.activated(hidden, self.activation)
            return self.residual.joined(p, x_D, weights @ F.embedding(rows, p[self.down]))

    def operators(self) -> list[Any]:
        r, names = self.residual, (self._named("query"), self._named("keys"))
        choose = ChooseSlots(r.norm, *names, STREAM, "slots", self.n_heads, self.query_norm, self.gating, r.eps)
        norm = r.norm if self.activation else ""
        return [choose, AddSlots(norm, self.up, self.down, "slots", STREAM, self.activation, r.eps, **r.fields())]

    def kept(self, T: int) -> list[Activation]:
        """Queries, their scores, and of every choice its halves and slot by number, its gate, what makes its weight."""
        chosen = T * self.n_heads * self.k
        found = [
            *self.residual.kept(T),
            Activation("memory: queries", T * self.n_heads * self.d_key),
            Activation("memory: scores of half-keys", T * self.n_heads * 2 * self.n_side),
            Activation("memory: halves and slots by number", chosen, 3, 8),
            Activation("memory: gates", chosen),
        ]
        if self.query_norm:
            found.append(Activation("norms: 1 / rms", T * self.n_heads))
        if self.activation:
            found.append(Activation("memory: hidden numbers and weights", chosen * (KEPT[self.activation] + 1)))
        return found
