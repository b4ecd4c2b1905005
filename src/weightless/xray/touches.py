"""What operators touch, as plain data that is small enough for hundreds of tokens.  Floor 9.

A step is a list of operators, each with its accesses (`program/operator.py`).  Most operators read the same bytes at
every position, so what one of them touched is written down once and named by its number:

    touch   {"op": number of the operator, "tensors": [{"tensor", "read", "written", "lines", "reads", "writes"}]}
    reads, writes   [[first byte, bytes]] or, for equal stretches at equal distances, [[first, bytes, count, stride]]

`read` and `written` are distinct bytes, `lines` distinct 64-byte lines of both together: added up over the operators of
a step they are T and T64 / 64 of docs/bytes.md.  Nothing is rounded and nothing is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weightless.program.cost import Spans, merged
from weightless.program.operator import Access
from weightless.program.tensor import LINE

Run = list[int]


class Touches:
    """Collects touches; `number_of` gives equal ones equal numbers, `found` is the list behind the numbers."""

    def __init__(self, tensor_names: Sequence[str]) -> None:
        self.found: list[dict[str, Any]] = []
        self._tensor = {name: i for i, name in enumerate(tensor_names)}
        self._number: dict[tuple[int, tuple[Access, ...]], int] = {}

    def number_of(self, op: int, accesses: Sequence[Access]) -> int:
        """The number of what operator `op` touched."""
        key = op, tuple(accesses)
        if key not in self._number:
            self._number[key] = len(self.found)
            self.found.append({"op": op, "tensors": self._by_tensor(accesses)})
        return self._number[key]

    def _by_tensor(self, accesses: Sequence[Access]) -> list[dict[str, Any]]:
        spans: dict[str, tuple[Spans, Spans]] = {}
        for name, first, n, write in accesses:
            spans.setdefault(name, ([], []))[write].append((first, first + n))
        return [_touched(self._tensor[name], *map(merged, both)) for name, both in spans.items()]


def _touched(tensor: int, read: Spans, written: Spans) -> dict[str, Any]:
    lines = merged([(first // LINE, -(-end // LINE)) for first, end in read + written])
    return {
        "tensor": tensor,
        "read": _length(read),
        "written": _length(written),
        "lines": _length(lines),
        "reads": runs(read),
        "writes": runs(written),
    }


def _length(spans: Spans) -> int:
    return sum(end - first for first, end in spans)


def runs(spans: Spans) -> list[Run]:
    """Disjoint ascending intervals, with equal stretches at equal distances told once."""
    out: list[Run] = []
    for first, end in spans:
        n, last = end - first, out[-1] if out else None
        if last and len(last) == 4 and last[1] == n and last[0] + last[2] * last[3] == first:
            last[2] += 1
        elif last and len(last) == 2 and last[1] == n:
            last += [2, first - last[0]]
        else:
            out.append([first, n])
    return out


def unrolled(found: Sequence[Run]) -> Spans:
    """The intervals that `runs` was given."""
    out: Spans = []
    for first, n, *more in found:
        count, stride = more or (1, 0)
        out += [(first + i * stride, first + i * stride + n) for i in range(count)]
    return out
