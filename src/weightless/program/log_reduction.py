"""From a compiled engine's log to bytes: the fast twin of `cost.Reducer`, which is its oracle.

For every step of a stream, per component of the ledger (docs/bytes.md):

    T     sum over operators of the distinct bytes they read + the distinct bytes they write
    U     distinct bytes over all operators
    T64   64 x the distinct 64-byte lines of each operator, summed

A log is int64 [capacity, 4] as `kernels.numba.memory` writes it.  Weights and state are laid end to end, so that one
number is an address; an access may go on from one tensor into the next and is cut where they meet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import END, FIRST, KIND, NUMBER, OF_STATE, RECORDS, WRITE
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.program.tensor import LINE, Tensor

T, U, T64 = 0, 1, 2
LOW, HIGH, COMPONENT, WRITTEN = 0, 1, 2, 3
ROW_BITS = 24  # a key is an address and, below it, the row of its span: memories up to 2^39 bytes
ROW = (1 << ROW_BITS) - 1


class Places(NamedTuple):
    """Where tensors lie: `starts` [n] ascending addresses, `component_of` [n], and what these numbers stand for."""

    starts: np.ndarray
    component_of: np.ndarray
    tensors: tuple[Tensor, ...]
    components: tuple[str, ...]
    state_at: int

    @staticmethod
    def of(program: Program) -> Places:
        state_at = program.layout.weight_bytes
        placed = sorted(
            (place.offset + (state_at if place.tensor.kind == "state" else 0), place.tensor.nbytes, place.tensor.name)
            for place in program.layout.places.values()
        )
        tensors = tuple(program.by_name[name] for _, _, name in placed)
        components = tuple(dict.fromkeys(tensor.component for tensor in program.tensors))
        starts = np.array([start for start, _, _ in placed], dtype=np.int64)
        numbers = np.array([components.index(tensor.component) for tensor in tensors], dtype=np.int64)
        return Places(starts, numbers, tensors, components, state_at)


def accesses_of(log: np.ndarray, places: Places, n_operations: int) -> list[list[Access]]:
    """The records of each operation as the readable engine logs them."""
    out: list[list[Access]] = [[] for _ in range(n_operations)]
    for number, kind, first, end in log[1 : 1 + log[0, RECORDS]].tolist():
        shift = places.state_at if kind >= OF_STATE else 0
        low, high = first + shift, end + shift
        while low < high:
            at = int(np.searchsorted(places.starts, low, side="right")) - 1
            stop = min(high, int(places.starts[at + 1]) if at + 1 < len(places.starts) else high)
            written = kind % OF_STATE == WRITE
            out[number].append(Access(places.tensors[at].name, low - int(places.starts[at]), stop - low, written))
            low = stop
    return out


@njit(**KERNEL)
def reduce_log(log, n_operators, state_at, starts, component_of, spans, keys, room, counts):  # type: ignore[no-untyped-def]
    """counts[step, component] += (T, U, T64) of each step of `n_operators` operations.

    Scratch for the parts of one step: `spans` int64 [n, 4], `keys` and `room` int64 [n].  Returns -1, or the step for
    which n was too small.
    """
    at, n_records = 1, log[0, RECORDS]
    for step in range(counts.shape[0]):
        n = 0
        for operation in range(step * n_operators, (step + 1) * n_operators):
            own = n
            while at <= n_records and log[at, NUMBER] == operation:
                if n + len(starts) > len(keys):
                    return step
                n = _cut(log[at], state_at, starts, component_of, spans, n)
                at += 1
            if n > own:
                _add_operator(spans, keys, room, own, n, counts[step])
        _sort(keys[:n], room)
        _add_union(spans, keys[:n], counts[step])
    return -1


@njit(**KERNEL)
def _cut(record, state_at, starts, component_of, spans, n):  # type: ignore[no-untyped-def]
    """Append a record's parts, one per tensor, to `spans`; how many there are then."""
    shift = state_at if record[KIND] >= OF_STATE else 0
    low, high = record[FIRST] + shift, record[END] + shift
    first, last = 0, len(starts)
    while last - first > 1:
        middle = (first + last) // 2
        if starts[middle] <= low:
            first = middle
        else:
            last = middle
    while low < high:
        stop = min(high, starts[first + 1]) if first + 1 < len(starts) else high
        spans[n, LOW], spans[n, HIGH], spans[n, COMPONENT] = low, stop, component_of[first]
        spans[n, WRITTEN] = record[KIND] & 1
        n, low, first = n + 1, stop, first + 1
    return n


@njit(**KERNEL)
def _add_operator(spans, keys, room, own, end, counts):  # type: ignore[no-untyped-def]
    """T and T64 of the operator whose spans are rows own..end-1; leaves their keys sorted."""
    for i in range(own, end):
        keys[i] = spans[i, LOW] << ROW_BITS | i
    mine = keys[own:end]
    _sort(mine, room)
    read_to, written_to, lines_to = np.int64(0), np.int64(0), np.int64(0)
    for key in mine:
        span = spans[key & ROW]
        low, high, bytes_of = span[LOW], span[HIGH], counts[span[COMPONENT]]
        if span[WRITTEN] == WRITE:
            bytes_of[T] += max(high - max(low, written_to), 0)
            written_to = max(high, written_to)
        else:
            bytes_of[T] += max(high - max(low, read_to), 0)
            read_to = max(high, read_to)
        last_line = (high + LINE - 1) // LINE
        bytes_of[T64] += max(last_line - max(low // LINE, lines_to), 0) * LINE
        lines_to = max(last_line, lines_to)


@njit(**KERNEL)
def _add_union(spans, keys, counts):  # type: ignore[no-untyped-def]
    """U of a step, from its keys in ascending order: a byte counts for the first span that holds it."""
    reach = np.int64(0)
    for key in keys:
        span = spans[key & ROW]
        counts[span[COMPONENT], U] += max(span[HIGH] - max(span[LOW], reach), 0)
        reach = max(span[HIGH], reach)


@njit(**KERNEL)
def _sort(keys, room):  # type: ignore[no-untyped-def]
    """Ascending, in place: neighbouring runs are merged until one is left (operators name most bytes in order)."""
    n, n_runs = len(keys), 2
    while n_runs > 1:
        first, n_runs = 0, 0
        while first < n:
            middle = _end_of_run(keys, first)
            if middle < n:
                end = _end_of_run(keys, middle)
                _merge(keys, first, middle, end, room)
                middle = end
            first = middle
            n_runs += 1


@njit(**KERNEL)
def _end_of_run(keys, first):  # type: ignore[no-untyped-def]
    end = first + 1
    while end < len(keys) and keys[end] >= keys[end - 1]:
        end += 1
    return end


@njit(**KERNEL)
def _merge(keys, first, middle, end, room):  # type: ignore[no-untyped-def]
    """Merge the sorted keys first..middle-1 and middle..end-1."""
    for i in range(middle - first):
        room[i] = keys[first + i]
    i, j, at = 0, middle, first
    while i < middle - first and j < end:
        if keys[j] < room[i]:
            keys[at] = keys[j]
            j += 1
        else:
            keys[at] = room[i]
            i += 1
        at += 1
    while i < middle - first:
        keys[at] = room[i]
        i += 1
        at += 1
