"""Attention as half of a block: x += W_out attend(rope(W_qkv norm(x))), over a cache of rows [k | v].

H heads of width K, n_kv_heads shared evenly by them (Ainslie et al. 2023)          parameters  norm, qkv, out
per position the cache grows by 2 n_kv_heads K numbers and is read whole            state       kv, qkv, a
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless.kernels.codes import QK_EPS
from weightless.layers import functions as L
from weightless.layers.layer import HISTORY, STREAM, Fused, Layer, Window, register
from weightless.layers.residual import Residual, vector
from weightless.ledger.memory import Activation
from weightless.ops.rope import UNSTRETCHED, Stretch
from weightless.program.operators.attention import Attend, MatvecAdd, NormMatvec, RopeAppend
from weightless.program.operators.lookup import GatherRow
from weightless.program.tensor import Constant, Parameter, Tensor, Uniform

if TYPE_CHECKING:
    import torch

LINE = "attention"
QKNorm = Literal["none", "bare", "weighted"]


@dataclass(frozen=True)
class Attention(Layer):
    """`block` is its place in the stack; `in_std`, `out_std` are the initial deviations of qkv and out.

    window    positions that are seen, None for all         rotary   pairs of the rotation, or "none" (`ops.rope`)
    qk_norm   norms of every head of q and k, with weights of their own or bare
    q_gain    initial factor of every query head, learned; 0: none
    apart     let Muon make queries, keys and values orthogonal each by itself, not as the one matrix that they are in
    values    tokens that add a row of their own to v; 0: none (the table is called value.`block`)
    biases    which products add a vector: qkv, or qkv and out          qk_eps    of the norms of q and k
    stretch   of positions beyond those that were learned first (`ops.rope`)
    activations   whether both matrices multiply rounded numbers (`L.taken`)
    """

    block: int
    residual: Residual
    n_heads: int
    n_kv_heads: int
    d_head: int
    context: int
    theta: float
    format: str
    kv_format: str
    in_std: float | Uniform
    out_std: float | str
    qk_norm: QKNorm = "none"
    rotary: str = "half_split"
    q_gain: float = 0.0
    window: int | None = None
    values: int = 0
    biases: Literal["none", "qkv", "both"] = "none"
    qk_eps: float = QK_EPS
    apart: bool = False
    stretch: Stretch = UNSTRETCHED
    activations: str = "f32"

    @property
    def d_model(self) -> int:
        return self.residual.d_model

    @property
    def qkv(self) -> str:
        return f"block.{self.block}.qkv"

    @property
    def out(self) -> str:
        return f"block.{self.block}.out"

    @property
    def cache(self) -> str:
        return f"kv.{self.block}"

    @property
    def heads(self) -> tuple[int, int, int]:
        return self.n_heads, self.n_kv_heads, self.d_head

    @property
    def d_q(self) -> int:
        return self.n_heads * self.d_head

    @property
    def d_kv(self) -> int:
        return self.n_kv_heads * self.d_head

    @property
    def vectors(self) -> dict[str, str]:
        """{role: tensor} of what turns queries and keys beside the rotation."""
        roles = ["q_norm", "k_norm"] if self.qk_norm == "weighted" else []
        return {role: f"block.{self.block}.{role}" for role in [*roles, *(["q_gain"] if self.q_gain else [])]}

    @property
    def qkv_bias(self) -> str:
        return f"{self.qkv}_bias" if self.biases != "none" else ""

    @property
    def out_bias(self) -> str:
        return f"{self.out}_bias" if self.biases == "both" else ""

    @property
    def value_rows(self) -> str:
        return f"value.{self.block}" if self.values else ""

    def parameters(self) -> list[Parameter]:
        n_qkv = self.d_q + 2 * self.d_kv
        widths = {"q_norm": self.d_head, "k_norm": self.d_head, "q_gain": self.n_heads}
        parts = (self.d_q, self.d_kv, self.d_kv) if self.apart else ()
        found = self.residual.parameters(
            LINE,
            Parameter(self.qkv, (n_qkv, self.d_model), self.format, self.in_std, "matrix", LINE, parts=parts),
            Parameter(self.out, (self.d_model, self.d_q), self.format, self.out_std, "matrix", LINE),
        )
        for role, name in self.vectors.items():
            start = "ones" if role != "q_gain" else Constant(self.q_gain)
            found.append(Parameter(name, (1, widths[role]), "f32", start, "vector", LINE))
        for name, width in ((self.qkv_bias, n_qkv), (self.out_bias, self.d_model)):
            found += [vector(name, width, LINE)] if name else []
        if self.values:
            shape = (self.values, self.d_kv)
            found.append(Parameter(self.value_rows, shape, self.format, "zeros", "table", "lookup rows", by_row=True))
        return found

    def state(self) -> list[Tensor]:
        cache = Tensor(self.cache, (self.context, 2 * self.d_kv), self.kv_format, "kv cache", "state")
        return [cache, register("qkv", self.d_q + 2 * self.d_kv), register("a", self.d_q)]

    @property
    def _turns(self) -> bool:
        """Whether queries are anything else than a view of what qkv gave."""
        return self.rotary != "none" or self.qk_norm != "none" or bool(self.q_gain)

    @property
    def _taken(self) -> dict[str, Any]:
        """How the operators of both products are told of `activations`."""
        return {"activations": self.activations}

    def _turn(self, p: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        turn = {"rotary": self.rotary, "qk_eps": self.qk_eps, "stretch": self.stretch}
        return {**turn, **{role: p[name] for role, name in self.vectors.items()}}

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch.nn.functional as F

        h_BTD = L.taken(self.residual.before(p, x_BTD), self.activations)
        qkv_BTC = L.biased(F.linear(h_BTD, p[self.qkv]), p.get(self.qkv_bias))
        if self.values:
            rows_BTC = L.looked_up(p[self.value_rows], window.tokens_BT)
            qkv_BTC = qkv_BTC + F.pad(rows_BTC, (self.d_q + self.d_kv, 0))
        a_BTC = L.causal_attention(
            qkv_BTC,
            *self.heads,
            self.theta,
            self.qk_norm != "none",
            self.kv_format,
            window.documents,
            window=self.window,
            **self._turn(p),
        )
        branch_BTD = F.linear(L.taken(a_BTC, self.activations), p[self.out])
        return self.residual.joined(p, x_BTD, L.biased(branch_BTD, p.get(self.out_bias)))

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch.nn.functional as F

        kv_TC = s[self.cache]
        with fused("norm_matvec"):
            h_D = L.taken(self.residual.before(p, x_D), self.activations)
            qkv = L.biased(F.linear(h_D, p[self.qkv]), p.get(self.qkv_bias))
        if self.values:
            with fused("gather_row"):
                qkv[self.d_q + self.d_kv :] += F.embedding(s[HISTORY][t - 1], p[self.value_rows])
        with fused("rope_append"):
            q_HK = L.append_row(
                qkv, kv_TC, t, self.heads, self.theta, self.qk_norm != "none", self.kv_format, **self._turn(p)
            )
        with fused("attend"):
            first = 0 if self.window is None else max(0, t - self.window)
            a = L.attend_rows(q_HK, kv_TC[first:t], self.heads)
        with fused("matvec_add"):
            branch_D = F.linear(L.taken(a, self.activations), p[self.out])
            return self.residual.joined(p, x_D, L.biased(branch_D, p.get(self.out_bias)))

    def operators(self) -> list[Any]:
        return [
            *self._appended({}, {}),
            Attend("qkv", self.cache, "a", *self.heads, window=self.window or 0),
            MatvecAdd(self.out, "a", STREAM, **self.residual.joining(), bias=self.out_bias, **self._taken),
        ]

    def _appended(self, rows: dict[str, Any], turn: dict[str, Any]) -> list[Any]:
        """From the stream to the cache; `rows` of the matrix, and how they are turned, where not as they come."""
        r, first = self.residual, self.d_q + self.d_kv
        return [
            NormMatvec(r.norm, self.qkv, STREAM, "qkv", r.eps, **r.first(), bias=self.qkv_bias, **rows, **self._taken),
            *([GatherRow(HISTORY, self.value_rows, "qkv", add=True, first=first)] if self.values else []),
            RopeAppend(
                "qkv",
                self.cache,
                *self.heads,
                self.theta,
                self.qk_norm != "none",
                **self.vectors,
                rotary=self.rotary,
                qk_eps=self.qk_eps,
                stretch=self.stretch.factor,
                low=self.stretch.low,
                high=self.stretch.high,
                learned=self.stretch.learned,
                **turn,
            ),
        ]

    def leave(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> None:
        import torch.nn.functional as F

        with fused("norm_matvec"):
            bias = p[self.qkv_bias][:, self.d_q :] if self.qkv_bias else None
            h_D = L.taken(self.residual.before(p, x_D), self.activations)
            kv = L.biased(F.linear(h_D, p[self.qkv][self.d_q :]), bias)
        if self.values:
            with fused("gather_row"):
                kv[self.d_kv :] += F.embedding(s[HISTORY][t - 1], p[self.value_rows])
        with fused("rope_append"):
            turn = {key: value for key, value in self._turn(p).items() if key not in ("q_norm", "q_gain")}
            heads = (0, self.n_kv_heads, self.d_head)
            L.append_row(kv, s[self.cache], t, heads, self.theta, self.qk_norm != "none", self.kv_format, **turn)

    def leaving(self) -> list[Any]:
        """A row of keys and values from their part of the matrix, and no query."""
        return self._appended({"first": self.d_q, "count": 2 * self.d_kv}, {"queries": False})

    def kept(self, T: int) -> list[Activation]:
        """Attention keeps its inputs, its output and one number per head; RoPE nothing."""
        kept = [
            *self.residual.kept(T),
            Activation("rotated queries", T * (self.d_q if self._turns else self.d_q + 2 * self.d_kv)),
            Activation("cache rows of keys and values", 2 * T * self.d_kv),
            Activation("weighted values", T * self.d_q),
            Activation("attention: log of the sum per head", T * self.n_heads),
        ]
        if self.qk_norm != "none":
            per_position = self.d_q + self.d_kv + self.n_heads + self.n_kv_heads
            kept.append(Activation("QK-norm: x / rms and 1 / rms", T * per_position))
        if self.q_gain:
            kept.append(Activation("queries before their gain", T * self.d_q))
        return kept
