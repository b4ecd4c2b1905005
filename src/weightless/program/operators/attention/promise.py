"""Attention over a cache of stored rows, as four fused kernels a reviewer can name.

norm_matvec   y = W (rms_norm(x) * g)                     "norm + QKV"
rope_append   rotate q and k; append the row [k | v]      (cache row in its storage format, scales included)
attend        a = softmax(q K^T / sqrt(d_head)) V         over rows first..t
matvec_add    x += W a                                    "out-projection + residual"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.kernels.codes import QK_EPS
from weightless.ops.attention import decode_attention
from weightless.ops.norm import rms_norm
from weightless.ops.rope import rope
from weightless.program.arena import Arena
from weightless.program.operator import (
    SCRATCH_BYTES,
    Access,
    Lowered,
    Place,
    Tensors,
    need,
    need_matrix,
    need_vector,
    operator,
    packed,
    whole,
)


@operator("norm_matvec")
class NormMatvec:
    """y = W (rms_norm(x; eps) * g).  W (rows, d), g (1, d), x (1, d), y (1, rows)."""

    norm: str
    weight: str
    x: str
    y: str
    eps: float

    def check(self, tensors: Tensors) -> None:
        rows, width = tensors[self.weight].shape
        need_matrix(self, tensors, self.weight, rows, width)
        need_vector(self, tensors, self.norm, width, state=False)
        need_vector(self, tensors, self.x, width)
        need_vector(self, tensors, self.y, rows)
        need(4 * width <= SCRATCH_BYTES, self, f"width {width} exceeds the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [access for name in (self.x, self.norm, self.weight) for access in whole(tensors[name])]
        return [*read, *whole(tensors[self.y], write=True)]

    def run(self, arena: Arena) -> None:
        h = rms_norm(arena.row(self.x), arena.row(self.norm), self.eps)
        arena.put_row(self.y, arena.rows(self.weight) @ h)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[name].offset for name in (self.norm, self.x, self.y)]
        return Lowered([*packed(places[self.weight], "matvec"), *ends], [self.eps])

    def flops(self, tensors: Tensors, t: int) -> int:
        rows, cols = tensors[self.weight].shape
        return 2 * rows * cols


@operator("rope_append")
class RopeAppend:
    """Rotate q and k of qkv = [q | k | v] to position t - 1 and append [k | v] to the cache.

    With `qk_norm` every head of q and k is first divided by its root mean square (QK_EPS).  Half-split RoPE.
    """

    qkv: str
    cache: str
    n_heads: int
    n_kv_heads: int
    d_head: int
    theta: float
    qk_norm: bool

    def check(self, tensors: Tensors) -> None:
        check_heads(self, self.n_heads, self.n_kv_heads, self.d_head)
        need_vector(self, tensors, self.qkv, (self.n_heads + 2 * self.n_kv_heads) * self.d_head)
        check_cache(self, tensors, self.cache, 2 * self.n_kv_heads * self.d_head)
        need(self.theta > 1.0, self, f"theta {self.theta} should be above 1")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        qkv, cache = tensors[self.qkv], tensors[self.cache]
        q_bytes = 4 * self.n_heads * self.d_head
        append = Access(self.cache, (t - 1) * cache.row_stride, cache.row_bytes, True)
        return [*whole(qkv), Access(self.qkv, 0, q_bytes, True), append]

    def run(self, arena: Arena) -> None:
        position, n_q = arena.registers.t - 1, self.n_heads * self.d_head
        n_kv = self.n_kv_heads * self.d_head
        q, k, v = np.split(arena.row(self.qkv), [n_q, n_q + n_kv])
        q, k = self._rotated(q, position), self._rotated(k, position)
        arena.put_span(self.qkv, 0, q)
        arena.put_row(self.cache, np.concatenate([k, v]), position)

    def _rotated(self, vector: np.ndarray, position: int) -> np.ndarray:
        heads = vector.reshape(-1, self.d_head)
        if self.qk_norm:
            heads = rms_norm(heads, None, QK_EPS)
        return rope(heads[None], np.array([position]), self.theta).reshape(-1)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        cache = packed(places[self.cache], "encode_row")
        heads = [self.n_heads, self.n_kv_heads, self.d_head, int(self.qk_norm)]
        return Lowered([*cache, places[self.qkv].offset, *heads], [self.theta])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0


@operator("attend")
class Attend:
    """a = softmax(q K^T / sqrt(d_head)) V over cache rows max(0, t - window)..t-1; window 0 means all."""

    qkv: str
    cache: str
    out: str
    n_heads: int
    n_kv_heads: int
    d_head: int
    window: int

    def check(self, tensors: Tensors) -> None:
        check_heads(self, self.n_heads, self.n_kv_heads, self.d_head)
        need_vector(self, tensors, self.qkv, (self.n_heads + 2 * self.n_kv_heads) * self.d_head)
        need_vector(self, tensors, self.out, self.n_heads * self.d_head)
        check_cache(self, tensors, self.cache, 2 * self.n_kv_heads * self.d_head)
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

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[self.qkv].offset, places[self.out].offset]
        heads = [self.n_heads, self.n_kv_heads, self.d_head, self.window]
        return Lowered([*packed(places[self.cache], "attend"), *ends, *heads])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 4 * self.n_heads * self.d_head * (t - self._first(t))


@operator("matvec_add")
class MatvecAdd:
    """x += W a.  W (d, width), a (1, width), x (1, d)."""

    weight: str
    a: str
    x: str

    def check(self, tensors: Tensors) -> None:
        rows, cols = tensors[self.weight].shape
        need_matrix(self, tensors, self.weight, rows, cols)
        need_vector(self, tensors, self.a, cols)
        need_vector(self, tensors, self.x, rows)
        need(4 * rows <= SCRATCH_BYTES, self, f"{rows} rows exceed the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [access for name in (self.a, self.weight, self.x) for access in whole(tensors[name])]
        return [*read, *whole(tensors[self.x], write=True)]

    def run(self, arena: Arena) -> None:
        arena.put_row(self.x, arena.row(self.x) + arena.rows(self.weight) @ arena.row(self.a))

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        ends = [places[self.a].offset, places[self.x].offset]
        return Lowered([*packed(places[self.weight], "matvec"), *ends])

    def flops(self, tensors: Tensors, t: int) -> int:
        rows, cols = tensors[self.weight].shape
        return 2 * rows * cols


def check_heads(op: object, n_heads: int, n_kv_heads: int, d_head: int) -> None:
    """Head counts positive, queries shared evenly, an even width for RoPE's pairs."""
    need(n_heads > 0 and n_kv_heads > 0 and d_head > 0, op, "head counts and widths should be positive")
    need(n_heads % n_kv_heads == 0, op, f"{n_heads} heads cannot share {n_kv_heads} key/value heads evenly")
    need(d_head % 2 == 0, op, f"d_head {d_head} should be even")
    floats = 2 * n_kv_heads * d_head + 2 * n_heads + 16  # a decoded row, and the running sums of `numba_attend`
    need(4 * floats <= SCRATCH_BYTES, op, "heads exceed the scratch memory")


def check_cache(op: object, tensors: Tensors, name: str, width: int) -> None:
    """A tightly packed state tensor with one row per position."""
    cache = tensors[name]
    need(cache.shape[1] == width and cache.kind == "state", op, f"{name} should be a cache of rows of {width}")
    need(cache.format in ("f32", "bf16", "int8"), op, f"a cache cannot be {cache.format}")
    need(cache.row_stride == cache.row_bytes, op, f"{name} should be packed tightly")
