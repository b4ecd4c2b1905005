"""Run a program: `Engine` (compiled, no log, fast) and `AuditEngine` (NumPy, every access logged).

Both have the same verbs, and are held to each other by the contract tests:

    reset()                  forget everything fed
    feed(token)              run the body at the next position
    score(target) -> nats    sample(uniforms) -> token    distribution() -> p [V]     after a feed
    score_stream(tokens, targets) -> nats [n]             feed and score a stretch of at most `context` tokens
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.kernels.numba.rows import views
from weightless.program import interpreter as vm
from weightless.program.arena import Arena, aligned
from weightless.program.flow import BIT, EXITED, NEXT
from weightless.program.linking import Compiling, Instructions
from weightless.program.operator import SCRATCH_BYTES, Access
from weightless.program.program import HEADS, OUTCOME, PROBABILITIES, Program
from weightless.program.registers import N_UNIFORMS

POINTS_OUTSIDE = "an index of the model points outside its data; pack the model again"


class Engine:
    """The compiled engine; `poison` fills fresh state with 0xFF (NaN), so that reading it before writing shows.

    `state` is memory of the caller's (uint8, aligned to 64 bytes, zeroed or not) to decode in, instead of its own.
    `name` is what the model is called when its operators have to be compiled, which takes some seconds once.
    `paths` int64 [n] says which exits the tokens of the last verb took (`flow.py`); 0 where none.
    """

    def __init__(
        self,
        program: Program,
        weights: np.ndarray,
        poison: bool = False,
        state: np.ndarray | None = None,
        name: str = "this model",
    ) -> None:
        self.program, self.weights = program, weights
        self.name = name
        arena = Arena(program.layout, weights, poison)
        self.S = arena.state if state is None else state
        self._memory = _weight_views(arena.weights), (*views(self.S), self.S.view(np.uint32))
        self.poison = poison
        self.registers = np.zeros(vm.N_REGISTERS, dtype=np.int64)
        self.uniforms = np.zeros(N_UNIFORMS)
        self.scratch = aligned(SCRATCH_BYTES).view(np.float32)
        self._instructions = Instructions(program)
        self._outcome = program.layout.places[OUTCOME].offset
        self._one = np.zeros(1, dtype=np.int64)
        self.paths = np.zeros(0, dtype=np.int64)

    @property
    def position(self) -> int:
        """Tokens fed since the last reset."""
        return int(self.registers[vm.T])

    def reset(self) -> None:
        self.registers[:] = 0
        if self.poison:
            self.S[:] = 0xFF

    def feed(self, token: int) -> None:
        _check_room(self.program, self.position, 1)
        _check_ids(self.program, np.asarray([token]))
        self._drive("body", "", np.array([token]), self._one)

    def feed_all(self, tokens: np.ndarray) -> None:
        """Feed one after the other, without a head in between."""
        tokens = np.asarray(tokens, dtype=np.int64)
        _check_room(self.program, self.position, len(tokens))
        _check_ids(self.program, tokens)
        self._drive("body", "", tokens, np.zeros_like(tokens))

    def resume(self, position: int) -> None:
        """Somebody else has brought the state to this position (`program.blocked`): the next token goes behind it."""
        self.registers[:] = 0
        self.registers[vm.T] = position

    def score(self, target: int) -> float:
        _check_ids(self.program, np.asarray([target]))
        return float(self._head("score", target)[0])

    def sample(self, uniforms: np.ndarray) -> int:
        _check_uniforms(self.program, uniforms)
        self.uniforms[: len(uniforms)] = uniforms
        return _drawn(self.program, float(self._head("sample")[0]))

    def distribution(self) -> np.ndarray:
        self._head("full")
        place = self.program.layout.places[PROBABILITIES]
        return self.S[place.offset : place.offset + place.tensor.row_bytes].view(np.float32).copy()

    @property
    def path(self) -> int:
        """The exits that the last token fed took (`flow.py`)."""
        return int(self.registers[vm.PATH])

    def decided_bytes(self) -> int:
        """Bytes that the last feed, score, sample or distribution touched where the data decides the cost."""
        return int(self.registers[vm.IN_STATE :].sum())

    def compile_for(self, program: Program, name: str, compiling: Compiling = "helped") -> None:
        """Compile, or load what was compiled before, all that an engine of this kind needs to run `program`."""
        memory = (*self._memory, self.registers, self.uniforms, self.scratch)
        Instructions(program).link(("body", *HEADS), memory, name, compiling)

    def score_stream(self, tokens: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Nats of each target, float64 [n]."""
        return self.score_stream_with_traffic(tokens, targets)[0]

    def score_stream_with_traffic(self, tokens: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(nats [n], bytes touched at each step by operators whose cost the data decides [n, N_TRAFFIC]).

        The columns are those of `cost.decided_components`.
        """
        tokens, targets = np.asarray(tokens, dtype=np.int64), np.asarray(targets, dtype=np.int64)
        self._check_stream(tokens, targets)
        return self._drive("body", "score", tokens, targets)

    def _check_stream(self, tokens: np.ndarray, targets: np.ndarray) -> None:
        _check_pairs(tokens, targets)
        _check_room(self.program, self.position, len(tokens))
        _check_ids(self.program, tokens)
        _check_ids(self.program, targets)

    def _head(self, head: str, target: int = 0) -> np.ndarray:
        if self.position == 0:
            raise ConfigError("nothing has been fed yet: feed a token (usually <|endoftext|>) first")
        return self._drive("", head, self._one, np.array([target]))[0]

    def _drive(self, body: str, head: str, tokens: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(outcome of the head after each token, bytes of data-decided operators at each token, by where)."""
        results, traffic = np.zeros(len(tokens)), np.zeros((len(tokens), vm.N_TRAFFIC), dtype=np.int64)
        self.paths = np.zeros(len(tokens), dtype=np.int64)
        table, memory = self._instructions, (*self._memory, self.registers, self.uniforms, self.scratch)
        table.link((body, head), memory, self.name)
        spans = (*table.spans[body], *table.spans[head], self._outcome)
        instructions = (table.twins, table.code, table.floats, table.route, spans)
        vm.drive(*instructions, *memory, tokens, targets, results, traffic, self.paths)
        self._check_status()
        return results, traffic

    def _check_status(self) -> None:
        if self.registers[vm.STATUS] != 0:
            raise CorruptFileError(POINTS_OUTSIDE)


def _weight_views(weights: np.ndarray) -> tuple[np.ndarray, ...]:
    """Read-only views: one type, whether the weights are mapped from a file or were made in memory.

    The caller's array stays as it was.
    """
    found = views(np.ascontiguousarray(weights)[:])
    for view in found:
        view.flags.writeable = False
    return found


class AuditEngine:
    """The same program through the logging arena.  After each verb, `steps` holds what it touched.

    `steps[i]` = (operator, accesses logged, data the operator reported for its formula).
    """

    def __init__(self, program: Program, weights: np.ndarray, poison: bool = False) -> None:
        self.program = program
        self.arena = Arena(program.layout, weights, poison)
        self.poison = poison
        self.steps: list[tuple[object, list[Access], tuple[int, ...]]] = []

    @property
    def position(self) -> int:
        return self.arena.registers.t

    @property
    def path(self) -> int:
        """The exits that the last token took (`flow.py`)."""
        return self.arena.registers.path

    def reset(self) -> None:
        self.arena.registers.t = 0
        if self.poison:
            self.arena.state[:] = 0xFF

    def feed(self, token: int) -> None:
        _check_room(self.program, self.position, 1)
        _check_ids(self.program, np.asarray([token]))
        self.arena.registers.t += 1
        self.arena.registers.token = token
        self.arena.registers.path = 0
        self.steps = []
        self._run(self.program.body, self.program.flow.route)

    def score(self, target: int) -> float:
        _check_ids(self.program, np.asarray([target]))
        self.arena.registers.target = target
        self._run(self.program.heads["score"])
        return float(self._result(OUTCOME)[0])

    def sample(self, uniforms: np.ndarray) -> int:
        _check_uniforms(self.program, uniforms)
        self.arena.registers.uniforms[: len(uniforms)] = uniforms
        self._run(self.program.heads["sample"])
        return _drawn(self.program, float(self._result(OUTCOME)[0]))

    def distribution(self) -> np.ndarray:
        self._run(self.program.heads["full"])
        return self._result(PROBABILITIES)

    def score_stream(self, tokens: np.ndarray, targets: np.ndarray) -> np.ndarray:
        _check_pairs(tokens, targets)
        nats = []
        for token, target in zip(tokens, targets, strict=True):
            self.feed(int(token))
            nats.append(self.score(int(target)))
        return np.array(nats)

    def _run(self, ops: tuple[object, ...], route: np.ndarray | None = None) -> None:
        """Run them one after another, or along the ways of a body."""
        if self.position == 0:
            raise ConfigError("nothing has been fed yet: feed a token (usually <|endoftext|>) first")
        at, registers = 0, self.arena.registers
        while at < len(ops):
            op, self.arena.log, registers.exit = ops[at], [], False
            try:
                data = op.run(self.arena)  # type: ignore[attr-defined]
            except (IndexError, ValueError) as error:  # an id outside its table, or NaN where an id should be
                raise CorruptFileError(POINTS_OUTSIDE) from error
            self.steps.append((op, [access for _, access in self.arena.log], tuple(data or ())))
            if route is not None and registers.exit:
                registers.path |= int(route[at, BIT])
                at = int(route[at, EXITED])
            else:
                at = at + 1 if route is None else int(route[at, NEXT])
        self.arena.log = None

    def _result(self, name: str) -> np.ndarray:
        return self.arena.row(name)


def _drawn(program: Program, outcome: float) -> int:
    """The token a sampler left behind; tables and probabilities of a damaged file can leave anything."""
    if not 0 <= outcome < program.vocab_size:
        raise CorruptFileError(f"the model drew token {outcome:g} of {program.vocab_size}; pack the model again")
    return int(outcome)


def _check_pairs(tokens: np.ndarray, targets: np.ndarray) -> None:
    if np.shape(tokens) != np.shape(targets) or np.ndim(tokens) != 1:
        raise ConfigError(f"{np.shape(tokens)} tokens and {np.shape(targets)} targets: one target per token is needed")


def _check_room(program: Program, position: int, n: int) -> None:
    if position + n > program.context:
        raise ConfigError(f"{position + n} tokens do not fit the model's context of {program.context}: reset first")


def _check_uniforms(program: Program, uniforms: np.ndarray) -> None:
    if len(uniforms) < program.n_uniforms:
        raise ConfigError(
            f"{len(uniforms)} uniform numbers are given, and a draw of this model takes {program.n_uniforms}"
        )


def _check_ids(program: Program, ids: np.ndarray) -> None:
    if ids.size and (ids.min() < 0 or ids.max() >= program.vocab_size):
        worst = int(ids.max() if ids.max() >= program.vocab_size else ids.min())
        raise ConfigError(
            f"token id {worst} is outside the model's vocabulary of {program.vocab_size}: "
            "the text was encoded with another tokenizer"
        )
