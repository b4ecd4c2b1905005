"""How compiled operators touch memory: every load and store goes through here, and is logged where a log is kept.

A memory is a tuple of views of the same bytes: (uint8, float32, uint16) of the weights, and uint32 too of the state.
With a log (int64 [capacity, 4]) as one view more, kernels compiled for it write down each access; without one, `touch`
is compiled to nothing, so the engine that decodes and the engine that is audited are the same source.

    log[0]   = (records in use, operation under way, records lost for want of room, unused)
    log[i]   = (operation, kind, first byte, end)        kind = READ or WRITE, plus OF_STATE for the state

An access that goes on where the one before ended lengthens it.  Rows are named by their bytes without what aligns them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from weightless.base.compiled import njit
from weightless.kernels.codes import BITS_AT, F32, FIVES, GROUP_AT, INT4, INT8, KIND_BITS, SCALES_AT, WORDS
from weightless.kernels.numba.rows import GROUP, KERNEL

READ, WRITE, OF_STATE = 0, 1, 2
RECORDS, OPERATION, LOST = 0, 1, 2
NUMBER, KIND, FIRST, END = 0, 1, 2, 3
N_FIELDS = 4
_WITHOUT_CACHE = {key: value for key, value in KERNEL.items() if key != "cache"}


def _place_of_log(memory: Any) -> int:
    """Index of the log in a memory's tuple, or -1: it is the one view with two axes."""
    last = memory.types[-1]
    return len(memory.types) - 1 if isinstance(last, types.Array) and last.ndim == 2 else -1


def touch(memory: Any, first: int, n_bytes: int, kind: int) -> None:
    """Log that an operator reads or writes `n_bytes` from byte `first` on (compiled code only)."""
    raise AssertionError("compiled code only")


@overload(touch, jit_options=_WITHOUT_CACHE)
def _touch(memory, first, n_bytes, kind):  # type: ignore[no-untyped-def]
    at, segment = _place_of_log(memory), OF_STATE if len(memory.types) > 4 else 0
    if at < 0:
        return lambda memory, first, n_bytes, kind: None

    def logged(memory, first, n_bytes, kind):  # type: ignore[no-untyped-def]
        _write_down(memory[at], first, first + n_bytes, kind + segment)

    return logged


@njit(**KERNEL)
def _write_down(log, first, end, kind):  # type: ignore[no-untyped-def]
    n, number = log[0, RECORDS], log[0, OPERATION]
    if n > 0 and log[n, END] == first and log[n, NUMBER] == number and log[n, KIND] == kind:
        log[n, END] = end
    elif n + 1 < log.shape[0]:
        log[n + 1, NUMBER], log[n + 1, KIND], log[n + 1, FIRST], log[n + 1, END] = number, kind, first, end
        log[0, RECORDS] = n + 1
    else:
        log[0, LOST] += 1


def begin(memory: Any, number: int) -> None:
    """Accesses from here on belong to operation `number` (compiled code only)."""
    raise AssertionError("compiled code only")


@overload(begin, jit_options=_WITHOUT_CACHE)
def _begin(memory, number):  # type: ignore[no-untyped-def]
    at = _place_of_log(memory)
    if at < 0:
        return lambda memory, number: None

    def logged(memory, number):  # type: ignore[no-untyped-def]
        memory[at][0, OPERATION] = number

    return logged


@njit(**KERNEL)
def row_bytes(cols, form):  # type: ignore[no-untyped-def]
    """Bytes of one row with its scales: `quant.layout.row_bytes`, its oracle."""
    kind = form & KIND_BITS
    scales = 2 * ((cols + GROUP - 1) // GROUP)
    if kind == F32:
        return 4 * cols
    if kind == INT8:
        return cols + (cols & 1) + scales
    if kind == INT4:
        return (cols // 2 + 1) // 2 * 2 + scales
    if kind != WORDS and kind != FIVES:
        return 2 * cols
    group = (form >> GROUP_AT) & 0xFFFF
    group = cols if group == 0 else group
    n_groups = (cols + group - 1) // group
    scales = 2 + n_groups + (n_groups & 1) if form >> SCALES_AT else 2 * n_groups
    if kind == WORDS:
        return 4 * n_words(cols, (form >> BITS_AT) & 15) + scales
    n_bytes = cols // group * ((group + 4) // 5) + (cols % group + 4) // 5
    return n_bytes + (n_bytes & 1) + scales


@njit(**KERNEL)
def n_words(cols, bits):  # type: ignore[no-untyped-def]
    """Words of a row of codes: `quant.words.n_words`, its oracle."""
    per_word = 32 // bits
    words = 1 if per_word * bits == 32 else bits if bits & 1 else bits // 2
    codes = per_word * words + (2 * words) // bits if words > 1 else per_word
    return cols // codes * words + min(words, (cols % codes + per_word - 1) // per_word)


@njit(**KERNEL)
def touch_rows(memory, at, stride, n_rows, cols, form, kind):  # type: ignore[no-untyped-def]
    """Log `n_rows` stored rows from byte `at` on, without the padding between them."""
    n_bytes = row_bytes(cols, form)
    if n_bytes == stride:
        touch(memory, at, n_rows * stride, kind)
        return
    for row in range(n_rows):
        touch(memory, at + row * stride, n_bytes, kind)


# The views are sliced in the caller's code (inlined): a function that returns a slice would have to count references.
@njit(inline="always", **KERNEL)
def loaded(memory, offset, n):  # type: ignore[no-untyped-def]
    """`n` float32 from byte `offset` on, to be read."""
    touch(memory, offset, 4 * n, READ)
    return memory[1][offset // 4 : offset // 4 + n]


@njit(inline="always", **KERNEL)
def stored(memory, offset, n):  # type: ignore[no-untyped-def]
    """`n` float32 from byte `offset` on, to be written."""
    touch(memory, offset, 4 * n, WRITE)
    return memory[1][offset // 4 : offset // 4 + n]


@njit(inline="always", **KERNEL)
def updated(memory, offset, n):  # type: ignore[no-untyped-def]
    """`n` float32 from byte `offset` on, to be read and written."""
    touch(memory, offset, 4 * n, READ)
    touch(memory, offset, 4 * n, WRITE)
    return memory[1][offset // 4 : offset // 4 + n]


@njit(**KERNEL)
def load_id(S, offset):  # type: ignore[no-untyped-def]
    """The uint32 of the state at byte `offset`, as int64."""
    touch(S, offset, 4, READ)
    return np.int64(S[3][offset // 4])


@njit(**KERNEL)
def store_id(S, offset, value):  # type: ignore[no-untyped-def]
    """Write a uint32 of the state."""
    touch(S, offset, 4, WRITE)
    S[3][offset // 4] = np.uint32(value)


@njit(**KERNEL)
def id_at(memory, offset, size, row):  # type: ignore[no-untyped-def]
    """The `row`-th little-endian unsigned number of `size` (2 or 4) bytes."""
    at, bytes_ = offset + row * size, memory[0]
    touch(memory, at, size, READ)
    value = np.int64(bytes_[at]) | np.int64(bytes_[at + 1]) << 8
    if size == 4:
        value |= np.int64(bytes_[at + 2]) << 16 | np.int64(bytes_[at + 3]) << 24
    return value
