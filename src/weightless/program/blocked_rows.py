"""What the operators of a program see of a chunk of positions of one sequence (`program.batch.Batch`), and where its
past lies: caches and recurrent states in memory that is laid out as the engine's, and the tokens beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.hashing import last_tokens
from weightless.program.blocked_attention import attend_chunk
from weightless.program.decoded import Decoded
from weightless.program.operator import Place
from weightless.program.program import Program
from weightless.quant.formats import decode_rows, encode_rows


class Stored:
    """A state as the engine lays it out, and as the numbers that reading it back gives."""

    def __init__(self, place: Place, state: np.ndarray) -> None:
        offset, self._tensor = place
        n_rows, n_columns = self._tensor.shape
        self._bytes_RB = state[offset : offset + n_rows * self._tensor.row_bytes].reshape(n_rows, -1)
        self._is_plain = self._tensor.format == "f32"
        self.numbers = self._bytes_RB.view("<f4") if self._is_plain else np.empty((n_rows, n_columns), np.float32)

    def put(self, first: int, x_NC: np.ndarray) -> None:
        """Rows from `first` on, rounded as they are stored."""
        if self._is_plain:
            self.numbers[first : first + len(x_NC)] = x_NC
            return
        self._bytes_RB[first : first + len(x_NC)] = encode_rows(x_NC, self._tensor.format)
        self.read(first, first + len(x_NC))

    def read(self, first: int, stop: int) -> None:
        """Take over what somebody else has stored in these rows."""
        if not self._is_plain:
            stored = self._bytes_RB[first:stop]
            self.numbers[first:stop] = decode_rows(stored, self._tensor.format, self._tensor.shape[1])


class Past:
    """What one sequence has left behind up to `position`: its tokens, caches and other states."""

    def __init__(self, program: Program, state: np.ndarray) -> None:
        self.program, self.state = program, state
        self.tokens = np.zeros(program.context, np.int64)
        self.position = 0
        self.caches: dict[str, Stored] = {}
        self.states: dict[str, Stored] = {}

    def cache(self, name: str) -> Stored:
        """One with a row per position."""
        if name not in self.caches:
            self.caches[name] = self._stored(name)
            self.caches[name].read(0, self.position)  # where an engine has begun
        return self.caches[name]

    def other(self, name: str) -> Stored:
        """A state that is written anew at every position."""
        if name not in self.states:
            self.states[name] = self._stored(name)
            if self.position:
                self.states[name].read(0, len(self.states[name].numbers))
        return self.states[name]

    def take_over(self, tokens: np.ndarray) -> None:
        """The engine has gone on in the same memory: by these tokens."""
        first, stop = self.position, self.position + len(tokens)
        self.tokens[first:stop], self.position = tokens, stop
        for stored in self.caches.values():
            stored.read(first, stop)
        for stored in self.states.values():
            stored.read(0, len(stored.numbers))

    def _stored(self, name: str) -> Stored:
        return Stored(self.program.layout.places[name], self.state)


class Chunk:
    """Positions `past.position` and on, which `tokens` stand at; `target_N` is what a head scores."""

    def __init__(
        self, past: Past, decoded: Decoded, windows: dict[str, int], tokens: np.ndarray, target_N: np.ndarray | None
    ) -> None:
        self._past, self._decoded, self._windows = past, decoded, windows
        self._first, stop = past.position, past.position + len(tokens)
        past.tokens[self._first : stop] = tokens
        self.values: dict[str, np.ndarray] = {}
        self.dtype, self.exits_N = decoded.dtype, np.zeros(0, bool)
        self.position_N = np.arange(self._first, stop)
        self.target_N = np.zeros(0, np.int64) if target_N is None else target_N
        self._made: dict[Any, Any] = {}

    def last(self, n: int) -> None:
        """Go on with the last n positions alone: for heads, which look at nothing else."""
        self.values = {name: value[-n:] for name, value in self.values.items()}
        self.position_N, self.target_N = self.position_N[-n:], self.target_N[-n:]

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def weight(self, name: str) -> np.ndarray:
        return self._decoded.whole(name)

    def rows_of(self, name: str, at: np.ndarray) -> np.ndarray:
        return self._decoded.rows(name, at)

    def n_rows(self, name: str) -> int:
        return self._past.program.by_name[name].shape[0]

    def n_columns(self, name: str) -> int:
        return self._past.program.by_name[name].shape[1]

    def format_of(self, name: str) -> str:
        return self._past.program.by_name[name].format

    def ids(self, name: str) -> np.ndarray:
        return self._decoded.ids(name)

    def last_tokens(self, order: int, pad: int) -> np.ndarray:
        begin, stop = max(0, self._first - order + 1), int(self.position_N[-1]) + 1
        return last_tokens(self._past.tokens[begin:stop], order, pad)[self._first - begin :]

    def fed(self) -> list[list[int]]:
        raise ConfigError("a chunk of one sequence has no list of what every row was fed")

    def append(self, cache: str, kv_NC: np.ndarray, n_kv_heads: int) -> None:
        self._past.cache(cache).put(self._first, kv_NC)

    def attend(self, cache: str, q_NHK: np.ndarray) -> np.ndarray:
        kv_TC = self._past.cache(cache).numbers[: self._first + len(q_NHK)]
        n_kv_heads = kv_TC.shape[1] // (2 * q_NHK.shape[2])
        return attend_chunk(q_NHK, kv_TC, self._first, n_kv_heads, self._windows[cache], self.once)

    def stages(self) -> list[np.ndarray]:
        return [np.array([row]) for row in range(len(self.position_N))]

    def is_chain(self) -> bool:
        return True

    def recalled(self, state: str, at: np.ndarray) -> np.ndarray:
        """Of row `at` the state that the row before it left, which is the last that was remembered."""
        numbers = self._past.other(state).numbers
        return (np.zeros_like(numbers) if self._first + at[0] == 0 else numbers.copy())[None]

    def remember(self, state: str, at: np.ndarray, left_NRC: np.ndarray) -> None:
        self._past.other(state).put(0, left_NRC[-1])
