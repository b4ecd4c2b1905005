"""The shape of a decoder-only transformer, and from it the list of all its weights.

    block = norm, attention (q, k, v, out), norm, feed-forward (gate, up, down, or up, down)
    model = embedding [+ learned positions], n_layers blocks, final norm, head (absent when tied)

Every count of parameters, stored bytes and optimizer state is a sum over this list; nothing is counted by a second
formula.  Letters: V vocabulary, D d_model, H heads, K head width, F d_ff.  Errors: ConfigError naming the field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from weightless.base.errors import ConfigError

Group = Literal["matrix", "embedding", "head", "table", "vector"]


@dataclass(frozen=True)
class Weight:
    """`n` equal tensors of shape (rows, cols), on one line of the ledger; `group` decides the optimizer (Muon takes
    matrices, row-wise Adagrad tables, AdamW the rest)."""

    name: str
    component: str
    rows: int
    cols: int
    group: Group = "matrix"
    n: int = 1

    @property
    def parameters(self) -> int:
        return self.n * self.rows * self.cols


@dataclass(frozen=True)
class TransformerShape:
    """`n_kv_heads` 0 means n_heads, `d_head` 0 means d_model / n_heads.

    ffn: "gated" is down(act(gate x) * up x), three matrices; "plain" is down(act(up x)), two.
    norm: "rmsnorm" has a weight, "layernorm" weight and bias, "bare" neither.
    qk_norm: "weighted" has K weights each for queries and keys per block, "bare" none.
    extras: further vectors as (name, elements in all), for example learned gains.
    """

    vocab_size: int
    context: int
    n_layers: int
    d_model: int
    n_heads: int
    d_ff: int
    n_kv_heads: int = 0
    d_head: int = 0
    ffn: Literal["gated", "plain"] = "gated"
    bias: bool = False
    norm: Literal["rmsnorm", "layernorm", "bare"] = "rmsnorm"
    qk_norm: Literal["none", "bare", "weighted"] = "none"
    tied: bool = False
    learned_positions: bool = False
    extras: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context", "n_layers", "d_model", "n_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)} should be at least 1")
        if min(self.n_kv_heads, self.d_head) < 0:
            raise ConfigError("n_kv_heads and d_head should not be negative; 0 means n_heads and d_model / n_heads")
        if not self.d_head and self.d_model % self.n_heads:
            raise ConfigError(f"d_model {self.d_model} does not split into {self.n_heads} heads: give d_head")
        if self.n_heads % self.kv_heads:
            raise ConfigError(f"{self.n_heads} heads cannot share {self.kv_heads} key/value heads evenly")

    @property
    def kv_heads(self) -> int:
        return self.n_kv_heads or self.n_heads

    @property
    def width(self) -> int:
        """K, the width of one head."""
        return self.d_head or self.d_model // self.n_heads

    @property
    def d_q(self) -> int:
        """Width of all queries together."""
        return self.n_heads * self.width

    @property
    def d_kv(self) -> int:
        """Width of all keys together, and of all values."""
        return self.kv_heads * self.width

    @property
    def matrices_of_ffn(self) -> int:
        return 3 if self.ffn == "gated" else 2

    def weights(self) -> list[Weight]:
        """Every parameter exactly once; matrices are (outputs, inputs)."""
        D, F, n = self.d_model, self.d_ff, self.n_layers
        out = [Weight("embedding", "embedding", self.vocab_size, D, "embedding")]
        if self.learned_positions:
            out.append(Weight("positions", "positions", self.context, D, "embedding"))
        attention = (("q", self.d_q, D), ("k", self.d_kv, D), ("v", self.d_kv, D), ("out", D, self.d_q))
        for name, rows, cols in attention:
            out += self._matrix(name, "attention projections", rows, cols)
        out += self._matrix("gate", "feed-forward", F, D) if self.ffn == "gated" else []
        out += self._matrix("up", "feed-forward", F, D) + self._matrix("down", "feed-forward", D, F)
        out += self._norms("block norms", D, 2 * n)
        if self.qk_norm == "weighted":
            out.append(Weight("q and k norms", "norms", 1, self.width, "vector", 2 * n))
        out += [Weight(name, "gains", 1, elements, "vector") for name, elements in self.extras]
        out += self._norms("final norm", D, 1)
        return out if self.tied else [*out, Weight("head", "head", self.vocab_size, D, "head")]

    def _matrix(self, name: str, component: str, rows: int, cols: int) -> list[Weight]:
        matrix = Weight(name, component, rows, cols, "matrix", self.n_layers)
        bias = Weight(f"{name} bias", component, 1, rows, "vector", self.n_layers)
        return [matrix, bias] if self.bias else [matrix]

    def _norms(self, name: str, width: int, n: int) -> list[Weight]:
        vectors = {"rmsnorm": 1, "layernorm": 2, "bare": 0}[self.norm]
        return [Weight(name, "norms", 1, width, "vector", n * vectors)] if vectors else []


def parameters(weights: Iterable[Weight]) -> dict[str, int]:
    """{component: parameters}, in the order of the list."""
    out: dict[str, int] = {}
    for weight in weights:
        out[weight.component] = out.get(weight.component, 0) + weight.parameters
    return out


def without_embeddings(weights: Iterable[Weight]) -> tuple[int, int, int]:
    """(all parameters, without what is looked up by token or position, without the head's matrix as well).

    A tied matrix is an embedding: it leaves with the first, and there is no second.
    """
    weights = list(weights)
    total = sum(weight.parameters for weight in weights)
    looked_up = sum(weight.parameters for weight in weights if weight.group in ("embedding", "table"))
    head = sum(weight.parameters for weight in weights if weight.group == "head")
    return total, total - looked_up, total - looked_up - head
