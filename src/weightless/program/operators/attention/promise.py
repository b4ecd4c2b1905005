"""Attention over a cache of stored rows, as four fused kernels a reviewer can name.

norm_matvec   y = W (rms_norm(x) * g)                     "norm + QKV", and every other matrix between two vectors
rope_append   rotate q and k; append the row [k | v]      (cache row in its storage format, scales included)
attend        a = softmax(q K^T / sqrt(d_head)) V         over rows first..t
matvec_add    x += W a                                    "out-projection + residual"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.base.errors import ConfigError
from weightless.kernels.codes import QK_EPS, ROTARY_CODES
from weightless.ops.attention import decode_attention
from weightless.ops.integer_activations import taken
from weightless.ops.norm import SMALLEST_EPS, rms_norm
from weightless.ops.rope import PAIRINGS, UNSTRETCHED, Stretch, rope, turned, turns
from weightless.program.arena import Arena
from weightless.program.batch import Batch, normed_rows, times
from weightless.program.operator import (
    SCRATCH_BYTES,
    Access,
    Bounds,
    Lowered,
    Operator,
    Place,
    Tensors,
    is_float32,
    need,
    need_integer,
    need_matrix,
    need_vector,
    operator,
    packed,
    product_kernel,
    rows_of,
    span_of,
    whole,
)
from weightless.program.operators.residual import Joined, check_norm, norm_operand, normed, offset_or_none, optional


@operator("norm_matvec", version=6)
class NormMatvec(Operator):
    """y = W (rms_norm(x; eps) * g).  W (rows, d), g (1, d), x (1, d), y (1, rows).

    `bare`: the norm has no weights g; with neither `norm` nor that y = W x.  `transposed`: W^T stands for W; with a
    `softcap` c > 0 every y becomes c tanh(y / c).  A `norm_bias` (1, d) makes the norm a LayerNorm; `bias` (1, rows) is
    added to the product.
    With a `count` > 0 only that many rows of W are read, from row `first` on, and only theirs of y are written.
    `activations` "int8": what W multiplies is rounded first (`ops.integer_activations`).
    """

    norm: str
    weight: str
    x: str
    y: str
    eps: float
    transposed: bool = False
    softcap: float = 0.0
    bare: bool = False
    norm_bias: str = ""
    bias: str = ""
    first: int = 0
    count: int = 0
    activations: str = "f32"

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        rows, width = tensors[self.weight].shape
        need_integer(self, bounds, self.activations, self.weight)
        is_plain = self.activations == "f32"
        need(is_plain or not self.transposed, self, "a transposed matrix takes activations as they are")
        need_matrix(self, tensors, self.weight, rows, width)
        n_in, n_out = (rows, width) if self.transposed else (width, rows)
        check_norm(self, tensors, self.norm, self.bare, self.eps, n_in, self.norm_bias)
        if self.bias:
            need_vector(self, tensors, self.bias, n_out, state=False)
        need_vector(self, tensors, self.x, n_in)
        need_vector(self, tensors, self.y, n_out)
        need(self.x != self.y, self, "x and y should be two vectors")
        need(not self.transposed or self.count == 0, self, "all rows of a transposed matrix are needed")
        need(
            0 <= self.count and 0 <= self.first <= rows - self.count, self, f"rows outside the {rows} of {self.weight}"
        )
        need(self.count > 0 or self.first == 0, self, "a first row, and no count of rows")
        cap = self.softcap
        need(cap == 0 or is_float32(cap), self, f"softcap {cap:g} should be 0 or a positive number of float32")
        floats = n_in + (n_out if self.transposed else 0)
        need(4 * floats <= SCRATCH_BYTES, self, f"width {floats} exceeds the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [*whole(tensors[self.x]), *optional(tensors, self.norm, self.norm_bias)]
        if not self.count:
            read += [*whole(tensors[self.weight]), *optional(tensors, self.bias)]
            return [*read, *whole(tensors[self.y], write=True)]
        read += rows_of(tensors[self.weight], self.first, self.count)
        read += [span_of(tensors[name], self.first, self.count) for name in (self.bias,) if name]
        return [*read, span_of(tensors[self.y], self.first, self.count, write=True)]

    def run(self, arena: Arena) -> None:
        h = normed(arena, arena.row(self.x), self.norm, self.eps, self.bare, self.norm_bias)
        W = arena.rows(self.weight, self.first, self.count or None)
        y = (W.T if self.transposed else W) @ taken(h, self.activations)
        if self.bias:
            y = y + arena.span(self.bias, self.first, len(y))
        y = np.float32(self.softcap) * np.tanh(y / np.float32(self.softcap)) if self.softcap else y
        arena.put_span(self.y, self.first, y)

    def batch(self, rows: Batch) -> None:
        part = slice(self.first, self.first + self.count if self.count else None)
        y = self.outputs(rows, self.inputs(rows), self.matrix(rows), part)
        if self.count:
            whole_y = rows.values.get(self.y, np.zeros((len(y), rows.n_columns(self.y)), y.dtype)).copy()
            whole_y[:, part] = y
            y = whole_y
        rows.values[self.y] = y

    def inputs(self, rows: Batch) -> np.ndarray:
        """What the matrix is multiplied with, of many rows."""
        h_ND = normed_rows(rows, rows.values[self.x], self.norm, self.eps, self.bare, self.norm_bias)
        return taken(h_ND, self.activations)

    def matrix(self, rows: Batch) -> np.ndarray:
        """With a row for every number of y."""
        W = rows.weight(self.weight)
        return W.T if self.transposed else W

    def outputs(self, rows: Batch, h_ND: np.ndarray, W: np.ndarray, part: slice) -> np.ndarray:
        """That part of y, for many rows."""
        y = times(W[part], h_ND)
        if self.bias:
            y = y + rows.weight(self.bias)[:, part]
        return self.softcap * np.tanh(y / self.softcap) if self.softcap else y

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [norm_operand(places, self.norm, self.bare), places[self.x].offset, places[self.y].offset]
        kernel = "decode_row" if self.transposed else product_kernel(self.activations)
        weight = packed(places[self.weight], kernel)
        vectors = [offset_or_none(places, self.norm_bias), offset_or_none(places, self.bias)]
        read = [self.first, self.count or places[self.weight].tensor.shape[0]]
        return Lowered([*weight, *ends, int(self.transposed), *vectors, *read], [self.eps, self.softcap])

    def rounds(self) -> bool:
        return self.activations != "f32"

    def flops(self, tensors: Tensors, t: int) -> int:
        rows, cols = tensors[self.weight].shape
        return 2 * (self.count or rows) * cols


@operator("rope_append", version=5)
class RopeAppend(Operator):
    """Rotate q and k of qkv = [q | k | v] to position t - 1 and append [k | v] to the cache.

    With `qk_norm` every head of q and k is first divided by its root mean square (`qk_eps`), and multiplied with the
    weights `q_norm` and `k_norm` (1, d_head) where these are named.  `rotary` says which elements are a pair
    (`ops.rope`), or "none"; `stretch`, `low`, `high` and `learned` are its `Stretch`.  `q_gain` (1, n_heads): a factor
    for every query head, behind all that.  Without `queries` q is neither read nor written: what a token leaves that
    asks nothing itself.
    """

    qkv: str
    cache: str
    n_heads: int
    n_kv_heads: int
    d_head: int
    theta: float
    qk_norm: bool
    rotary: str = "half_split"
    q_norm: str = ""
    k_norm: str = ""
    q_gain: str = ""
    qk_eps: float = QK_EPS
    queries: bool = True
    stretch: float = 1.0
    low: float = UNSTRETCHED.low
    high: float = UNSTRETCHED.high
    learned: int = UNSTRETCHED.learned

    @property
    def stretching(self) -> Stretch:
        return Stretch(self.stretch, self.low, self.high, self.learned)

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        need(self.rotary in (*PAIRINGS, "none"), self, f"no pairs are {self.rotary!r:.20}")
        need(self.qk_norm or not (self.q_norm or self.k_norm), self, "weights of a norm that is not there")
        for name, width in ((self.q_norm, self.d_head), (self.k_norm, self.d_head), (self.q_gain, self.n_heads)):
            if name:
                need_vector(self, tensors, name, width, state=False)
        check_heads(self, self.n_heads, self.n_kv_heads, self.d_head)
        need_vector(self, tensors, self.qkv, (self.n_heads + 2 * self.n_kv_heads) * self.d_head)
        check_cache(self, bounds, self.cache, 2 * self.n_kv_heads * self.d_head)
        need(self.theta > 1.0, self, f"theta {self.theta} should be above 1")
        need(self.rotary != "none" or self.stretch == 1, self, "a stretch of positions that there are none of")
        try:
            self.stretching.check()
        except ConfigError as error:
            need(False, self, str(error))
        need(SMALLEST_EPS <= self.qk_eps <= 1, self, f"qk_eps {self.qk_eps} is not between {SMALLEST_EPS} and 1")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        cache, n_q, n_kv = tensors[self.cache], self.n_heads * self.d_head, 2 * self.n_kv_heads * self.d_head
        append = Access(self.cache, (t - 1) * cache.row_stride, cache.row_bytes, True)
        vectors = optional(tensors, *((self.q_norm, self.q_gain) if self.queries else ()), self.k_norm)
        kv = span_of(tensors[self.qkv], n_q, n_kv)
        if not self._turns:
            return [kv, *vectors, append]
        q = [span_of(tensors[self.qkv], 0, n_q, write) for write in (False, True)]
        return [*q, kv, *vectors, append]

    @property
    def _turns(self) -> bool:
        """Whether queries are anything else than they were."""
        return self.queries and (self.qk_norm or self.rotary != "none" or bool(self.q_gain))

    def run(self, arena: Arena) -> None:
        position, n_q = arena.registers.t - 1, self.n_heads * self.d_head
        n_kv = self.n_kv_heads * self.d_head
        k, v = np.split(arena.span(self.qkv, n_q, 2 * n_kv), 2)
        if self._turns:
            q = self.turned(arena, arena.span(self.qkv, 0, n_q), self.q_norm, position)
            if self.q_gain:
                q = q * arena.row(self.q_gain)[:, None]
            arena.put_span(self.qkv, 0, q.reshape(-1))
        k = self.turned(arena, k, self.k_norm, position).reshape(-1)
        arena.put_row(self.cache, np.concatenate([k, v]), position)

    def turned(self, arena: Arena, vector: np.ndarray, norm: str, position: int) -> np.ndarray:
        """[heads, d_head], normed and rotated."""
        heads = vector.reshape(-1, self.d_head)
        if self.qk_norm:
            heads = rms_norm(heads, arena.row(norm) if norm else None, self.qk_eps)
        if self.rotary == "none":
            return heads
        return rope(heads[None], np.array([position]), self.theta, self.rotary, self.stretching)[0]

    def batch(self, rows: Batch) -> None:
        n_q, n_kv = self.n_heads * self.d_head, self.n_kv_heads * self.d_head
        q, k, v = np.split(rows.values[self.qkv], [n_q, n_q + n_kv], axis=1)
        k_NHK = self._turned_rows(rows, k, self.k_norm)
        rows.append(self.cache, np.concatenate([k_NHK.reshape(len(v), -1), v], axis=1), self.n_kv_heads)
        if self.queries:
            q_NHK = self._turned_rows(rows, q, self.q_norm)
            if self.q_gain:
                q_NHK = q_NHK * rows.weight(self.q_gain).reshape(-1, 1)
            rows.values[self.qkv] = q_NHK.reshape(len(v), -1)

    def _turned_rows(self, rows: Batch, x_ND: np.ndarray, norm: str) -> np.ndarray:
        x_NHK = x_ND.reshape(len(x_ND), -1, self.d_head)
        if self.qk_norm:
            x_NHK = rms_norm(x_NHK, rows.weight(norm) if norm else None, self.qk_eps)
        if self.rotary == "none":
            return x_NHK
        key = ("turns", self.d_head, self.theta, self.stretching)
        cos, sin = rows.once(key, lambda: turns(rows.position_N, self.d_head, self.theta, self.stretching, rows.dtype))
        return turned(x_NHK, cos, sin, self.rotary)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        cache = packed(places[self.cache], "encode_row")
        heads = [self.n_heads, self.n_kv_heads, self.d_head, int(self.qk_norm)]
        vectors = [offset_or_none(places, name) for name in (self.q_norm, self.k_norm, self.q_gain)]
        turn = [ROTARY_CODES[self.rotary], *vectors, int(self._turns), int(self.queries)]
        numbers = [self.theta, self.qk_eps, *map(float, self.stretching)]
        return Lowered([*cache, places[self.qkv].offset, *heads, *turn], numbers)

    def kept(self) -> tuple[str, ...]:
        return (self.cache,)

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0


@operator("attend")
class Attend(Operator):
    """a = softmax(q K^T / sqrt(d_head)) V over cache rows max(0, t - window)..t-1; window 0 means all."""

    qkv: str
    cache: str
    out: str
    n_heads: int
    n_kv_heads: int
    d_head: int
    window: int

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        check_heads(self, self.n_heads, self.n_kv_heads, self.d_head)
        need_vector(self, tensors, self.qkv, (self.n_heads + 2 * self.n_kv_heads) * self.d_head)
        need_vector(self, tensors, self.out, self.n_heads * self.d_head)
        check_cache(self, bounds, self.cache, 2 * self.n_kv_heads * self.d_head)
        need(self.window >= 0, self, "window should not be negative")

    def _first(self, t: int) -> int:
        return max(0, t - self.window) if self.window else 0

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        cache, first = tensors[self.cache], self._first(t)
        stored = Access(self.cache, first * cache.row_stride, (t - first) * cache.row_bytes, False)
        q = Access(self.qkv, 0, 4 * self.n_heads * self.d_head, False)
        return [q, stored, *whole(tensors[self.out], write=True)]

    def run(self, arena: Arena) -> None:
        t = arena.registers.t
        first = self._first(t)
        q_HK = arena.span(self.qkv, 0, self.n_heads * self.d_head).reshape(self.n_heads, self.d_head)
        rows = arena.rows(self.cache, first, t - first)
        k_THK, v_THK = np.split(rows.reshape(t - first, 2 * self.n_kv_heads, self.d_head), 2, axis=1)
        arena.put_row(self.out, decode_attention(q_HK, k_THK, v_THK).reshape(-1))

    def batch(self, rows: Batch) -> None:
        q = rows.values[self.qkv][:, : self.n_heads * self.d_head]
        rows.values[self.out] = rows.attend(self.cache, q.reshape(len(q), self.n_heads, self.d_head))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[self.qkv].offset, places[self.out].offset]
        heads = [self.n_heads, self.n_kv_heads, self.d_head, self.window]
        return Lowered([*packed(places[self.cache], "attend"), *ends, *heads])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 4 * self.n_heads * self.d_head * (t - self._first(t))


@operator("matvec_add", version=4)
class MatvecAdd(Joined):
    """x += W a.  W (d, width), a (1, width), x (1, d); see `residual` for norms and factors of the branch.

    `bias` (1, d) is added to the product.  `activations` "int8": a is rounded first (`ops.integer_activations`).
    """

    weight: str
    a: str
    x: str
    after: str = ""
    on: str = "sum"
    gains: str = ""
    scale: float = 1.0
    eps: float = 0.0
    bias: str = ""
    activations: str = "f32"

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        rows, cols = tensors[self.weight].shape
        need_integer(self, bounds, self.activations, self.weight)
        need_matrix(self, tensors, self.weight, rows, cols)
        need_vector(self, tensors, self.a, cols)
        if self.bias:
            need_vector(self, tensors, self.bias, rows, state=False)
        self.check_join(tensors, rows)
        need(4 * rows <= SCRATCH_BYTES, self, f"{rows} rows exceed the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = optional(tensors, self.a, self.weight, self.bias, self.x)
        return [*read, *self.join_reads(tensors), *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        branch = arena.rows(self.weight) @ taken(arena.row(self.a), self.activations)
        self.join(arena, arena.row(self.x), branch + arena.row(self.bias) if self.bias else branch)

    def batch(self, rows: Batch) -> None:
        branch = times(rows.weight(self.weight), taken(rows.values[self.a], self.activations))
        self.join_rows(rows, rows.values[self.x], branch + rows.weight(self.bias) if self.bias else branch)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        weight = packed(places[self.weight], product_kernel(self.activations))
        ends = [places[self.a].offset, *self.join_operands(places), offset_or_none(places, self.bias)]
        return Lowered([*weight, *ends], [self.eps, self.scale])

    def rounds(self) -> bool:
        return self.activations != "f32"

    def flops(self, tensors: Tensors, t: int) -> int:
        rows, cols = tensors[self.weight].shape
        return 2 * rows * cols


def check_heads(op: object, n_heads: int, n_kv_heads: int, d_head: int) -> None:
    """Head counts positive, queries shared evenly, an even width for RoPE's pairs."""
    need(n_heads > 0 and n_kv_heads > 0 and d_head > 0, op, "head counts and widths should be positive")
    need(n_heads % n_kv_heads == 0, op, f"{n_heads} heads cannot share {n_kv_heads} key/value heads evenly")
    need(d_head % 2 == 0, op, f"d_head {d_head} should be even")
    floats = 2 * n_kv_heads * d_head + 2 * n_heads + 16  # a decoded row, and the running sums of `numba/attend.py`
    need(4 * floats <= SCRATCH_BYTES, op, "heads exceed the scratch memory")


def check_cache(op: object, bounds: Bounds, name: str, width: int) -> None:
    """A tightly packed state tensor with one row per position."""
    cache = bounds.tensors[name]
    need(cache.shape[1] == width and cache.kind == "state", op, f"{name} should be a cache of rows of {width}")
    need(cache.format in ("f32", "bf16", "int8"), op, f"a cache cannot be {cache.format}")
    need(cache.row_stride == cache.row_bytes, op, f"{name} should be packed tightly")
    need(cache.shape[0] >= bounds.context, op, "cache shorter than the context")
