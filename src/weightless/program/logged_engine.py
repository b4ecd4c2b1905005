"""The compiled engine, compiled once more with a log of every load and store.

`LoggedEngine` has the verbs of `Engine` and the `steps` of `AuditEngine`, its readable twin: the two logs must name the
same addresses, operator by operator (`audit/counters/agreement.py`).  `touched` reduces a stream to bytes as it goes.

A log has room for so many records.  A stretch of tokens that needs more is run again from the state it began with, in
shorter stretches or with more room, so nothing is ever dropped; beyond MAX_RECORDS the engine refuses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.kernels.numba.memory import LOST, N_FIELDS, NUMBER, RECORDS
from weightless.program.cost import Bytes
from weightless.program.engine import Engine
from weightless.program.log_reduction import Places, accesses_of, reduce_log
from weightless.program.operator import Access
from weightless.program.program import Program
from weightless.program.registers import N_TRAFFIC

FIRST_RECORDS, MAX_RECORDS = 1 << 16, 1 << 23
TOKENS_AT_ONCE = 128


class _Call(NamedTuple):
    """What one verb ran: a feed ("body") or a head, its operators, those of them that ran, and their log."""

    part: str
    operators: tuple[Any, ...]
    ran: tuple[int, ...]
    log: np.ndarray


class LoggedEngine(Engine):
    """`Engine`, compiled a second time with a log: the same nats, and every load and store that made them.

    `program`, `weights`, `poison`, `state` and `name` are those of `Engine`.  `steps` says what ran since the last feed
    and which bytes it touched, `touched` reduces that to T, U and lines for the ledger's lines, which `components`
    names in order.
    """

    def __init__(
        self,
        program: Program,
        weights: np.ndarray,
        poison: bool = False,
        state: np.ndarray | None = None,
        name: str = "this model, with a log",
    ) -> None:
        super().__init__(program, weights, poison, state, name)
        self._views = self._memory
        self._places = Places.of(program)
        self.components = self._places.components
        self._at_once = TOKENS_AT_ONCE
        self._calls: list[_Call] = []
        self._make_room(FIRST_RECORDS)

    @property
    def steps(self) -> list[tuple[Any, list[Access], tuple[int, ...]]]:
        """(operator, its accesses, ()) of everything that ran since the last `feed`, that one included."""
        found = []
        for call in self._calls:
            logs = accesses_of(call.log, self._places, len(call.operators))
            found += [(call.operators[i], logs[i], ()) for i in call.ran]
        return found

    def touched(self, tokens: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Feed and score a stretch: (nats [n], bytes int64 [n, components, (T, U, T64)])."""
        tokens, targets = np.asarray(tokens, dtype=np.int64), np.asarray(targets, dtype=np.int64)
        self._check_stream(tokens, targets)
        counts = np.zeros((len(tokens), len(self.components), 3), dtype=np.int64)
        return self._drive("body", "score", tokens, targets, counts)[0], counts

    def touched_since_feed(self, head: str) -> np.ndarray:
        """Bytes int64 [components, (T, U, T64)] of the last feed and of one head that has run since."""
        calls = [call for call in self._calls if call.part in ("body", head)]
        operators = np.cumsum([0, *(len(call.operators) for call in calls)])
        log = np.concatenate([np.zeros((1, N_FIELDS), dtype=np.int64), *(call.log[1:] for call in calls)])
        log[1:, NUMBER] += np.repeat(operators[:-1], [len(call.log) - 1 for call in calls])
        log[0, RECORDS] = len(log) - 1
        counts = np.zeros((1, len(self.components), 3), dtype=np.int64)
        self._reduce(log, int(operators[-1]), counts)
        return counts[0]

    def bytes_since_feed(self, head: str) -> dict[str, Bytes]:
        """The same by component, those that were not touched left out."""
        counts = zip(self.components, self.touched_since_feed(head).tolist(), strict=True)
        return {name: Bytes(*counted) for name, counted in counts if any(counted)}

    def _drive(
        self, body: str, head: str, tokens: np.ndarray, targets: np.ndarray, counts: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        operators = (*(self.program.body if body else ()), *(self.program.heads[head] if head else ()))
        outcomes, traffic, first = [np.zeros(0)], [np.zeros((0, N_TRAFFIC), dtype=np.int64)], 0
        paths = [np.zeros(0, dtype=np.int64)]
        if body:
            self._calls = []
        while first < len(tokens):
            part = slice(first, first + self._at_once)
            before = self.S.copy(), self.registers.copy()
            self._log[0] = 0
            found = super()._drive(body, head, tokens[part], targets[part])
            if self._log[0, LOST]:
                self.S[:], self.registers[:] = before
                self._shorten(len(tokens[part]))
                continue
            if counts is not None:
                self._reduce(self._log, len(operators), counts[part])
            outcomes.append(found[0])
            traffic.append(found[1])
            paths.append(self.paths)
            first = part.stop
        self.paths = np.concatenate(paths)
        if not (body and head):
            ran = self.program.flow.taken(self.path) if body else tuple(range(len(operators)))
            self._calls.append(_Call(body or head, operators, ran, self._log[: 1 + self._log[0, RECORDS]].copy()))
        return np.concatenate(outcomes), np.concatenate(traffic)

    def _reduce(self, log: np.ndarray, n_operators: int, counts: np.ndarray) -> None:
        places = self._places
        n = int(log[0, RECORDS]) + 2 * len(places.starts)
        while True:
            counts[:] = 0
            scratch = np.empty((n, 4), dtype=np.int64), np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
            if reduce_log(log, n_operators, places.state_at, places.starts, places.component_of, *scratch, counts) < 0:
                return
            n *= 2

    def _shorten(self, n_tokens: int) -> None:
        """Fewer tokens at once, or more room where one token needs it."""
        if n_tokens > 1:
            self._at_once = n_tokens // 2
        elif len(self._log) < MAX_RECORDS:
            self._make_room(4 * len(self._log))
        else:
            raise ConfigError(
                f"one token touches more than {len(self._log):,} stretches of memory, more than a log "
                "holds: ask for another mode (score instead of full)"
            )

    def _make_room(self, n_records: int) -> None:
        self._log = np.zeros((n_records, N_FIELDS), dtype=np.int64)
        weights, state = self._views
        self._memory = (*weights, self._log), (*state, self._log)
