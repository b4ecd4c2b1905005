"""Many requests at once: a request joins the running batch as soon as there is room, and leaves when it is done.

Each step is one forward pass over ragged work (batch_runner.py): a piece of prompt for those that have just been
admitted (long prompts come in pieces, so nobody waits long), one token for everybody else.  Nothing is padded, and a
request draws from its own random numbers, so its text does not depend on who else is in the batch (up to the last bits
of float sums).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.random import rng_for
from weightless.decode.batch_runner import Work
from weightless.decode.engine_runner import Runner
from weightless.decode.sampling import Sampling, draw

PROMPT_PIECE = 256


class Event(NamedTuple):
    """A request has a new token, or (token None) is done."""

    request: int
    token: int | None


@dataclass
class _Active:
    """One request in the batch."""

    number: int
    text: list[int]
    sampling: Sampling
    rng: np.random.Generator
    sequence: int
    fed: int = 0  # how many of `text` the model has been fed
    made: int = 0


@dataclass
class ContinuousBatch:
    """At most `most` requests run together; `ends` are the tokens that end a text."""

    runner: Runner
    ends: Collection[int] = ()
    most: int = 8
    _waiting: deque[tuple[int, list[int], Sampling]] = field(default_factory=deque, init=False)
    _active: list[_Active] = field(default_factory=list, init=False)
    _submitted: int = field(default=0, init=False)

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queue a prompt of at least one token; its number comes back in events."""
        if not prompt:
            raise ConfigError("a prompt of at least one token is needed; <|endoftext|> begins an empty one")
        self._submitted += 1
        self._waiting.append((self._submitted - 1, [int(token) for token in prompt], sampling))
        return self._submitted - 1

    def run(self) -> Iterator[Event]:
        """Step until every request is done."""
        while self._waiting or self._active:
            yield from self.step()

    def cancel(self, number: int) -> None:
        """Take a request out (its text met a stop string); nothing happens when it is done already."""
        self._waiting = deque(entry for entry in self._waiting if entry[0] != number)
        for request in [request for request in self._active if request.number == number]:
            self._leave(request)

    def step(self) -> list[Event]:
        """One forward pass."""
        self._admit()
        work = [Work(r.sequence, r.text[r.fed : r.fed + PROMPT_PIECE]) for r in self._active]
        events: list[Event] = []
        rows = self.runner.forward(work) if work else []
        for request, entry, log_p in zip(list(self._active), work, rows):
            request.fed += len(entry.tokens)
            if request.fed == len(request.text):
                events += self._extend(request, log_p[-1])
        return events

    def _admit(self) -> None:
        while self._waiting and len(self._active) < self.most:
            number, text, sampling = self._waiting.popleft()
            rng = rng_for(sampling.seed, "request", number)
            request = _Active(number, text, sampling, rng, self.runner.begin())
            if len(text) > self.runner.context:
                request.fed = len(text) - max(1, self.runner.context // 2)
            self._active.append(request)

    def _extend(self, request: _Active, log_p_V: np.ndarray) -> list[Event]:
        """Draw the next token of one request, or end it."""
        sampling = request.sampling
        if request.made >= sampling.max_tokens:
            return self._leave(request)
        p_V = sampling.distribution(np.exp(log_p_V), request.text)
        token = draw(p_V, request.rng.random())
        if sampling.stop_at_end and token in self.ends:
            return self._leave(request)
        request.text.append(token)
        request.made += 1
        found = [Event(request.number, token)]
        if request.made == sampling.max_tokens:
            return found + self._leave(request)
        if len(self.runner.tokens(request.sequence)) == self.runner.context:
            self.runner.free(request.sequence)
            request.sequence = self.runner.begin()
            request.fed = len(request.text) - max(1, self.runner.context // 2)
        return found

    def _leave(self, request: _Active) -> list[Event]:
        self.runner.free(request.sequence)
        self._active.remove(request)
        return [Event(request.number, None)]
