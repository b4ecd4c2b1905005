"""Linear attention with gates: a matrix S of K x V numbers per head, read and written at every position.

linear_attend   S = a S + k w^T;  out = norm(S^T q) silu(o), head by head      a = sigma(-(g + decay))
                w = v, or by the delta rule sigma(b) (v - a S^T k), with q and k of length 1

One kernel: norms of q and k, gates, the state's step, its answer, the norm of that without weights, the output gate.
At position 1 the state is not read but only written, so that nothing needs clearing between two texts and no byte of
clearing is charged; from position 2 on all of it is read and written, 2 H K V numbers in the format that it is stored
in.  S is stored row by row, a row per key number: H K rows of V.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from weightless.ops.feedforward import silu
from weightless.ops.linear_attention import attend_step, unit
from weightless.ops.norm import rms_norm
from weightless.ops.scan import decays
from weightless.program.arena import Arena
from weightless.program.batch import Batch
from weightless.program.operator import (
    SCRATCH_BYTES,
    Access,
    Bounds,
    Kernel,
    Lowered,
    Operator,
    Place,
    Tensors,
    need,
    need_vector,
    operator,
    packed,
    span_of,
    whole,
)
from weightless.program.operators.linear_attention.chain import chained

STATE_FORMATS = ("f32", "bf16")


@operator("linear_attend", version=2)
class LinearAttend(Operator):
    """x (1, 2 H K + 2 H V + H or 2 H) = [q | k | v | o | g | b, with the delta rule only], decay (1, H), out (1, H V).

    state (H K, V) in f32 or bf16; the answer is read from S before it is rounded.  Without `answers` q and o are not
    read and out is not written: what a token leaves that asks nothing itself.
    """

    x: str
    decay: str
    state: str
    out: str
    n_heads: int
    d_key: int
    d_value: int
    delta: bool
    eps: float
    answers: bool = True

    def check(self, bounds: Bounds) -> None:
        tensors, H, K, V = bounds.tensors, self.n_heads, self.d_key, self.d_value
        need(min(H, K, V) > 0, self, "head counts and widths should be positive")
        need(4 * (2 * K + 2 * V) <= SCRATCH_BYTES, self, f"heads of {K} and {V} exceed the scratch memory")
        state = tensors[self.state]
        need(state.shape == (H * K, V), self, f"{self.state} should have shape ({H * K}, {V}), not {state.shape}")
        need(state.kind == "state" and state.format in STATE_FORMATS, self, "the state is no state of f32 or bf16")
        need(state.row_stride == state.row_bytes, self, f"{self.state} should be packed tightly")
        need_vector(self, tensors, self.x, self._width)
        need_vector(self, tensors, self.decay, H, state=False)
        need_vector(self, tensors, self.out, H * V)
        need(len({self.x, self.state, self.out}) == 3, self, "x, state and out should be three tensors")

    def state_rows(self, bounds: Bounds) -> Mapping[str, int]:
        return {self.state: self.n_heads * self.d_key}

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [*(span_of(tensors[self.x], first, n) for first, n in self._spans), *whole(tensors[self.decay])]
        before = whole(tensors[self.state]) if t > 1 else []
        answer = whole(tensors[self.out], write=True) if self.answers else []
        return [*read, *before, *whole(tensors[self.state], write=True), *answer]

    @property
    def _width(self) -> int:
        """Of x."""
        H, K, V = self._shape
        return 2 * H * K + 2 * H * V + H * (2 if self.delta else 1)

    @property
    def _spans(self) -> list[tuple[int, int]]:
        """(first, how many) of the numbers of x that are read: all, or k and v, and what gates them."""
        H, K, V = self._shape
        gates = 2 * H * (K + V)
        return [(0, self._width)] if self.answers else [(H * K, H * (K + V)), (gates, self._width - gates)]

    def run(self, arena: Arena) -> None:
        x, decay = np.zeros(self._width, np.float32), arena.row(self.decay)
        for first, n in self._spans:
            x[first : first + n] = arena.span(self.x, first, n)
        S_HKV = arena.rows(self.state).reshape(self._shape) if arena.registers.t > 1 else None
        S_HKV, y = self._stepped(x[None], decay, None if S_HKV is None else S_HKV[None])
        arena.put_rows(self.state, 0, S_HKV[0].reshape(-1, self.d_value))
        if self.answers:
            arena.put_row(self.out, y[0])

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.n_heads, self.d_key, self.d_value

    def _stepped(self, x_NC: np.ndarray, decay: np.ndarray, S_NHKV: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """(states [N, H, K, V], out [N, H V]) of N rows."""
        *given, o_NHV = self._parted(x_NC, decay)
        S_NHKV, y_NHV = attend_step(S_NHKV, *given)
        return S_NHKV, self._gated(y_NHV, o_NHV)

    def _parted(self, x_NC: np.ndarray, decay: np.ndarray) -> tuple[Any, ...]:
        """(q, k [N, H, K], v [N, H, V], a, beta [N, H], o [N, H, V]); without the delta rule beta is None."""
        H, K, V = self._shape
        edges = np.cumsum([H * K, H * K, H * V, H * V, H])
        q, k, v, o, g, b = np.split(x_NC, edges, axis=1)
        q_NHK, k_NHK = (z.reshape(-1, H, K) for z in (q, k))
        if self.delta:
            q_NHK, k_NHK = unit(q_NHK), unit(k_NHK)
        a_NH, beta_NH = decays(g + decay)[0], decays(-b)[0] if self.delta else None
        return q_NHK, k_NHK, v.reshape(-1, H, V), a_NH, beta_NH, o.reshape(-1, H, V)

    def _gated(self, y_NHV: np.ndarray, o_NHV: np.ndarray) -> np.ndarray:
        """out [N, H V]."""
        return (rms_norm(y_NHV, None, self.eps) * silu(o_NHV)).reshape(len(y_NHV), -1)

    def batch(self, rows: Batch) -> None:
        if rows.is_chain():
            self._chained(rows)
            return
        x_NC, decay = rows.values[self.x], rows.weight(self.decay)
        out_NC = np.empty((len(x_NC), self.n_heads * self.d_value), x_NC.dtype)
        for at in rows.stages():
            before = rows.recalled(self.state, at).reshape(-1, *self._shape)
            S_NHKV, out_NC[at] = self._stepped(x_NC[at], decay, before)
            rows.remember(self.state, at, S_NHKV.reshape(len(at), -1, self.d_value))
        if self.answers:
            rows.values[self.out] = out_NC

    def _chained(self, rows: Batch) -> None:
        """The rows of one sequence in order, by the compiled recurrence that training has."""
        x_NC, n_rows = rows.values[self.x], rows.n_rows(self.state)
        q, k, v, a, beta, o = self._parted(x_NC, rows.weight(self.decay))
        before = rows.recalled(self.state, np.zeros(1, np.int64))[0].reshape(self._shape)
        y, S_HKV = chained(before, (q, k, v, a, beta), rows.format_of(self.state) == "bf16")
        rows.remember(self.state, np.array([len(x_NC) - 1]), S_HKV.reshape(1, n_rows, -1))
        if self.answers:
            rows.values[self.out] = self._gated(y, o)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        state = packed(places[self.state], "recall_row")
        ends = [places[name].offset for name in (self.x, self.decay, self.out)]
        encode = Kernel("encode_row", places[self.state].tensor.format)
        return Lowered([*state, encode, *ends, *self._shape, int(self.delta), int(self.answers)], [self.eps])

    def kept(self) -> tuple[str, ...]:
        return (self.state,)

    def flops(self, tensors: Tensors, t: int) -> int:
        products = 1 + self.delta + self.answers  # k w^T, S^T k, S^T q
        return 2 * products * self.n_heads * self.d_key * self.d_value
