"""Formula, logs and compiled engine held to each other on real text, to the byte.

At chosen positions of one window: the compiled engine brings the state there, the audit engine runs the same step
in NumPy with every access logged, and per operator and component the logged T and U must equal the formula's.  Where
the data decides (n-gram probes) the formula is given the number of probes, the compiled engine's own count must
match, and unique bytes are the log's.  The compiled engine with its log runs the step too: it must name the same
addresses, operator by operator, and score the same nats (to rounding: a second compilation may order sums otherwise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from weightless.audit.counters.subjects import Runnable
from weightless.base.errors import WeightlessError
from weightless.program.cost import Bytes, Spans, decided_components, is_exact, merged, step_bytes
from weightless.program.engine import AuditEngine, Engine
from weightless.program.logged_engine import LoggedEngine
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.quant.formats import decode_rows

TOLERANCE_SURE = 1e-4
"""How near to its threshold a confidence has to be, for rounding to decide (float32 sums of some hundred terms)."""
TOLERANCE_NATS = 2e-4
"""float32 sums in another order; a wrong row or cache entry shows as 1e-2 and more."""
TOLERANCE_CODES = 5e-3
"""The same where a key, value or state that the step itself stores and reads fell to the code next to it."""
TOLERANCE_TURNED = 2e-2
"""The same where an operator makes whole numbers of float sums (`Operator.rounds`) and one fell to its neighbour: an
input of every mixer moves by 1/256 of a logit, their weights together are below four, one or two nodes of a path."""
TOLERANCE_ACTIVATIONS = 5e-2
"""The same where activations are rounded to eight bits: one on the other side of a half moves 1/127 of the largest of
64 numbers, and in the layers behind it others with it."""
LEAST_TURN = 1e-5
"""What such a turn is told by: float32 noise stays below."""
CODE_STEPS = {"bf16": 2.0**-8, "f16": 2.0**-11, "int8": 1 / 127, "int4": 1 / 7}
"""From one code to the next, as a share of the largest number of a row."""
NEXT_CODES = 2.0
"""How many of them a stored number may differ by: what rounds otherwise in one layer moves the next a little, too."""


class DisagreementError(WeightlessError):
    """Two counters of the same bytes differ: the ledger cannot be trusted, so the run stops."""


@dataclass(frozen=True)
class Audited:
    """One audited step: bytes per component by formula and both logs, nats of both engines, and what they differ in.

    `path` is the exits that the compiled engine took, `turned` whether rounding sent another engine elsewhere (then
    only formula and log are compared).
    `between_engines` is empty when the compiled engine scored the same nats and counted the same bytes where the data
    decides; `formula_and_log` is empty when these two agree per operator and component; `between_logs` when both
    engines' logs name the same addresses per operator and amount to the same T, U and lines.
    """

    position: int
    logged: dict[str, Bytes]
    nats: float
    compiled_nats: float
    formula: dict[str, Bytes]
    compiled_log: dict[str, Bytes]
    formula_and_log: str = ""
    between_engines: str = ""
    between_logs: str = ""
    path: int = 0
    turned: bool = False


def audit(runnable: Runnable, tokens: np.ndarray, targets: np.ndarray, positions: Sequence[int]) -> list[Audited]:
    """Audit the given positions (from 1) of one window; raises DisagreementError at the first difference."""
    out = []
    for step in examine(runnable, tokens, targets, positions):
        for difference in (step.formula_and_log, step.between_engines, step.between_logs):
            if difference:
                raise DisagreementError(difference)
        out.append(step)
    return out


def examine(runnable: Runnable, tokens: np.ndarray, targets: np.ndarray, positions: Sequence[int]) -> Iterator[Audited]:
    """The same without raising: every audited step with what was found."""
    engines = _Engines(runnable.engine(), runnable.audit_engine(), runnable.logged_engine())
    for t in sorted({p for p in positions if p <= len(tokens)}):
        before = slice(engines.compiled.position, t - 1)
        engines.compiled.score_stream(tokens[before], targets[before])
        yield _audit_step(engines, int(tokens[t - 1]), int(targets[t - 1]), t)


def check(audited: Sequence[Audited], name: str) -> dict[str, Any]:
    """The line for a run record; every step in `audited` has already agreed."""
    worst = max((abs(step.nats - step.compiled_nats) for step in audited if not step.turned), default=0.0)
    detail = f"{len(audited)} positions up to {audited[-1].position}; engines differ by at most {worst:.1e} nats"
    if turned := sum(step.turned for step in audited):
        detail += f"; {turned} left elsewhere by rounding, where nats are not compared"
    return {"name": name, "ok": True, "detail": detail}


class _Engines(NamedTuple):
    """One model in three engines: compiled, readable with a log, compiled with a log."""

    compiled: Engine
    readable: AuditEngine
    logged: LoggedEngine


def _audit_step(engines: _Engines, token: int, target: int, t: int) -> Audited:
    """The step at position t, from the state of the compiled engine, in all three."""
    compiled, readable, logged = engines
    readable.arena.state[:], readable.arena.registers.t = compiled.S, t - 1
    logged.S[:], logged.registers[:] = compiled.S, compiled.registers
    readable.feed(token)
    nats = readable.score(target)
    scored, traffic = compiled.score_stream_with_traffic(np.array([token]), np.array([target]))
    program, path = readable.program, compiled.path
    by_log = step_bytes(program, [accesses for _, accesses, _ in readable.steps])
    formula = step_bytes(program, [op.accesses(program.by_name, t, data) for op, _, data in readable.steps])  # type: ignore[attr-defined]
    between = _engines_differ(readable, t, traffic[0])
    rounded = any(getattr(op, "activations", "f32") != "f32" for op in program.operators("score"))
    if any(op.rounds() for op in program.operators("score")):
        gap = abs(nats - scored[0]) / max(1.0, abs(nats))
        if LEAST_TURN < gap <= (TOLERANCE_ACTIVATIONS if rounded else TOLERANCE_TURNED):
            return _turned(engines, (token, target, t), by_log, formula, float(scored[0]))
    if not abs(nats - scored[0]) <= _tolerance(program, readable.arena.state, compiled.S) * max(1.0, abs(nats)):
        between = f"position {t}: the readable engine scores {nats:.6f} nats, the compiled {scored[0]:.6f}"
    logged.feed(token)
    with_log = logged.score(target)
    by_compiled, differs = logged.bytes_since_feed("score"), _formula_differs(readable, t)
    if path != readable.path or path != logged.path:
        told = _route_differs(engines, t)
        return Audited(t, by_log, nats, float(scored[0]), formula, by_compiled, differs, told, "", path, not told)
    logs = _logs_differ(engines, t)
    room = TOLERANCE_ACTIVATIONS if rounded else _tolerance(program, logged.S, compiled.S)
    if not abs(with_log - scored[0]) <= room * max(1.0, abs(nats)):
        logs = f"position {t}: with a log the compiled engine scores {with_log:.6f} nats, without {scored[0]:.6f}"
    elif not logs and by_compiled != by_log:
        logs = f"position {t}: the compiled engine's log amounts to {by_compiled}, the readable engine's to {by_log}"
    return Audited(t, by_log, nats, float(scored[0]), formula, by_compiled, differs, between, logs, path)


def _turned(
    engines: _Engines,
    step: tuple[int, int, int],
    by_log: dict[str, Bytes],
    formula: dict[str, Bytes],
    compiled_nats: float,
) -> Audited:
    """A whole number fell otherwise, and with it what is read may: the formula is held to the readable engine's log."""
    token, target, t = step
    engines.logged.feed(token)
    engines.logged.score(target)
    readable = engines.readable
    by_compiled, differs = engines.logged.bytes_since_feed("score"), _formula_differs(readable, t)
    nats = float(readable.arena.row(readable.program.heads["score"][-1].result())[0])
    return Audited(t, by_log, nats, compiled_nats, formula, by_compiled, differs, path=readable.path, turned=True)


def _tolerance(program: Program, one: np.ndarray, other: np.ndarray) -> float:
    """Of the nats of two engines whose state is this: what they store may be rounded to neighbouring codes."""
    is_same = True
    for place in program.layout.places.values():
        offset, tensor = place
        if tensor.kind != "state" or tensor.format not in CODE_STEPS:
            continue
        part = slice(offset, offset + tensor.nbytes)
        stored = [memory[part].reshape(tensor.shape[0], -1) for memory in (one, other)]
        rows = np.flatnonzero((stored[0] != stored[1]).any(axis=1))
        if not len(rows):
            continue
        is_same = False
        a, b = (decode_rows(np.ascontiguousarray(memory[rows]), tensor.format, tensor.shape[1]) for memory in stored)
        largest = np.maximum(np.abs(a), np.abs(b)).max(axis=1, keepdims=True)
        if not (np.abs(a - b) <= NEXT_CODES * CODE_STEPS[tensor.format] * largest).all():
            return TOLERANCE_NATS
    return TOLERANCE_NATS if is_same else TOLERANCE_CODES


def _route_differs(engines: _Engines, t: int) -> str:
    """Why two engines left at different places, unless it was a test that stood on its threshold."""
    program, row = engines.readable.program, engines.readable.arena.row
    for j, at in enumerate(program.flow.tests):
        op = program.body[at]
        if len({engine.path >> j & 1 for engine in engines}) == 2:
            sure, threshold = float(row(op.sure)[0]), float(row(op.threshold)[0])
            told = f"{op.sure} is {sure:.6f}, the threshold {threshold:.6f}"
            is_close = abs(sure - threshold) <= TOLERANCE_SURE
            return "" if is_close else f"position {t}: the engines leave at different places, though {told}"
    return ""


def _logs_differ(engines: _Engines, t: int) -> str:
    """Both logs must name the same addresses, operator by operator."""
    for (op, readable, _), (_, compiled, _) in zip(engines.readable.steps, engines.logged.steps, strict=True):
        have, want = intervals(compiled), intervals(readable)
        if have != want:
            odd = next(key for key in (*want, *have) if have.get(key) != want.get(key))
            told = f"bytes {have.get(odd, [])} of {odd[0]!r}, the readable engine's {want.get(odd, [])}"
            how = "written" if odd[1] else "read"
            return f"position {t}, operator {op.name}: the compiled engine's log has {how} {told}"  # type: ignore[attr-defined]
    return ""


def intervals(accesses: Sequence[Access]) -> dict[tuple[str, bool], Spans]:
    """{(tensor, written?): the bytes, as disjoint sorted intervals}."""
    found: dict[tuple[str, bool], Spans] = {}
    for name, first, n_bytes, write in accesses:
        found.setdefault((name, write), []).append((first, first + n_bytes))
    return {key: merged(spans) for key, spans in found.items()}


def _exact_part(cost: dict[str, Bytes], exact: bool) -> dict[str, tuple[int, ...]]:
    """What formula and log must share: T and U, or T alone where which bytes are read is the data's choice.

    Lines are left out: a tightly packed row may straddle one more of them than the row the formula names.
    """
    return {name: (b.T, b.U) if exact else (b.T,) for name, b in cost.items()}


def _formula_differs(logging: AuditEngine, t: int) -> str:
    program = logging.program
    tensors, exact = program.by_name, not any(op.decided() for op in program.operators("score"))
    for op, logged, data in logging.steps:
        want = step_bytes(program, [op.accesses(tensors, t, data)])  # type: ignore[attr-defined]
        have = step_bytes(program, [logged])
        if _exact_part(want, exact) != _exact_part(have, exact):
            name = op.name  # type: ignore[attr-defined]
            return f"position {t}, operator {name}: the formula says {want}, the engine's log {have}"
    return ""


def _engines_differ(logging: AuditEngine, t: int, traffic: np.ndarray) -> str:
    program, decided = logging.program, dict[str, int]()
    for _, logged, data in logging.steps:
        for name, b in step_bytes(program, [logged]).items() if data else ():
            decided[name] = decided.get(name, 0) + b.T
    exact = is_exact(program)
    counted = dict(zip(decided_components(program), map(int, traffic), strict=True)) if not exact else {}
    if {n: b for n, b in counted.items() if b} != {n: b for n, b in decided.items() if b}:
        return f"position {t}: the compiled engine counted {counted} bytes, the log says {decided}"
    return ""
