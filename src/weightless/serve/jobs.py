"""One choice of one request: which tokens it feeds and draws, in turns.  Floor 10.

What is drawn is `decode.generate.continuation`, so that a choice is what `weightless generate` writes with its seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

import numpy as np

from weightless.decode.generate import Cost, continuation
from weightless.decode.prefill import Prefill
from weightless.decode.sampling import Sampling
from weightless.program.engine import Engine
from weightless.serve.served import Served
from weightless.serve.writer import Piece, Writer, likeliest

SCORED_AT_ONCE = 16
"""Tokens of an echoed prompt that are scored before others have their turn."""


@dataclass(eq=False)
class Job:
    """`text` with its mark is continued; `echo` is the prompt that is to stand before it, or None.

    `deliver` gets every Piece; an exception in the place of one is the end as well.
    """

    model: Served
    text: list[int]
    n_marks: int
    sampling: Sampling
    logprobs: int | None
    echo: str | None
    deliver: Callable[[Piece | Exception], None]
    asked: float = field(default_factory=time.perf_counter)
    cancelled: bool = False

    def turns(self, engine: Engine, prefill: Prefill) -> Generator[Piece | None, None, None]:
        """None where only something was fed; the last Piece has a reason."""
        writer, costs = Writer(self.model, self.sampling.stop), []
        if self.echo is not None:
            entries: list[tuple[int, float | None, list[tuple[int, float]]]] = []
            if self.logprobs is not None:
                yield from self._score(engine, entries)
            yield writer.echo(self.echo, entries)
        reason = "length"
        if self.sampling.max_tokens:
            reason = yield from self._draw(engine, prefill, writer, costs)
        yield writer.finish(reason, self.model.touched(self.sampling.mode, costs))

    def _draw(
        self, engine: Engine, prefill: Prefill, writer: Writer, costs: list[Cost]
    ) -> Generator[Piece | None, None, str]:
        tokens = continuation(engine, prefill, self.text, self.sampling, self.model.ends, costs)
        while not writer.stopped:
            try:
                token = next(tokens)
            except StopIteration as ending:
                if ending.value is not None and self.logprobs is not None:
                    writer.end(ending.value, *self._odds(engine, ending.value))
                return "length" if ending.value is None else "stop"
            if token is None:
                yield None
            elif self.logprobs is None:
                yield writer.push(token)
            else:
                yield writer.push(token, *self._odds(engine, token))
        return "stop"

    def _odds(self, engine: Engine, token: int) -> tuple[float, list[tuple[int, float]]]:
        """The model's own log-probability of what comes next, before temperature and cuts, and of the likeliest."""
        with np.errstate(divide="ignore"):
            log_p_V = np.log(engine.distribution().astype(np.float64))
        return float(log_p_V[token]), likeliest(log_p_V, self.logprobs or 0)

    def _score(
        self, engine: Engine, entries: list[tuple[int, float | None, list[tuple[int, float]]]]
    ) -> Generator[None, None, None]:
        """log p of every token of the prompt; None for one that nothing stands before."""
        engine.reset()
        for i, token in enumerate(self.text):
            if i >= self.n_marks:
                log_p, best = self._odds(engine, token) if i else (None, [])
                entries.append((token, log_p, best))
            if i + 1 < len(self.text):
                engine.feed(token)
            if i % SCORED_AT_ONCE == SCORED_AT_ONCE - 1:
                yield None
