"""Where one audited step goes: the bytes that the engine's log names, as masks over the two memories of the engine.

weights   read
state     read before it was written in this step; and written
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightless.audit.counters.subjects import Runnable
from weightless.program import interpreter as vm
from weightless.program.engine import AuditEngine, Engine
from weightless.program.operator import Access
from weightless.program.program import Program


@dataclass(frozen=True)
class Addresses:
    """Masks over the bytes of weights and state; `before` is the state as the step found it."""

    weights: np.ndarray
    state_read: np.ndarray
    state_written: np.ndarray
    before: np.ndarray

    @property
    def state(self) -> np.ndarray:
        """Every byte of state that is touched."""
        return self.state_read | self.state_written


def addresses(runnable: Runnable, tokens: np.ndarray, targets: np.ndarray, t: int) -> Addresses:
    """What the log names at position t (from 1) of a window; the compiled engine brings the state there."""
    compiled = runnable.engine()
    compiled.score_stream(tokens[: t - 1], targets[: t - 1])
    logging = runnable.audit_engine()
    before = compiled.S.copy()
    logging.arena.state[:] = before
    logging.arena.registers.t = t - 1
    logging.feed(int(tokens[t - 1]))
    logging.score(int(targets[t - 1]))
    return _masks(runnable.program, logging, before)


def _masks(program: Program, logging: AuditEngine, before: np.ndarray) -> Addresses:
    n_weights, n_state = program.layout.weight_bytes, len(before)
    out = Addresses(np.zeros(n_weights, bool), np.zeros(n_state, bool), np.zeros(n_state, bool), before)
    for _, log, _ in logging.steps:
        written: list[slice] = []
        for access in log:
            span, is_state = _span(program, access)
            if not is_state:
                out.weights[span] = True
            elif access.write:
                written.append(span)
            else:
                out.state_read[span] |= ~out.state_written[span]
        for span in written:
            out.state_written[span] = True
    return out


def _span(program: Program, access: Access) -> tuple[slice, bool]:
    offset, tensor = program.layout.places[access.tensor]
    return slice(offset + access.first, offset + access.first + access.n_bytes), tensor.kind == "state"


class Replay:
    """One step of the compiled engine, again and again over private copies of weights and state that may be damaged."""

    def __init__(self, runnable: Runnable, before: np.ndarray, token: int, target: int, t: int) -> None:
        self.weights = np.array(runnable.weights[: runnable.program.layout.weight_bytes])
        self.state = before.copy()
        self._engine = Engine(runnable.program, self.weights)
        self._step = np.array([token]), np.array([target])
        self._t = t

    def run(self) -> tuple[float, np.ndarray]:
        """(nats, the state that the step leaves: overwritten by the next run); `state` itself is not changed."""
        self._engine.S[:] = self.state
        self._engine.registers[:] = 0
        self._engine.registers[vm.T] = self._t - 1
        return float(self._engine.score_stream(*self._step)[0]), self._engine.S
