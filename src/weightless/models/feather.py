"""Feather: a thin transformer core that looks most of what it knows up, one row at a time.

    x    = embed[token] + sum over n of table_n[hash(last n tokens)]     rows: a line or two of memory each
    core = a few narrow pre-norm blocks, one key/value head (multi-query attention, Shazeer 2019), QK-norm
    head = log p(class) + log p(word | class), about sqrt(V) classes of sqrt(V) words, exactly normalised

Weights are int4 in groups of 64, trained through their rounding at the end; the cache is int8.  Widths that are
multiples of 120 make an int4 row with its scales exactly one 64-byte line per 120 columns (60 bytes of codes and
two fp16 scales).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weightless import layers as L
from weightless.base.errors import ConfigError
from weightless.ops.norm import check_eps
from weightless.ops.rope import check_theta
from weightless.ops.token_classes import class_slots, frequency_slots
from weightless.program.operators.attention import Attend, MatvecAdd, NormMatvec, RopeAppend
from weightless.program.operators.class_head import ClassFull, ClassSample, ClassScore, WordFull, WordSample, WordScore
from weightless.program.operators.feedforward import NormFfnAdd
from weightless.program.operators.full_head import LogitsFull, LogitsSample, LogitsScore
from weightless.program.operators.lookup import AcceptToken, GatherHashed, GatherRow
from weightless.program.program import MAX_LAYERS, OUTCOME, PROBABILITIES, Program
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

HASH_SEED = 20_261_121


@dataclass(frozen=True)
class Config:
    """`rows_2`, `rows_3`: rows of the hashed bigram and trigram tables (0: none).  `n_classes` 0 means sqrt(V)."""

    vocab_size: int = 4096
    """Tokens that the model knows; in training that of the corpus."""
    d_model: int = 240
    """Width of the residual stream; multiples of 120 fill whole lines of 64 bytes in int4."""
    n_layers: int = 2
    """Blocks of attention and feed-forward."""
    n_heads: int = 4
    """Attention heads."""
    n_kv_heads: int = 1
    """Key/value heads, shared evenly by the heads."""
    d_head: int = 64
    """Width of a head."""
    d_ff: int = 320
    """Width of the feed-forward block."""
    context: int = 512
    """Longest context, in tokens."""
    rows_2: int = 65_536
    """Rows of the hashed bigram table; 0: no table."""
    rows_3: int = 65_536
    """Rows of the hashed trigram table; 0: no table."""
    head: Literal["class", "full"] = "class"
    """class (p(class) p(word | class)), or full (one softmax over the vocabulary)."""
    n_classes: int = 0
    """Classes of the class head; 0: the square root of the vocabulary."""
    classes_by: Literal["context", "frequency"] = "context"
    """Which words share a class: context (those that follow alike), or frequency."""
    activation: Literal["swiglu", "silu", "relu2"] = "swiglu"
    """Of the feed-forward block: swiglu (gated), silu, or relu2 (squared ReLU)."""
    rope_theta: float = 10_000.0
    """Base of the rotary wavelengths (RoPE)."""
    eps: float = 1e-5
    """Added to the mean square in every RMSNorm."""
    weight_format: str = "int4"
    """Storage of the packed matrices: f32, bf16, f16, int8 or int4."""
    table_format: str = "int4"
    """Storage of the embedding and the hashed tables: f32, bf16, f16, int8 or int4."""
    kv_format: Literal["f32", "bf16", "int8"] = "int8"
    """Storage of the key/value cache: f32, bf16 or int8."""

    def __post_init__(self) -> None:
        if min(self.vocab_size, self.d_model, self.n_layers, self.context, self.d_head, self.d_ff) < 1:
            raise ConfigError("vocab_size, d_model, n_layers, d_head, d_ff and context should be at least 1")
        check_eps(self.eps)
        check_theta(self.rope_theta)
        if self.n_layers > MAX_LAYERS:
            raise ConfigError(f"n_layers {self.n_layers} is above {MAX_LAYERS}")
        if self.n_heads < 1 or self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads or self.d_head % 2:
            raise ConfigError(f"{self.n_heads} heads of width {self.d_head} cannot share {self.n_kv_heads} evenly")
        if min(self.rows_2, self.rows_3, self.n_classes) < 0 or self.n_classes > self.vocab_size:
            raise ConfigError("table sizes should not be negative, nor classes more than tokens")

    @property
    def tables(self) -> dict[int, int]:
        """{n-gram order: rows} of the tables that exist."""
        return {order: rows for order, rows in ((2, self.rows_2), (3, self.rows_3)) if rows}

    @property
    def classes(self) -> int:
        """Classes asked for; the last may be short, and one that would be empty is left out."""
        return -(-self.vocab_size // self.words_per_class)

    @property
    def words_per_class(self) -> int:
        wanted = self.n_classes or round(self.vocab_size**0.5)
        return -(-self.vocab_size // wanted)

    @staticmethod
    def at(size: float, vocab_size: int = 4096) -> Config:
        """One dial: width grows by 120 (one line of int4) per step, depth by one every second."""
        step = max(1, round(size))
        rows = 2 ** (13 + step)
        return Config(vocab_size, 120 * step, 1 + step // 2, 2 * step, d_ff=160 * step, rows_2=rows, rows_3=rows)


class Model:
    """How to train it: parameter shapes, and losses as a function of them."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def tensors(self) -> list[Parameter]:
        """Names and shapes as they are packed; matrices are (outputs, inputs)."""
        c, fmt, d = self.config, self.config.weight_format, self.config.d_model
        n_q, d_kv = c.n_heads * c.d_head, c.n_kv_heads * c.d_head
        n_up = 2 * c.d_ff if c.activation == "swiglu" else c.d_ff
        out_std = (1 / d) ** 0.5 / (2 * c.n_layers) ** 0.5
        specs = [Parameter("embed", (c.vocab_size, d), c.table_format, 0.5, "embedding")]
        specs += [Parameter(f"table.{n}", (rows, d), c.table_format, "zeros", "table") for n, rows in c.tables.items()]
        for i in range(c.n_layers):
            specs += [
                Parameter(f"block.{i}.attn_norm", (1, d), "f32", "ones", "vector"),
                Parameter(f"block.{i}.qkv", (n_q + 2 * d_kv, d), fmt, (1 / d) ** 0.5, "matrix"),
                Parameter(f"block.{i}.out", (d, n_q), fmt, out_std, "matrix"),
                Parameter(f"block.{i}.ffn_norm", (1, d), "f32", "ones", "vector"),
                Parameter(f"block.{i}.up", (n_up, d), fmt, (1 / d) ** 0.5, "matrix"),
                Parameter(f"block.{i}.down", (d, c.d_ff), fmt, out_std, "matrix"),
            ]
        specs.append(Parameter("final_norm", (1, d), "f32", "ones", "vector"))
        if c.head == "full":
            return [*specs, Parameter("head", (c.vocab_size, d), fmt, 0.02, "head")]
        n_slots = c.classes * c.words_per_class
        return [*specs, Parameter("classes", (c.classes, d), fmt, 0.02, "head"),
                Parameter("words", (n_slots, d), fmt, 0.02, "head")]  # fmt: skip

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """The class of every token, from what precedes it in the training text."""
        c = self.config
        if c.head == "full":
            return {}
        if c.classes_by == "frequency":
            token_of_slot = frequency_slots(tokens, c.vocab_size)
        else:
            token_of_slot = class_slots(tokens, c.vocab_size, c.classes, seed)
        slot_of_token = np.empty(c.vocab_size, dtype=np.int64)
        slot_of_token[token_of_slot] = np.arange(c.vocab_size)
        return {"slot_of_token": slot_of_token, "token_of_slot": token_of_slot.astype(np.int64)}

    def hidden_states(
        self, p: Mapping[str, torch.Tensor], tokens_BT: torch.Tensor, document_BT: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The normalised residual stream [B, T, d_model] that the head reads."""
        import torch.nn.functional as F

        c, documents = self.config, L.document_layout(document_BT)
        x_BTD = F.embedding(tokens_BT, p["embed"])
        for order, n_rows in c.tables.items():
            rows_BT = L.hashed_rows(tokens_BT, order, HASH_SEED + order, n_rows, c.vocab_size, documents)
            x_BTD = x_BTD + L.looked_up(p[f"table.{order}"], rows_BT)
        for i in range(c.n_layers):
            h = L.rms_norm(x_BTD, p[f"block.{i}.attn_norm"], c.eps)
            a = L.causal_attention(F.linear(h, p[f"block.{i}.qkv"]), c.n_heads, c.n_kv_heads, c.d_head, c.rope_theta,
                                   qk_norm=True, kv_format=c.kv_format, documents=documents)  # fmt: skip
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
        h_ND, targets_N = self.hidden_states(p, tokens_BT, document_BT).flatten(0, 1), targets_BT.reshape(-1)
        if self.config.head == "full":
            return L.fused_cross_entropy(h_ND, p["head"], targets_N).view(targets_BT.shape)
        slots_N = L.target_slots(p["slot_of_token"], targets_N)
        nats_N = L.class_cross_entropy(h_ND, p["classes"], p["words"], slots_N, self.config.vocab_size)
        return nats_N.view(targets_BT.shape)

    def log_probs(self, p: Mapping[str, torch.Tensor], tokens_BT: torch.Tensor) -> torch.Tensor:
        """Normalised log-probabilities [B, T, V]; both levels in full (tests and mode F)."""
        c, h_BTD = self.config, self.hidden_states(p, tokens_BT)
        if c.head == "full":
            return (h_BTD @ p["head"].T).log_softmax(dim=-1)
        class_BTC = (h_BTD @ p["classes"].T).log_softmax(dim=-1)
        words_BTS = h_BTD @ p["words"].T
        words_BTS[..., c.vocab_size :] = -float("inf")
        words_BTCW = words_BTS.unflatten(-1, (c.classes, c.words_per_class)).log_softmax(dim=-1)
        slots_BTS = (class_BTC[..., None] + words_BTCW).flatten(-2)
        return slots_BTS[..., p["slot_of_token"]]

    def new_cache(self) -> dict[str, torch.Tensor]:
        """What `step` remembers, by the names of the decode program: the tokens fed, and rows [k | v] per layer."""
        import torch

        c, width = self.config, 2 * self.config.n_kv_heads * self.config.d_head
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
        import torch
        import torch.nn.functional as F

        c, history = self.config, cache["history"]
        with fused("accept_token"):
            history[t - 1] = token
        with fused("gather_row"):
            x_D = F.embedding(history[t - 1], p["embed"])
        for order, n_rows in c.tables.items():
            with fused("gather_hashed"):
                seen = history[max(0, t - order) : t].clone()
                row = L.hashed_row(seen, order, HASH_SEED + order, n_rows, pad=c.vocab_size)
                x_D = x_D + F.embedding(torch.tensor(row), p[f"table.{order}"])
        heads = (c.n_heads, c.n_kv_heads, c.d_head)
        for i in range(c.n_layers):
            x_D = L.block_step(p, f"block.{i}.", x_D, cache[f"kv.{i}"], t, heads, c, qk_norm=True, fused=fused)
        return x_D

    def step_nats(
        self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, target: int, fused: L.Fused = nullcontext
    ) -> torch.Tensor:
        """-log p(target) after a step (mode S): of the word rows, only those of the target's class."""
        import torch

        if self.config.head == "full":
            logits_V = self._step_logits(p, x_D, fused)
            with fused("logits_score"):
                return -logits_V.log_softmax(dim=-1)[target]
        with fused("class_score"):
            slot, n_words = p["slot_of_token"][target].float(), self.config.words_per_class
            h_D, log_p_C = self._step_classes(p, x_D)
            choice = torch.stack([slot, -log_p_C[int(slot) // n_words]])
        with fused("word_score"):
            chosen, word = divmod(int(choice[0]), n_words)
            return choice[1] - self._step_words(p, h_D, chosen)[word]

    def step_probabilities(
        self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: L.Fused = nullcontext
    ) -> torch.Tensor:
        """p [V] after a step (mode F)."""
        import torch

        if self.config.head == "full":
            logits_V = self._step_logits(p, x_D, fused)
            with fused("logits_full"):
                return logits_V.softmax(dim=-1)
        with fused("class_full"):
            h_D, log_p_C = self._step_classes(p, x_D)
        with fused("word_full"):
            rows = [log_p_C[c] + self._step_words(p, h_D, c) for c in range(self.config.classes)]
            p_V = torch.empty(self.config.vocab_size)
            p_V[p["token_of_slot"]] = torch.cat(rows)[: self.config.vocab_size].exp()
            return p_V

    def _step_logits(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: L.Fused) -> torch.Tensor:
        import torch.nn.functional as F

        with fused("norm_matvec"):
            return F.linear(L.rms_norm(x_D, p["final_norm"], self.config.eps), p["head"])

    def _step_classes(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(h [D], log p of every class [C])."""
        import torch.nn.functional as F

        h_D = L.rms_norm(x_D, p["final_norm"], self.config.eps)
        return h_D, F.linear(h_D, p["classes"]).log_softmax(dim=-1)

    def _step_words(self, p: Mapping[str, torch.Tensor], h_D: torch.Tensor, chosen: int) -> torch.Tensor:
        """log p(word | class) of one class's words; slots behind the vocabulary have probability zero."""
        import torch.nn.functional as F

        n_words = self.config.words_per_class
        scores_W = F.linear(h_D, p["words"][chosen * n_words : (chosen + 1) * n_words])
        scores_W[max(0, self.config.vocab_size - chosen * n_words) :] = -float("inf")
        return scores_W.log_softmax(dim=-1)


def decode_program(config: Config) -> Program:
    """How to run it, one token at a time; every byte it will touch follows from here."""
    c = config
    body: list[Any] = [AcceptToken("history"), GatherRow("history", "embed", "x", add=False)]
    body += [GatherHashed("history", f"table.{n}", "x", n, HASH_SEED + n, pad=c.vocab_size) for n in c.tables]
    for i in range(c.n_layers):
        heads = (c.n_heads, c.n_kv_heads, c.d_head)
        body += [
            NormMatvec(f"block.{i}.attn_norm", f"block.{i}.qkv", "x", "qkv", c.eps),
            RopeAppend("qkv", f"kv.{i}", *heads, c.rope_theta, qk_norm=True),
            Attend("qkv", f"kv.{i}", "a", *heads, window=0),
            MatvecAdd(f"block.{i}.out", "a", "x"),
            NormFfnAdd(f"block.{i}.ffn_norm", f"block.{i}.up", f"block.{i}.down", "x", c.activation, c.eps),
        ]
    return Program(c.vocab_size, c.context, tuple(_memory(c)), tuple(body), _heads(c)).validate()


def _heads(c: Config) -> dict[str, tuple]:
    if c.head == "full":
        logits = NormMatvec("final_norm", "head", "x", "logits", c.eps)
        return {
            "score": (logits, LogitsScore("logits", OUTCOME)),
            "sample": (logits, LogitsSample("logits", OUTCOME)),
            "full": (logits, LogitsFull("logits", PROBABILITIES)),
        }
    top, size = ("final_norm", "classes"), (c.words_per_class, c.vocab_size)
    return {
        "score": (ClassScore(*top, "slot_of_token", "words", "x", "h", "choice", c.eps),
                  WordScore("words", "h", "choice", OUTCOME, *size)),
        "sample": (ClassSample(*top, "x", "h", "choice", c.eps),
                   WordSample("words", "token_of_slot", "h", "choice", OUTCOME, *size)),
        "full": (ClassFull(*top, "x", "h", "class_log_p", c.eps),
                 WordFull("words", "token_of_slot", "h", "class_log_p", PROBABILITIES, *size)),
    }  # fmt: skip


def _memory(c: Config) -> list[Tensor]:
    """Every tensor with its line in the ledger; rows that are looked up start on 64-byte boundaries."""
    lines = {
        "attention": ("attn_norm", "qkv", "out"),
        "lookup rows": ("embed", "table"),
        "head": ("final_norm", "head", "classes", "words"),
    }
    parts: dict[str, str] = {name: line for line, names in lines.items() for name in names}
    tensors = []
    for spec in Model(c).tensors():
        first, last = spec.name.split(".")[0], spec.name.split(".")[-1]
        component = parts.get(last) or parts.get(first) or "feed-forward"
        rows, cols = spec.shape
        tensors.append(Tensor(spec.name, (rows, cols), spec.format, component, by_row=component == "lookup rows"))
    if c.head == "class":
        ids = "u16" if c.vocab_size <= 2**16 else "u32"
        names = ("slot_of_token", "token_of_slot")
        tensors += [Tensor(name, (c.vocab_size, 1), ids, "head", "constant") for name in names]
    return [*tensors, *_state(c)]


def _state(c: Config) -> list[Tensor]:
    d_kv, n_q = c.n_kv_heads * c.d_head, c.n_heads * c.d_head
    state = [Tensor(f"kv.{i}", (c.context, 2 * d_kv), c.kv_format, "kv cache", "state") for i in range(c.n_layers)]
    vectors = {"x": c.d_model, "qkv": n_q + 2 * d_kv, "a": n_q, OUTCOME: 1}
    if c.head == "class":
        vectors |= {"h": c.d_model, "choice": 2, "class_log_p": c.classes}
    state += [Tensor(name, (1, width), "f32", "activations", "state") for name, width in vectors.items()]
    logits = ("logits", PROBABILITIES) if c.head == "full" else (PROBABILITIES,)
    state += [Tensor(name, (1, c.vocab_size), "f32", "logits", "state") for name in logits]
    return [*state, Tensor("history", (1, c.context), "u32", "activations", "state")]
