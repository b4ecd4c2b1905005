"""Dense: the decoder-only transformer that everything is measured against.

Pre-norm blocks of RoPE attention and SwiGLU, RMSNorm, one softmax over the vocabulary, embedding and head tied by
default (Vaswani et al. 2017; Touvron et al. 2023).  Every weight is read for every token: that is its cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless import layers as L
from weightless.base.errors import ConfigError
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.program.operators.attention import Attend, MatvecAdd, NormMatvec, RopeAppend
from weightless.program.operators.feedforward import NormFfnAdd
from weightless.program.operators.full_head import LogitsFull, LogitsSample, LogitsScore
from weightless.program.operators.lookup import AcceptToken, GatherRow
from weightless.program.program import MAX_LAYERS, OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch

FFN_ROUNDING = 8


@dataclass(frozen=True)
class Config:
    """Shapes, and the storage formats of what is packed.  `d_ff` 0 means 8/3 d_model rounded down to 8s."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 256
    """Width of the residual stream."""
    n_layers: int = 4
    """Blocks of attention and feed-forward."""
    n_heads: int = 0
    """Attention heads; 0: d_model / 64, at least 1."""
    n_kv_heads: int = 0
    """Key/value heads, shared evenly by the heads; 0: as many as heads."""
    d_ff: int = 0
    """Width of the feed-forward block; 0: 8/3 d_model, rounded down to a multiple of 8."""
    context: int = 512
    """Longest context, in tokens."""
    tied: bool = True
    """Let embedding and head be one matrix."""
    activation: Literal["swiglu", "silu", "relu2"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, or relu2 (squared ReLU)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "bf16"
    """Storage of the packed matrices: f32, bf16, f16, int8 or int4."""
    kv_format: Literal["f32", "bf16", "int8"] = "bf16"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.d_model, self.n_layers, self.context) < 1:
            raise ConfigError("vocab_size, d_model, n_layers and context should be at least 1")
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if min(self.n_heads, self.n_kv_heads, self.d_ff) < 0:
            raise ConfigError("n_heads, n_kv_heads and d_ff should not be negative; 0 means as many as suit d_model")
        if self.n_layers > MAX_LAYERS:
            raise ConfigError(f"n_layers {self.n_layers} is above {MAX_LAYERS}")
        if self.d_model % self.heads or (self.d_model // self.heads) % 2:
            raise ConfigError(f"d_model {self.d_model} does not split into {self.heads} heads of even width")
        if self.heads % self.kv_heads:
            raise ConfigError(f"{self.heads} heads cannot share {self.kv_heads} key/value heads evenly")

    @property
    def heads(self) -> int:
        return self.n_heads or max(1, self.d_model // 64)

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.heads

    @property
    def d_head(self) -> int:
        return self.d_model // self.heads

    @property
    def hidden(self) -> int:
        """Width of the feed-forward block."""
        return self.d_ff or max(FFN_ROUNDING, self.d_model * 8 // 3 // FFN_ROUNDING * FFN_ROUNDING)

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: size 1 is d_model 64 with 2 layers; width grows by 64 per step, depth by one every second."""
        step = max(1, round(size))
        return Config(vocab_size=vocab_size, d_model=64 * step, n_layers=2 + step // 2)


class Model:
    """How to train it: parameter shapes, and losses as a function of them."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def tensors(self) -> list[Parameter]:
        """Names and shapes as they are packed; matrices are (outputs, inputs)."""
        c, fmt = self.config, self.config.weight_format
        d, n_qkv = c.d_model, (c.heads + 2 * c.kv_heads) * c.d_head
        n_up = 2 * c.hidden if c.activation == "swiglu" else c.hidden
        out_std = (2 / (d + d)) ** 0.5 / (2 * c.n_layers) ** 0.5
        specs = [Parameter("embed", (c.vocab_size, d), fmt, 0.02 if c.tied else 1.0, "embedding")]
        for i in range(c.n_layers):
            specs += [
                Parameter(f"block.{i}.attn_norm", (1, d), "f32", "ones", "vector"),
                Parameter(f"block.{i}.qkv", (n_qkv, d), fmt, (2 / (d + d)) ** 0.5, "matrix"),
                Parameter(f"block.{i}.out", (d, c.heads * c.d_head), fmt, out_std, "matrix"),
                Parameter(f"block.{i}.ffn_norm", (1, d), "f32", "ones", "vector"),
                Parameter(f"block.{i}.up", (n_up, d), fmt, (2 / (d + c.hidden)) ** 0.5, "matrix"),
                Parameter(f"block.{i}.down", (d, c.hidden), fmt, out_std, "matrix"),
            ]
        specs.append(Parameter("final_norm", (1, d), "f32", "ones", "vector"))
        if not c.tied:
            specs.append(Parameter("head", (c.vocab_size, d), fmt, (2 / (d + c.vocab_size)) ** 0.5, "head"))
        return specs

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """Nothing is computed from the data before training."""
        return {}

    def hidden_states(
        self, p: Mapping[str, torch.Tensor], tokens_BT: torch.Tensor, document_BT: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The normalised residual stream [B, T, d_model] that the head reads."""
        import torch.nn.functional as F

        c, documents = self.config, L.document_layout(document_BT)
        x_BTD = F.embedding(tokens_BT, p["embed"])
        for i in range(c.n_layers):
            h = L.rms_norm(x_BTD, p[f"block.{i}.attn_norm"], c.eps)
            a = L.causal_attention(F.linear(h, p[f"block.{i}.qkv"]), c.heads, c.kv_heads, c.d_head, c.rope_theta,
                                   kv_format=c.kv_format, documents=documents)  # fmt: skip
            x_BTD = x_BTD + F.linear(a, p[f"block.{i}.out"])
            h = L.rms_norm(x_BTD, p[f"block.{i}.ffn_norm"], c.eps)
            x_BTD = x_BTD + L.ffn(h, p[f"block.{i}.up"], p[f"block.{i}.down"], c.activation)
        return L.rms_norm(x_BTD, p["final_norm"], c.eps)

    def losses(
        self,
        p: Mapping[str, torch.Tensor],
        tokens_BT: torch.Tensor,
        targets_BT: torch.Tensor,
        document_BT: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Nats per target [B, T], 0 where the target is -1; `document_BT` keeps the documents of a row apart."""
        h_BTD = self.hidden_states(p, tokens_BT, document_BT)
        nats_N = L.fused_cross_entropy(h_BTD.flatten(0, 1), p[_head_name(self.config)], targets_BT.reshape(-1))
        return nats_N.view(targets_BT.shape)

    def log_probs(self, p: Mapping[str, torch.Tensor], tokens_BT: torch.Tensor) -> torch.Tensor:
        """Normalised log-probabilities [B, T, V]."""
        return (self.hidden_states(p, tokens_BT) @ p[_head_name(self.config)].T).log_softmax(dim=-1)

    def new_cache(self) -> dict[str, torch.Tensor]:
        """What `step` remembers, by the names of the decode program: the tokens fed, and rows [k | v] per layer."""
        import torch

        c, width = self.config, 2 * self.config.kv_heads * self.config.d_head
        cache = {f"kv.{i}": torch.zeros(c.context, width) for i in range(c.n_layers)}
        return {"history": torch.zeros(c.context, dtype=torch.int64), **cache}

    def step(
        self,
        p: Mapping[str, torch.Tensor],
        cache: Mapping[str, torch.Tensor],
        token: int,
        t: int,
        fused: L.Fused = nullcontext,
    ) -> torch.Tensor:
        """Feed one token at position t (from 1): the residual stream [d_model]; `fused` marks the operators."""
        import torch.nn.functional as F

        c = self.config
        with fused("accept_token"):
            cache["history"][t - 1] = token
        with fused("gather_row"):
            x_D = F.embedding(cache["history"][t - 1], p["embed"])
        heads = (c.heads, c.kv_heads, c.d_head)
        for i in range(c.n_layers):
            x_D = L.block_step(p, f"block.{i}.", x_D, cache[f"kv.{i}"], t, heads, c, fused=fused)
        return x_D

    def step_nats(
        self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, target: int, fused: L.Fused = nullcontext
    ) -> torch.Tensor:
        """-log p(target) after a step (mode S)."""
        logits_V = self._step_logits(p, x_D, fused)
        with fused("logits_score"):
            return -logits_V.log_softmax(dim=-1)[target]

    def step_probabilities(
        self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: L.Fused = nullcontext
    ) -> torch.Tensor:
        """p [V] after a step (mode F)."""
        logits_V = self._step_logits(p, x_D, fused)
        with fused("logits_full"):
            return logits_V.softmax(dim=-1)

    def _step_logits(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: L.Fused) -> torch.Tensor:
        import torch.nn.functional as F

        with fused("norm_matvec"):
            return F.linear(L.rms_norm(x_D, p["final_norm"], self.config.eps), p[_head_name(self.config)])


def _head_name(config: Config) -> str:
    return "embed" if config.tied else "head"


def decode_program(config: Config) -> Program:
    """How to run it, one token at a time; every byte it will touch follows from here."""
    c = config
    body: list[Any] = [AcceptToken("history"), GatherRow("history", "embed", "x", add=False)]
    for i in range(c.n_layers):
        heads = (c.heads, c.kv_heads, c.d_head)
        body += [
            NormMatvec(f"block.{i}.attn_norm", f"block.{i}.qkv", "x", "qkv", c.eps),
            RopeAppend("qkv", f"kv.{i}", *heads, c.rope_theta, qk_norm=False),
            Attend("qkv", f"kv.{i}", "a", *heads, window=0),
            MatvecAdd(f"block.{i}.out", "a", "x"),
            NormFfnAdd(f"block.{i}.ffn_norm", f"block.{i}.up", f"block.{i}.down", "x", c.activation, c.eps),
        ]
    logits = NormMatvec("final_norm", _head_name(c), "x", "logits", c.eps)
    heads_of = {
        "score": (logits, LogitsScore("logits", OUTCOME)),
        "sample": (logits, LogitsSample("logits", OUTCOME)),
        "full": (logits, LogitsFull("logits", PROBABILITIES)),
    }
    return Program(c.vocab_size, c.context, tuple(_memory(c)), tuple(body), heads_of).validate()


def _memory(c: Config) -> list[Tensor]:
    """Every tensor with its line in the ledger; a tied embedding is the head, and packed as tightly."""
    components = {"embed": "head" if c.tied else "embedding", "head": "head", "final_norm": "head"}
    parts = {"attn_norm": "attention", "qkv": "attention", "out": "attention"}
    tensors = []
    for spec in Model(c).tensors():
        component = components.get(spec.name) or parts.get(spec.name.split(".")[-1], "feed-forward")
        rows, cols = spec.shape
        tensors.append(
            Tensor(spec.name, (rows, cols), spec.format, component, by_row=spec.name == "embed" and not c.tied)
        )
    d_kv = c.kv_heads * c.d_head
    tensors += [Tensor(f"kv.{i}", (c.context, 2 * d_kv), c.kv_format, "kv cache", "state") for i in range(c.n_layers)]
    vectors = {"x": c.d_model, "qkv": c.heads * c.d_head + 2 * d_kv, "a": c.heads * c.d_head, OUTCOME: 1}
    tensors += [Tensor(name, (1, width), "f32", "activations", "state") for name, width in vectors.items()]
    tensors += [Tensor(name, (1, c.vocab_size), "f32", "logits", "state") for name in ("logits", PROBABILITIES)]
    return [*tensors, Tensor("history", (1, c.context), "u32", "activations", "state")]
