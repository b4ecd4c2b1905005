"""The torch trace laid beside the formula: the same operators in the same order, the same bytes in each component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from weightless.audit.counters.subjects import Subject
from weightless.audit.counters.torch_trace import Trace, TracedStep
from weightless.models.catalog import trained
from weightless.program.cost import step_bytes
from weightless.program.engine import Engine
from weightless.program.program import Program
from weightless.quant.formats import decode_rows

NOT_UNIQUE = "activations"
"""The component whose distinct bytes depend on which buffers are used again."""


@dataclass(frozen=True)
class Traced:
    """One traced step: T of every component, U of every named tensor's component, the nats PyTorch gave, and the exits
    that it took (`program.flow`)."""

    position: int
    T: dict[str, int]
    U: dict[str, int]
    result: torch.Tensor
    difference: str
    path: int = 0


def trace_positions(subject: Subject, positions: Sequence[int], head: str = "score") -> list[Traced]:
    """Trace the given positions (from 1); the compiled engine's state fills the caches.  `head` is score or full."""
    model, p, engine = trained(subject.family).Model(subject.config), subject.parameters(), subject.engine()
    cache, out = model.new_cache(), []
    with torch.no_grad():
        for t in sorted({t for t in positions if t <= len(subject.tokens)}):
            token, target = int(subject.tokens[t - 1]), int(subject.targets[t - 1])
            fed = slice(engine.position, t - 1)
            engine.score_stream(subject.tokens[fed], subject.targets[fed])
            _fill(cache, engine)
            trace = Trace({**p, **cache}, subject.program.by_name)
            with trace:
                result = _one_step(model, p, cache, (token, target), t, head, trace.operator)
            path = _path(subject.program, {**p, **cache})
            out.append(_compared(subject, t, head, path, trace.finish(result), result))
    return out


def _path(program: Program, values: Mapping[str, torch.Tensor]) -> int:
    """The exits that a step has taken, by what its tests have left."""
    path, tests = 0, program.flow.tests
    for j, at in enumerate(tests):
        op = program.body[at]
        if at in program.flow.taken(path) and float(values[op.sure]) >= float(values[op.threshold]):
            path |= 1 << j
    return path


def _fill(cache: Mapping[str, torch.Tensor], engine: Engine) -> None:
    """Bring the caches to where the engine is; rows of positions to come are as it has them."""
    for name, tensor in cache.items():
        offset, declared = engine.program.layout.places[name]
        stored = engine.S[offset : offset + declared.nbytes]
        if declared.format == "u32":  # the tokens
            tensor.copy_(torch.from_numpy(stored.view("<u4").astype(np.int64)))
        else:
            rows = stored.reshape(declared.shape[0], declared.row_stride)
            tensor.copy_(torch.from_numpy(decode_rows(rows, declared.format, declared.shape[1])))


def _one_step(
    model: Any,
    p: Mapping[str, torch.Tensor],
    cache: Mapping[str, torch.Tensor],
    pair: tuple[int, int],
    t: int,
    head: str,
    fused: Any = nullcontext,
) -> torch.Tensor:
    x_D = model.step(p, cache, pair[0], t, fused=fused)
    if head == "full":
        return model.step_probabilities(p, x_D, fused=fused)
    return model.step_nats(p, x_D, pair[1], fused=fused)


def _compared(subject: Subject, t: int, head: str, path: int, traced: TracedStep, result: torch.Tensor) -> Traced:
    program = subject.program
    by_operator = charged(program, program.along(path, head), traced)
    T: dict[str, int] = {}
    for part in by_operator:
        for name, n_bytes in part.items():
            T[name] = T.get(name, 0) + n_bytes
    U: dict[str, int] = {}
    for name, n_bytes in traced.unique.items():
        component = program.by_name[name].component
        U[component] = U.get(component, 0) + n_bytes
    difference = _difference(program, t, program.along(path, head), traced, by_operator, U)
    return Traced(t, T, U, result, difference, path)


def charged(program: Program, ops: Sequence[Any], traced: TracedStep) -> list[dict[str, int]]:
    """{component: T} per traced operator; what passes between operators bears the ledger line of its maker."""
    lines = [_line(program, op) for op in ops]
    out = []
    for i, op in enumerate(traced.operators):
        part: dict[str, int] = {}
        passed = [(lines[maker] if maker < len(lines) else "?", n) for maker, n in op.passed_in.items()]
        passed.append((lines[i] if i < len(lines) else "?", op.passed_on))
        named = [(program.by_name[name].component, read + written) for name, (read, written) in op.named.items()]
        for component, n_bytes in (*passed, *named):
            if n_bytes:
                part[component] = part.get(component, 0) + n_bytes
        out.append(part)
    return out


def _line(program: Program, op: Any) -> str:
    """The component of an operator's result that is neither cache nor history."""
    tensors = program.by_name
    written = [a.tensor for a in op.accesses(tensors, 1) if a.write]
    return next((tensors[name].component for name in written if name not in op.kept()), NOT_UNIQUE)


def _difference(
    program: Program,
    t: int,
    ops: Sequence[Any],
    traced: TracedStep,
    by_operator: list[dict[str, int]],
    U: Mapping[str, int],
) -> str:
    """The first disagreement in words, or nothing."""
    tensors = program.by_name
    names = [op.name for op in ops]
    if names != [op.name for op in traced.operators]:
        return f"the step runs {[op.name for op in traced.operators]}, the program {names}"
    for i, (op, have) in enumerate(zip(ops, by_operator, strict=True)):
        want = {name: b.T for name, b in step_bytes(program, [op.accesses(tensors, t)]).items() if b.T}
        if want != have:
            return f"position {t}, operator {op.name} ({i}): the formula says {want}, PyTorch touches {have}"
    whole = step_bytes(program, [op.accesses(tensors, t) for op in ops])
    for name, n_bytes in U.items():
        if name != NOT_UNIQUE and whole[name].U != n_bytes and not _unnamed(program, name):
            return f"position {t}, {name}: the formula says U = {whole[name].U}, PyTorch touches {n_bytes}"
    return ""


def _unnamed(program: Program, component: str) -> bool:
    """Whether some of a component's bytes pass between operators without a name (logits)."""
    kept = {name for op in program.body for name in op.kept()}
    return any(
        t.component == component and t.kind == "state" and t.format == "f32" and t.shape[0] == 1 and t.name not in kept
        for t in program.tensors
    )
