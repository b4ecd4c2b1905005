"""Feed a prompt to a fresh engine: many positions per weight read where the model allows it, else one after the other.

All tokens but the last go through `program.blocked`, over the engine's own memory, and the engine feeds the last one:
it writes the registers that the heads look at.  What is drawn afterwards is what stepping would have drawn, up to the
order of sums (log-probabilities to some 1e-6, and to some 1e-3 where caches or states are rounded to fewer bits).

    auto       blocks for FEWEST_FED tokens or more, and for a model that nothing keeps from it (`blocked.why_not`)
    blocked    blocks, or ConfigError saying why this model cannot        stepped    one after the other
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from weightless.base.errors import ConfigError
from weightless.program.blocked import Blocked, check_path, why_not
from weightless.program.decoded import Decoded
from weightless.program.engine import Engine

FEWEST_FED = 64
"""Tokens from which on decoding the weights beforehand pays."""
PIECE = 64
"""Tokens that are stepped before others may have their turn (`Prefill.pieces`)."""


class Prefill:
    """Feeds texts to one engine.  `decoded`: weights that several of them share, decoded once."""

    def __init__(self, engine: Engine, path: str = "auto", decoded: Decoded | None = None) -> None:
        check_path(path)
        told = why_not(engine.program, scoring=False, exactly=path == "auto")
        if path == "blocked" and told:
            raise ConfigError(
                f"path blocked: a prompt cannot be fed to {engine.name} in blocks, because {told}; use stepped"
            )
        self._engine, self._decoded = engine, decoded
        self._fewest = 1 if path == "blocked" else FEWEST_FED
        self._steps = path == "stepped" or bool(told)
        self._blocked: Blocked | None = None

    def feed(self, tokens: Sequence[int] | np.ndarray) -> None:
        """Bring the engine, whatever it holds, to where these tokens have been fed to it after a reset."""
        for _ in self.pieces(tokens):
            pass

    def pieces(self, tokens: Sequence[int] | np.ndarray) -> Iterator[None]:
        """The same in pieces, between which the caller may do something else: PIECE tokens stepped, or all of them
        in blocks."""
        ids = np.asarray(tokens, np.int64)
        self._engine.reset()
        if not self.is_blocked(len(ids)):
            for first in range(0, len(ids), PIECE):
                self._engine.feed_all(ids[first : first + PIECE])
                yield
            return
        if self._blocked is None:
            engine = self._engine
            self._blocked = Blocked(engine.program, engine.weights, self._decoded, state=engine.S)
        self._blocked.reset()
        self._blocked.feed(ids[:-1])
        self._engine.resume(len(ids) - 1)
        self._engine.feed(int(ids[-1]))
        yield

    def is_blocked(self, n: int) -> bool:
        """Whether so many tokens are fed in blocks."""
        return not self._steps and n >= self._fewest
