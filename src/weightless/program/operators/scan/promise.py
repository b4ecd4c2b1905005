"""A recurrence over one vector of state, and a short convolution over the last inputs, each a fused kernel.

scan       h = a h + (1 - a) u;  out = h silu(o)      a = sigma(-(g + decay)), elementwise, from x = [u | g | o]
convolve   x += sum over i < W of K_i x_{t-i}         over some columns of x

At position 1 there is no state yet: `scan` writes h and does not read it, `convolve` reads as many older inputs as
there are.  So nothing needs clearing between two texts, and no byte of clearing is charged.  From position 2 on h is
read and written: 2 S 4 bytes.  The older inputs lie in a ring of W - 1 rows, of which one is written per position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightless.ops.feedforward import silu
from weightless.ops.scan import scan_step
from weightless.program.arena import Arena
from weightless.program.batch import Batch
from weightless.program.operator import (
    SCRATCH_BYTES,
    Access,
    Bounds,
    Lowered,
    Operator,
    Place,
    Tensors,
    need,
    need_vector,
    operator,
    row_of,
    span_of,
    whole,
)
from weightless.program.operators.scan.chain import convolved, scanned, window_after
from weightless.program.tensor import Tensor

WIDTHS = range(2, 5)
"""Of a short convolution."""


@operator("scan", version=2)
class Scan(Operator):
    """h = a h + (1 - a) u; out = h silu(o).  x (1, 3 S) = [u | g | o], decay (1, S), state (1, S), out (1, S).

    Without `answers` o is not read and out not written: what a token leaves that asks nothing itself.
    """

    x: str
    decay: str
    state: str
    out: str
    answers: bool = True

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        width = tensors[self.state].shape[1]
        need(width > 0, self, "a state of no numbers")
        need_vector(self, tensors, self.x, 3 * width)
        need_vector(self, tensors, self.decay, width, state=False)
        need_vector(self, tensors, self.state, width)
        need_vector(self, tensors, self.out, width)
        need(len({self.x, self.state, self.out}) == 3, self, "x, state and out should be three vectors")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        read = [self._read(tensors[self.x]), *whole(tensors[self.decay])]
        before = whole(tensors[self.state]) if t > 1 else []
        answer = whole(tensors[self.out], write=True) if self.answers else []
        return [*read, *before, *whole(tensors[self.state], write=True), *answer]

    def _read(self, x: Tensor) -> Access:
        """u and g, and o for an answer."""
        return span_of(x, 0, x.shape[1] if self.answers else 2 * (x.shape[1] // 3))

    def run(self, arena: Arena) -> None:
        width = arena.tensor(self.state).shape[1]
        u, g, *o = np.split(arena.span(self.x, 0, (3 if self.answers else 2) * width), 3 if self.answers else 2)
        before = arena.row(self.state) if arena.registers.t > 1 else None
        h = scan_step(before, u, g + arena.row(self.decay))
        arena.put_row(self.state, h)
        if self.answers:
            arena.put_row(self.out, h * silu(o[0]))

    def batch(self, rows: Batch) -> None:
        if rows.is_chain():
            before_S = rows.recalled(self.state, np.zeros(1, np.int64))[0, 0]
            h_NS, y_NS = scanned(before_S, rows.values[self.x], rows.weight(self.decay))
            rows.remember(self.state, np.array([len(h_NS) - 1]), h_NS[-1:, None])
            if self.answers:
                rows.values[self.out] = y_NS
            return
        u_NS, g_NS, o_NS = np.split(rows.values[self.x], 3, axis=1)
        z_NS, h_NS = g_NS + rows.weight(self.decay), np.empty_like(u_NS)
        for at in rows.stages():
            h_NS[at] = scan_step(rows.recalled(self.state, at)[:, 0], u_NS[at], z_NS[at])
            rows.remember(self.state, at, h_NS[at, None])
        if self.answers:
            rows.values[self.out] = h_NS * silu(o_NS)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        names = (self.x, self.decay, self.state, self.out)
        width = places[self.state].tensor.shape[1]
        return Lowered([*(places[name].offset for name in names), width, int(self.answers)])

    def kept(self) -> tuple[str, ...]:
        return (self.state,)

    def flops(self, tensors: Tensors, t: int) -> int:
        return 4 * tensors[self.state].shape[1]


@operator("convolve", version=2)
class Convolve(Operator):
    """x_t += sum over i < W of K_i x_{t-i} over C columns of x from `first` on; kernel (W, C), window (W - 1, C).

    Row t mod (W - 1) of the window holds x_t as it came.  Without `answers` that is all that happens: what a token
    leaves that asks nothing itself.
    """

    x: str
    kernel: str
    window: str
    first: int = 0
    answers: bool = True

    def check(self, bounds: Bounds) -> None:
        tensors = bounds.tensors
        kernel, window, x = (tensors[name] for name in (self.kernel, self.window, self.x))
        width, n = kernel.shape
        need(width in WIDTHS, self, f"a convolution of {width} positions is not in {WIDTHS[0]}..{WIDTHS[-1]}")
        need(kernel.format == "f32" and kernel.kind != "state" and n > 0, self, "the kernel is no f32 weight")
        need(kernel.row_stride == kernel.row_bytes, self, "a kernel is packed tightly")
        need(window.shape == (width - 1, n), self, f"the window should have shape ({width - 1}, {n})")
        need(window.format == "f32" and window.kind == "state", self, "the window is no f32 state")
        need(window.row_stride == window.row_bytes, self, "a window is packed tightly")
        fits = 0 <= self.first <= x.shape[1] - n and self.x != self.window
        need(fits, self, f"x should hold {n} columns of its own from {self.first} on")
        need_vector(self, tensors, self.x, x.shape[1])
        need(4 * n <= SCRATCH_BYTES, self, f"{n} columns exceed the scratch memory")

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        kernel, window = tensors[self.kernel], tensors[self.window]
        n_rows, n = window.shape
        read, written = (span_of(tensors[self.x], self.first, n, write) for write in (False, True))
        newest = row_of(window, (t - 1) % n_rows, write=True)
        if not self.answers:
            return [read, newest]
        older = [row_of(window, (t - 1 - i) % n_rows) for i in range(1, min(n_rows + 1, t))]
        used = Access(self.kernel, 0, min(kernel.shape[0], t) * kernel.row_bytes, False)
        return [read, used, *older, newest, written]

    def run(self, arena: Arena) -> None:
        t, (width, n) = arena.registers.t, arena.tensor(self.kernel).shape
        x = arena.span(self.x, self.first, n)
        if self.answers:
            out = x.copy()
            for i, weight in enumerate(arena.rows(self.kernel, 0, min(width, t))):
                out += weight * (arena.row(self.window, (t - 1 - i) % (width - 1)) if i else x)
            arena.put_span(self.x, self.first, out)
        arena.put_row(self.window, x, (t - 1) % (width - 1))

    def batch(self, rows: Batch) -> None:
        kernel_WC, x = rows.weight(self.kernel), rows.values[self.x].copy()
        width, n = kernel_WC.shape
        out_NC = x[:, self.first : self.first + n]
        x_NC = out_NC.copy()
        if rows.is_chain():
            before, at = rows.recalled(self.window, np.zeros(1, np.int64))[0], int(rows.position_N[0])
            if self.answers:
                out_NC[:] = convolved(before, x_NC, kernel_WC, at)
            rows.remember(self.window, np.array([len(x) - 1]), window_after(before, x_NC, at)[None])
            rows.values[self.x] = x
            return
        if self.answers:
            out_NC += kernel_WC[0] * x_NC
        for at in rows.stages():
            window, position = rows.recalled(self.window, at), rows.position_N[at]
            every = np.arange(len(at))
            for i in range(1, width if self.answers else 1):
                older = window[every, (position - i) % (width - 1)]
                out_NC[at] += kernel_WC[i] * np.where((position >= i)[:, None], older, 0)
            window[every, position % (width - 1)] = x_NC[at]
            rows.remember(self.window, at, window)
        rows.values[self.x] = x

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        width, n = places[self.kernel].tensor.shape
        at = places[self.x].offset + 4 * self.first
        return Lowered([at, places[self.kernel].offset, places[self.window].offset, n, width, int(self.answers)])

    def kept(self) -> tuple[str, ...]:
        return (self.window,)

    def flops(self, tensors: Tensors, t: int) -> int:
        width, n = tensors[self.kernel].shape
        return 2 * min(width, t) * n if self.answers else 0
