"""Attention as half of a block: x += W_out attend(rope(W_qkv norm(x))), over a cache of rows [k | v].

H heads of width K, n_kv_heads shared evenly by them (Ainslie et al. 2023)          parameters  norm, qkv, out
per position the cache grows by 2 n_kv_heads K numbers and is read whole            state       kv, qkv, a
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.layer import STREAM, Fused, Layer, Window, register
from weightless.ledger.memory import Activation
from weightless.program.operators.attention import Attend, MatvecAdd, NormMatvec, RopeAppend
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

LINE = "attention"


@dataclass(frozen=True)
class Attention(Layer):
    """`block` is its place in the stack; `in_std`, `out_std` are the initial deviations of qkv and out."""

    block: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    context: int
    theta: float
    eps: float
    format: str
    kv_format: str
    in_std: float
    out_std: float
    qk_norm: bool = False

    @property
    def norm(self) -> str:
        return f"block.{self.block}.attn_norm"

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

    def parameters(self) -> list[Parameter]:
        d, n_qkv = self.d_model, self.d_q + 2 * self.d_kv
        return [
            Parameter(self.norm, (1, d), "f32", "ones", "vector", LINE),
            Parameter(self.qkv, (n_qkv, d), self.format, self.in_std, "matrix", LINE),
            Parameter(self.out, (d, self.d_q), self.format, self.out_std, "matrix", LINE),
        ]

    def state(self) -> list[Tensor]:
        cache = Tensor(self.cache, (self.context, 2 * self.d_kv), self.kv_format, "kv cache", "state")
        return [cache, register("qkv", self.d_q + 2 * self.d_kv), register("a", self.d_q)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch.nn.functional as F

        qkv_BTC = F.linear(L.rms_norm(x_BTD, p[self.norm], self.eps), p[self.qkv])
        a_BTC = L.causal_attention(
            qkv_BTC, *self.heads, self.theta, self.qk_norm, self.kv_format, documents=window.documents
        )
        return x_BTD + F.linear(a_BTC, p[self.out])

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch.nn.functional as F

        kv_TC = s[self.cache]
        with fused("norm_matvec"):
            qkv = F.linear(L.rms_norm(x_D, p[self.norm], self.eps), p[self.qkv])
        with fused("rope_append"):
            q_HK = L.append_row(qkv, kv_TC, t, self.heads, self.theta, self.qk_norm, self.kv_format)
        with fused("attend"):
            a = L.attend_rows(q_HK, kv_TC[:t], self.heads)
        with fused("matvec_add"):
            return x_D + F.linear(a, p[self.out])

    def operators(self) -> list[Any]:
        return [
            NormMatvec(self.norm, self.qkv, STREAM, "qkv", self.eps),
            RopeAppend("qkv", self.cache, *self.heads, self.theta, self.qk_norm),
            Attend("qkv", self.cache, "a", *self.heads, window=0),
            MatvecAdd(self.out, "a", STREAM),
        ]

    def kept(self, T: int) -> list[Activation]:
        """Attention keeps its inputs, its output and one number per head; RoPE nothing."""
        kept = [
            Activation("norms: x / rms and their output", 2 * T * self.d_model),
            Activation("norms: 1 / rms", T),
            Activation("rotated queries", T * self.d_q),
            Activation("cache rows of keys and values", 2 * T * self.d_kv),
            Activation("weighted values", T * self.d_q),
            Activation("attention: log of the sum per head", T * self.n_heads),
        ]
        if self.qk_norm:
            per_position = self.d_q + self.d_kv + self.n_heads + self.n_kv_heads
            kept.append(Activation("QK-norm: x / rms and 1 / rms", T * per_position))
        return kept
