"""A sparse feed-forward half of a block: the k of E experts that a router chooses, and perhaps one that all take.

    x += sum over the chosen of gate_i down_i act(up_i norm(x)) + shared(norm(x))     parameters  norm, router, up, down
    p = softmax or sigmoid of router norm(x);  chosen by p + bias;  gates = p over their sum (p if k = 1)   state  route

Balance, so that experts do not lie idle: an auxiliary loss (Fedus et al. 2021), or a bias that only chooses and moves
by BIAS_RATE against the load after every step (DeepSeek-AI 2024), or none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.layers.feedforward import KEPT, Kind
from weightless.layers.layer import STREAM, Fused, Layer, Record, Window, register
from weightless.layers.residual import Residual
from weightless.ledger.memory import Activation
from weightless.program.operators.experts import ExpertsAdd, Route
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch

BIAS_RATE = 1e-3
LINE, ROUTER = "experts", "router"


@dataclass(frozen=True)
class Experts(Layer):
    """`k` of `n_experts` experts of width `d_expert`, and a shared one of `d_shared` (0: none); `weight` is that of the
    balance loss."""

    block: int
    residual: Residual
    n_experts: int
    k: int
    d_expert: int
    d_shared: int
    activation: Kind
    scoring: Literal["softmax", "sigmoid"]
    balance: Literal["loss", "bias", "none"]
    weight: float
    format: str
    in_std: float
    out_std: float

    def __post_init__(self) -> None:
        if self.residual.bare:
            raise ConfigError("the router and the experts share a norm with weights: a bare one is not theirs")

    def _named(self, what: str) -> str:
        return f"block.{self.block}.{what}"

    @property
    def bias(self) -> str:
        return self._named("router_bias") if self.balance == "bias" else ""

    @property
    def shared(self) -> tuple[str, str]:
        return (self._named("shared_up"), self._named("shared_down")) if self.d_shared else ("", "")

    def parameters(self) -> list[Parameter]:
        d, E, gate = self.residual.d_model, self.n_experts, 2 if self.activation == "swiglu" else 1
        shapes = {"up": (E * gate * self.d_expert, d), "down": (E * d, self.d_expert)}
        stds = {"up": self.in_std, "down": self.out_std}
        matrices = [Parameter(self._named("router"), (E, d), self.format, 0.02, "head", ROUTER)]
        for name, shape in shapes.items():
            matrices.append(Parameter(self._named(name), shape, self.format, stds[name], "matrix", LINE, stacked=E))
        if self.d_shared:
            sizes = ((gate * self.d_shared, d), (d, self.d_shared))
            for name, shape, std in zip(self.shared, sizes, stds.values(), strict=True):
                matrices.append(Parameter(name, shape, self.format, std, "matrix", LINE))
        return self.residual.parameters(LINE, *matrices)

    def constants(self) -> list[Tensor]:
        return [Tensor(self.bias, (1, self.n_experts), "f32", ROUTER, "constant")] if self.bias else []

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        import numpy as np

        return {self.bias: np.zeros((1, self.n_experts), np.float32)} if self.bias else {}

    def state(self) -> list[Tensor]:
        return [register("route", 2 * self.k)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch.nn.functional as F

        from weightless.layers.functions.losses import without_autocast

        h_ND = self.residual.before(p, x_BTD).flatten(0, 1)
        with without_autocast(h_ND):  # rounding would choose others (Fedus et al. 2021 keep routers in float32, too)
            scores_NE = F.linear(h_ND, p[self._named("router")])
        bias_E = p[self.bias].reshape(-1) if self.bias else None
        chosen_NK, gate_NK, p_NE = L.choose_experts(scores_NE, bias_E, self.k, self.scoring)
        if window.record is not None:
            self._count(window.record, p_NE, chosen_NK)
        matrices = p[self._named("up")], p[self._named("down")]
        given = chosen_NK, gate_NK, self.n_experts, self.activation
        branch_ND = L.expert_ffn(h_ND, *matrices, *given)  # pyright: ignore[reportCallIssue]  # torch's decorator
        if self.d_shared:
            up, down = self.shared
            branch_ND = branch_ND + L.ffn(h_ND, p[up], p[down], self.activation)
        return self.residual.joined(p, x_BTD, branch_ND.view_as(x_BTD))

    def _count(self, record: Record, p_NE: torch.Tensor, chosen_NK: torch.Tensor) -> None:
        load_E = chosen_NK.reshape(-1).bincount(minlength=self.n_experts).to(p_NE.dtype)
        record.count(f"block {self.block}", load_E)
        if self.balance == "loss":
            record.auxiliary.append(self.weight * L.balance_loss(p_NE, chosen_NK))

    def after_step(self, p: Mapping[str, torch.Tensor], record: Record) -> None:
        """Experts above the mean load become a little less attractive, those below it a little more."""
        if self.bias:
            load_E = record.counts[f"block {self.block}"]
            p[self.bias].add_((load_E.mean() - load_E).sign().view_as(p[self.bias]), alpha=BIAS_RATE)

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        with fused("route"):
            scores_E = F.linear(self.residual.before(p, x_D), p[self._named("router")])
            bias_E = p[self.bias].reshape(-1) if self.bias else None
            chosen, gates, _ = L.choose_experts(scores_E[None], bias_E, self.k, self.scoring)
            route = torch.cat([chosen[0].float(), gates[0]])
        with fused("experts_add"):
            h_D, branch_D = self.residual.before(p, x_D), torch.zeros_like(x_D)
            up, down = p[self._named("up")], p[self._named("down")]
            n_up, d = len(up) // self.n_experts, len(x_D)
            for i in range(self.k):
                e = int(route[i])
                rows = up[e * n_up : (e + 1) * n_up], down[e * d : (e + 1) * d]
                branch_D = branch_D + route[self.k + i] * L.ffn(h_D, *rows, self.activation)
            if self.d_shared:
                shared_up, shared_down = self.shared
                branch_D = branch_D + L.ffn(h_D, p[shared_up], p[shared_down], self.activation)
            return self.residual.joined(p, x_D, branch_D)

    def operators(self) -> list[Any]:
        r, up, down = self.residual, self._named("up"), self._named("down")
        return [
            Route(r.norm, self._named("router"), self.bias, STREAM, "route", self.scoring, r.eps),
            ExpertsAdd(
                r.norm, up, down, *self.shared, "route", STREAM, self.n_experts, self.activation, r.eps, **r.fields()
            ),
        ]

    def kept(self, T: int) -> list[Activation]:
        """Of every choice the expert's input, hidden vectors, output, the same times its gate, and where it stands; of
        the router p and what makes gates of it.  How many positions an expert has does not matter."""
        d, chosen = self.residual.d_model, T * self.k
        found = [
            *self.residual.kept(T),
            Activation(
                "experts: inputs, hidden vectors and outputs", chosen * (3 * d + KEPT[self.activation] * self.d_expert)
            ),
            Activation("experts: choices, their order and positions", chosen, 3, 8),
            Activation("router: probabilities", T * self.n_experts),
            Activation("router: gates, p of the chosen and their sum", T if self.k == 1 else 2 * chosen + 2 * T),
            Activation("feed-forward hidden", KEPT[self.activation] * T * self.d_shared),
        ]
        return [*found, Activation("balance: sums of probabilities", T)] if self.balance == "loss" else found
