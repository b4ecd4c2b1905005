"""The verbs of batch_runner.py over the compiled engine, one token at a time: for programs that no batch can run.

Every sequence remembers the engine's memory after its last token (for an n-gram model a few hundred bytes), so going
on, forking and trees need no recomputation: a node starts from what its parent left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.decode.batch_runner import BatchRunner, Work, unsupported
from weightless.decode.tree_verification import checked_parents
from weightless.program.engine import Engine
from weightless.program.program import Program


class _Memory(NamedTuple):
    """All that the engine holds after a token."""

    state: np.ndarray
    registers: np.ndarray


class EngineRunner:
    """Slow but general; same verbs, same answers as the batched runner."""

    def __init__(self, program: Program, weights: np.ndarray) -> None:
        self.program = program
        self._engine = Engine(program, weights)
        self._blank = _Memory(self._engine.S.copy(), self._engine.registers.copy())
        self._tokens: dict[int, list[int]] = {}
        self._memory: dict[int, list[_Memory]] = {}
        self._next = 0

    @property
    def vocab_size(self) -> int:
        return self.program.vocab_size

    @property
    def context(self) -> int:
        """The longest sequence, in tokens."""
        return self.program.context

    @property
    def nbytes(self) -> int:
        """Bytes of remembered engine memory."""
        return sum(memory.state.nbytes for memories in self._memory.values() for memory in memories)

    def begin(self) -> int:
        """A new, empty sequence."""
        self._next += 1
        self._tokens[self._next - 1], self._memory[self._next - 1] = [], [self._blank]
        return self._next - 1

    def fork(self, sequence: int) -> int:
        """A copy that goes its own way."""
        twin = self.begin()
        self._tokens[twin], self._memory[twin] = list(self._tokens[sequence]), list(self._memory[sequence])
        return twin

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        del self._tokens[sequence], self._memory[sequence]

    def tokens(self, sequence: int) -> list[int]:
        """What was fed so far (of a tree: every node, until `keep`)."""
        return list(self._tokens[sequence])

    def keep(self, sequence: int, n: int, also: Sequence[int] = ()) -> None:
        """Keep the first `n` tokens, then those at the places `also` of the last step."""
        fed, memories = self._tokens[sequence], self._memory[sequence]
        self._tokens[sequence] = [*fed[:n], *(fed[place] for place in also)]
        last = also[-1] if also else n - 1
        at = len(memories) - (len(fed) - last)
        if at < 0:
            raise ConfigError(
                f"token {last} of sequence {sequence} is older than the last step: it cannot be returned to"
            )
        self._memory[sequence] = [memories[at]]

    def forward(self, work: Sequence[Any]) -> list[np.ndarray]:
        """log p (n, V) of each item, after each of its tokens."""
        return [self._one(*Work(*entry)) for entry in work]

    def _one(self, sequence: int, tokens: Sequence[int], parents: Sequence[int] | None) -> np.ndarray:
        above = list(range(-1, len(tokens) - 1)) if parents is None else checked_parents(parents)
        if len(above) != len(tokens) or not len(tokens):
            raise ConfigError(
                f"{len(tokens)} tokens and {len(above)} parents: a step feeds at least one token, each with one"
            )
        start = self._memory[sequence][-1]
        memories: list[_Memory] = []
        log_p = np.empty((len(tokens), self.vocab_size), np.float32)
        with np.errstate(divide="ignore"):
            for node, (token, parent) in enumerate(zip(tokens, above)):
                self._restore(memories[parent] if parent >= 0 else start)
                self._engine.feed(int(token))
                memories.append(_Memory(self._engine.S.copy(), self._engine.registers.copy()))
                log_p[node] = np.log(self._engine.distribution())
        self._tokens[sequence] += [int(token) for token in tokens]
        self._memory[sequence] = [start, *memories]
        return log_p

    def _restore(self, memory: _Memory) -> None:
        self._engine.S[:] = memory.state
        self._engine.registers[:] = memory.registers


Runner = BatchRunner | EngineRunner


def runner_for(program: Program, weights: np.ndarray, dtype: Any = np.float32, paged: bool = False) -> Runner:
    """The batched runner where the program allows it, the engine's otherwise."""
    return EngineRunner(program, weights) if unsupported(program) else BatchRunner(program, weights, dtype, paged)
