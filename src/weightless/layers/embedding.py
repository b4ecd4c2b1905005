"""Rows looked up by what has been read: the token itself, or a hash of the last few.

    x = embed[token]                   x += table[hash(last n tokens) mod rows]
    x = widen embed[token]             x += position[t]

A row costs its own bytes, however many rows there are; a table is read where it is hit and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.layers import functions as L
from weightless.layers.layer import HISTORY, STREAM, Fused, Layer, Window, register
from weightless.ledger.memory import Activation
from weightless.program.operators.attention import NormMatvec
from weightless.program.operators.lookup import GatherHashed, GatherPosition, GatherRow
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import torch

WIDEN, NARROW = "embed_widen", "narrow"
"""The second factor of a factorised embedding, and the register of a row before it is widened."""


@dataclass(frozen=True)
class Embedding(Layer):
    """The stream begins as the row of the token.  `tied`: the head owns the matrix and reads all of it."""

    vocab_size: int
    d_model: int
    format: str
    std: float
    tied: bool = False
    component: str = "embedding"
    name: str = "embed"

    def parameters(self) -> list[Parameter]:
        shape = (self.vocab_size, self.d_model)
        component = "head" if self.tied else self.component
        return [Parameter(self.name, shape, self.format, self.std, "embedding", component, by_row=not self.tied)]

    def state(self) -> list[Tensor]:
        return [register(STREAM, self.d_model)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch.nn.functional as F

        return F.embedding(window.tokens_BT, p[self.name])

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch.nn.functional as F

        with fused("gather_row"):
            return F.embedding(s[HISTORY][t - 1], p[self.name])

    def operators(self) -> list[Any]:
        return [GatherRow(HISTORY, self.name, STREAM, add=False)]

    def kept(self, T: int) -> list[Activation]:
        return [Activation("tokens", T, 1, 8)]


@dataclass(frozen=True)
class FactorisedEmbedding(Layer):
    """The stream begins as W_widen (D, R) times the token's row of R numbers, R < D (Lan et al. 2020).

    `tied`: the head reads both factors again, the second transposed.
    """

    vocab_size: int
    d_model: int
    d_embed: int
    format: str
    std: float
    tied: bool = False

    def parameters(self) -> list[Parameter]:
        line, r = "head" if self.tied else "embedding", self.d_embed
        rows = Parameter("embed", (self.vocab_size, r), self.format, self.std, "embedding", line, not self.tied)
        widen = Parameter(WIDEN, (self.d_model, r), self.format, (1 / r) ** 0.5, "matrix", line)
        return [rows, widen]

    def state(self) -> list[Tensor]:
        return [register(STREAM, self.d_model), register(NARROW, self.d_embed)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        import torch.nn.functional as F

        rows_BTR = F.embedding(window.tokens_BT, p["embed"])
        return F.linear(rows_BTR, p[WIDEN]).to(rows_BTR.dtype)  # under autocast the stream stays float32

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch.nn.functional as F

        with fused("gather_row"):
            narrow_R = F.embedding(s[HISTORY][t - 1], p["embed"])
        with fused("norm_matvec"):
            return F.linear(narrow_R, p[WIDEN])

    def operators(self) -> list[Any]:
        return [GatherRow(HISTORY, "embed", NARROW, add=False), NormMatvec("", WIDEN, NARROW, STREAM, eps=0.0)]

    def kept(self, T: int) -> list[Activation]:
        return [Activation("tokens", T, 1, 8), Activation("narrow embedding rows", T * self.d_embed)]


@dataclass(frozen=True)
class PositionRows(Layer):
    """A learned row for every position, added to the stream (Radford et al. 2019); a document begins at the first."""

    context: int
    d_model: int
    format: str
    std: float
    name: str = "position"

    def parameters(self) -> list[Parameter]:
        shape = (self.context, self.d_model)
        return [Parameter(self.name, shape, self.format, self.std, "embedding", "position rows", by_row=True)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        if window.documents is not None:
            return x_BTD + p[self.name][window.documents.position_BT]
        return x_BTD + p[self.name][: x_BTD.shape[1]]

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        with fused("gather_position"):
            return x_D + p[self.name][t - 1]

    def operators(self) -> list[Any]:
        return [GatherPosition(self.name, STREAM)]

    def kept(self, T: int) -> list[Activation]:
        return []


@dataclass(frozen=True)
class HashedRows(Layer):
    """The row of a hash of the last `order` tokens, added to the stream; the gradient is sparse."""

    order: int
    n_rows: int
    d_model: int
    vocab_size: int
    format: str
    seed: int

    @property
    def name(self) -> str:
        return f"table.{self.order}"

    def parameters(self) -> list[Parameter]:
        shape = (self.n_rows, self.d_model)
        return [Parameter(self.name, shape, self.format, "zeros", "table", "lookup rows", by_row=True)]

    def forward(self, p: Mapping[str, torch.Tensor], x_BTD: Any, window: Window) -> torch.Tensor:
        where = (self.order, self.seed, self.n_rows, self.vocab_size)
        hashed: Any = L.hashed_rows  # what torch.compiler.disable gives has no signature
        rows_BT = hashed(window.tokens_BT, *where, window.documents)
        return x_BTD + L.looked_up(p[self.name], rows_BT)

    def step(
        self, p: Mapping[str, torch.Tensor], s: Mapping[str, torch.Tensor], x_D: Any, t: int, fused: Fused
    ) -> torch.Tensor:
        import torch
        import torch.nn.functional as F

        with fused("gather_hashed"):
            seen = s[HISTORY][max(0, t - self.order) : t].clone()
            row = L.hashed_row(seen, self.order, self.seed, self.n_rows, pad=self.vocab_size)
            return x_D + F.embedding(torch.tensor(row), p[self.name])

    def operators(self) -> list[Any]:
        return [GatherHashed(HISTORY, self.name, STREAM, self.order, self.seed, pad=self.vocab_size)]

    def kept(self, T: int) -> list[Activation]:
        return [Activation("rows of the hashed tables", T, 1, 8)]
