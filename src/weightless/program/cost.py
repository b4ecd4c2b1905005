"""From accesses to bytes: the one reduction that serves the formula and the engine's log alike.

For one decode step, given each operator's accesses (docs/bytes.md):

    T   = sum over operators of its distinct bytes read + its distinct bytes written
    U   = distinct bytes over all operators
    T64 = 64 * distinct 64-byte lines per operator, summed

A component's share of each is what falls on its tensors; shares add up exactly because tensors lie on
64-byte boundaries of their own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.program.registers import N_TRAFFIC
from weightless.program.tensor import LINE

Spans = list[tuple[int, int]]  # half-open intervals of byte addresses
COUNTED_NUMBERS = (".cum", "weights", "suffixes", "counts.nodes", "counts.lists")
HEADLINE_POSITIONS = 512  # positions 1..512, or the context if it is shorter


@dataclass(frozen=True)
class Bytes:
    """Traffic, unique bytes, line traffic."""

    T: int = 0
    U: int = 0
    T64: int = 0

    def __add__(self, other: Bytes) -> Bytes:
        return Bytes(self.T + other.T, self.U + other.U, self.T64 + other.T64)


def merged(spans: Spans) -> Spans:
    """Disjoint, sorted half-open intervals covering the same addresses."""
    if len(spans) == 1 and spans[0][0] < spans[0][1]:
        return spans
    out: Spans = []
    for first, end in sorted(spans):
        if out and first <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        elif end > first:
            out.append((first, end))
    return out


def _length(spans: Spans) -> int:
    return sum([end - first for first, end in spans])


def _lines(spans: Spans) -> int:
    return _length(merged([(first // LINE, -(-end // LINE)) for first, end in spans]))


class Reducer:
    """Steps of one program, one after the other.  Only what an operator does otherwise than in the step before is
    reduced again: most read the same weights at every position.
    """

    def __init__(self, program: Program) -> None:
        self._component_of = {tensor.name: tensor.component for tensor in program.tensors}
        self._accesses: list[Sequence[Access]] = []
        self._parts: list[dict[str, tuple[int, int, Spans]]] = []
        self._traffic: dict[str, list[int]] = {}
        self._users: dict[str, dict[int, Spans]] = {}
        self._unions: dict[str, int] = {}

    def step(self, per_operator: Sequence[Sequence[Access]]) -> dict[str, Bytes]:
        """{component: Bytes} of one step, from the accesses of each operator that ran."""
        while len(self._parts) < len(per_operator):
            self._accesses.append([])
            self._parts.append({})
        moved: dict[str, None] = {}
        for i, before in enumerate(self._accesses):
            accesses = per_operator[i] if i < len(per_operator) else []
            if accesses != before:
                moved.update(dict.fromkeys(self._replace(i, accesses)))
        for name in moved:
            self._unions[name] = _length(merged([span for spans in self._users[name].values() for span in spans]))
        U: dict[str, int] = defaultdict(int)
        for name, n_bytes in self._unions.items():
            U[self._component_of[name]] += n_bytes
        return {name: Bytes(T, U[name], LINE * lines) for name, (T, lines, users) in self._traffic.items() if users}

    def _replace(self, i: int, accesses: Sequence[Access]) -> list[str]:
        """Put operator i's accesses in the place of its earlier ones; the tensors whose share changed."""
        before, after = self._parts[i], _reduced(accesses)
        self._accesses[i], self._parts[i] = accesses, after
        moved = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
        for name in moved:
            totals = self._traffic.setdefault(self._component_of[name], [0, 0, 0])
            users = self._users.setdefault(name, {})
            for part, sign in ((before.get(name), -1), (after.get(name), 1)):
                if part is not None:
                    totals[0] += sign * part[0]
                    totals[1] += sign * part[1]
                    totals[2] += sign
            users.pop(i, None)
            if name in after:
                users[i] = after[name][2]
        return moved


def _reduced(accesses: Sequence[Access]) -> dict[str, tuple[int, int, Spans]]:
    """{tensor: (distinct bytes, distinct lines, the addresses)} of what one operator touches."""
    read: dict[str, Spans] = defaultdict(list)
    written: dict[str, Spans] = defaultdict(list)
    for name, first, n, write in accesses:
        (written if write else read)[name].append((first, first + n))
    out = {}
    for name in dict.fromkeys([*read, *written]):
        spans = merged(read.get(name, [])) + merged(written.get(name, []))
        out[name] = (_length(spans), _lines(spans), spans)
    return out


def step_bytes(program: Program, per_operator: Sequence[Sequence[Access]]) -> dict[str, Bytes]:
    """{component: Bytes} of one step, from the accesses of each operator that ran."""
    return Reducer(program).step(per_operator)


def formula(program: Program, t: int, head: str = "score") -> dict[str, Bytes]:
    """{component: Bytes} at position t from shapes alone.

    Where the data decides (n-gram probes, exits) this is the structural maximum; see `is_exact`.
    """
    return along(program, t, costliest(program, t), head)


def along(program: Program, t: int, path: int, head: str = "score") -> dict[str, Bytes]:
    """{component: Bytes} at position t of a step that takes this path (`flow.py`)."""
    tensors = program.by_name
    return step_bytes(program, [op.accesses(tensors, t) for op in program.along(path, head)])


def costliest(program: Program, t: int) -> int:
    """The path of largest T at position t."""
    body, tensors = program.body, program.by_name
    return program.flow.costliest(lambda i: sum(T for T, _, _ in _reduced(body[i].accesses(tensors, t)).values()))


def is_exact(program: Program) -> bool:
    """True when neither an operator's cost nor which of them run depends on the data: the formula needs no text."""
    return not any(op.decided() for op in program.operators("score")) and not program.flow.tests


def decided_components(program: Program) -> list[str]:
    """The ledger line of each of the engine's registers of traffic (`registers.py`), "" for those not in use.

    CorruptFileError when tensors of two lines share a register, or a line has two: the bytes could not be told apart.
    """
    tensors, lines = program.by_name, [""] * N_TRAFFIC
    for op in program.operators("score"):
        for register, name in op.decided().items():
            line = tensors[name].component
            if lines[register] not in ("", line):
                raise CorruptFileError(f"the program counts {lines[register]!r} and {line!r} in one register")
            lines[register] = line
    used = [line for line in lines if line]
    if len(set(used)) < len(used):
        raise CorruptFileError(f"the program counts one component in two registers: {used}")
    return lines


@dataclass(frozen=True)
class Spread:
    """A distribution over steps, in bytes."""

    mean: float
    p50: float
    p99: float
    max: float

    @staticmethod
    def of(values: np.ndarray) -> Spread:
        values = np.asarray(values, dtype=np.float64)
        p50, p99 = np.percentile(values, [50, 99])
        return Spread(float(values.mean()), float(p50), float(p99), float(values.max()))

    def to_plain(self) -> dict[str, float]:
        return {"mean": self.mean, "p50": self.p50, "p99": self.p99, "max": self.max}


@dataclass(frozen=True)
class Touched:
    """The headline: T, U and T64 over steps, and the mean of each per component."""

    T: Spread
    U: Spread
    T64: Spread
    components: dict[str, tuple[float, float, float]]
    n_steps: int

    @staticmethod
    def of(steps: Sequence[dict[str, Bytes]]) -> Touched:
        totals = [sum(step.values(), Bytes()) for step in steps]
        names = list(dict.fromkeys(name for step in steps for name in step))
        zero = Bytes()
        means = {
            name: tuple(
                float(np.mean([getattr(step.get(name, zero), key) for step in steps])) for key in ("T", "U", "T64")
            )
            for name in names
        }
        spreads = [Spread.of(np.array([getattr(total, key) for total in totals])) for key in ("T", "U", "T64")]
        return Touched(*spreads, components=means, n_steps=len(steps))  # type: ignore[arg-type]

    @staticmethod
    def of_counts(components: Sequence[str], counts: np.ndarray) -> Touched:
        """From bytes [steps, components, (T, U, T64)]; components that no step touches are left out."""
        spreads = [Spread.of(counts[:, :, i].sum(axis=1)) for i in range(3)]
        touched = np.flatnonzero(counts.any(axis=(0, 2))).tolist()
        means = {components[i]: tuple(map(float, counts[:, i].mean(axis=0))) for i in touched}
        return Touched(*spreads, components=means, n_steps=len(counts))  # type: ignore[arg-type]

    def to_plain(self) -> dict[str, object]:
        """The JSON of a ledger."""
        return {
            "touched": {"T": self.T.to_plain(), "U": self.U.to_plain(), "T64": self.T64.to_plain()},
            "components": [{"name": n, "T": T, "U": U, "T64": T64} for n, (T, U, T64) in self.components.items()],
            "n_steps": self.n_steps,
        }


def touched_by_formula(program: Program, head: str = "score", positions: int = HEADLINE_POSITIONS) -> Touched:
    """The headline from the configuration: positions 1..min(positions, context); at most, where the data decides."""
    reducer, tensors = Reducer(program), program.by_name
    ways = {0: program.along(0, head)}
    steps = []
    for t in range(1, min(positions, program.context) + 1):
        path = costliest(program, t)
        ops = ways.setdefault(path, program.along(path, head))
        steps.append(reducer.step([op.accesses(tensors, t) for op in ops]))
    return Touched.of(steps)


def fixed_bytes(program: Program, head: str, positions: np.ndarray, paths: np.ndarray) -> dict[str, np.ndarray]:
    """{component: T [n]} of steps at these positions along these paths, of those operators whose cost follows from
    shapes, not from the data."""
    found: dict[str, np.ndarray] = {}
    for path in np.unique(paths).tolist():
        here = np.flatnonzero(paths == path)
        for name, column in _fixed_by_position(program, head, int(positions[here].max()), path).items():
            found.setdefault(name, np.zeros(len(positions), dtype=np.int64))[here] = column[positions[here]]
    return found


def _fixed_by_position(program: Program, head: str, last: int, path: int) -> dict[str, np.ndarray]:
    """{component: T at positions 0..last} of one path."""
    tensors, reducer = program.by_name, Reducer(program)
    ops = [op for op in program.along(path, head) if not op.decided()]
    steps = [reducer.step([op.accesses(tensors, t) for op in ops]) for t in range(1, last + 1)]
    names = dict.fromkeys(name for step in steps for name in step)
    return {name: np.array([0, *(step[name].T if name in step else 0 for step in steps)]) for name in names}


def n_parameters(program: Program) -> int:
    """Numbers that were learned: trained weights, counted probabilities, the order of suffixes that stands for such.

    Indices that only say where a number lies (words under a context, classes of words) are none.
    """
    learned = (t for t in program.stored() if t.kind == "weight" or t.name.endswith(COUNTED_NUMBERS))
    return sum(t.shape[0] * t.shape[1] for t in learned)


def flops(program: Program, head: str = "score", positions: int = HEADLINE_POSITIONS) -> float:
    """Mean floating-point operations per token over positions 1..min(positions, context), at full depth."""
    last, tensors = min(positions, program.context), program.by_name
    ops = program.along(0, head)
    return sum(op.flops(tensors, t) for t in range(1, last + 1) for op in ops) / last


def training_flops(program: Program) -> float:
    """Per token: forward and backward (three times forward) at full depth, and the head once more for every exit."""
    head = sum(op.flops(program.by_name, 1) for op in program.heads["score"])
    return 3 * (flops(program) + len(program.flow.tests) * head)


def flops_of_steps(program: Program, positions: np.ndarray, paths: np.ndarray, head: str = "score") -> float:
    """The same mean over steps that took these paths."""
    tensors, total = program.by_name, 0
    for path in np.unique(paths).tolist():
        ops, times = program.along(path, head), np.bincount(positions[paths == path])
        total += sum(int(times[t]) * op.flops(tensors, t) for t in np.flatnonzero(times).tolist() for op in ops)
    return total / len(positions)
