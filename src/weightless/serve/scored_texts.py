"""What an evaluation harness asks of a packed model: log-probabilities of texts, and texts.  Floor 10.

Every text begins with the mark of a document, as `weightless eval` and `generate` have it.  Pairs are judged token
after token by the engine, whose context `Prefill` feeds; whole documents go through `evals.scoring`, so that their
nats are what `weightless eval --text` adds up for the same document.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from weightless.base.cores import cores
from weightless.base.errors import ConfigError
from weightless.base.progress import progress
from weightless.decode.generate import document_ids, prompt_ids, text_stream, token_stream
from weightless.decode.prefill import Prefill
from weightless.decode.sampling import Sampling
from weightless.evals.bits_per_byte import windows
from weightless.evals.scoring import score_windows
from weightless.export.packed import Packed
from weightless.program.blocked import check_path
from weightless.program.decoded import Decoded
from weightless.program.engine import Engine

Judged = tuple[float, bool]
"""(log-probability in nats, whether every token is the likeliest one)."""


@dataclass
class ScoredTexts:
    """One model; `scoring` is auto, blocked or stepped (`decode.prefill`, `evals.scoring`), on `threads` threads."""

    packed: Packed
    scoring: str = "auto"
    threads: int = field(default_factory=cores)

    def __post_init__(self) -> None:
        check_path(self.scoring)
        if self.threads < 1:
            raise ConfigError(f"threads {self.threads} should be at least 1")
        engine = self.packed.engine()
        Prefill(engine, self.scoring)
        engine.compile_for(self.packed.program, self.packed.family)

    @property
    def context(self) -> int:
        """Tokens that the model looks at, at most."""
        return self.packed.program.context

    @property
    def mark(self) -> int:
        """The token that begins a document; ConfigError for a model without one."""
        mark = self.packed.tokenizer.end_of_text
        if mark is None:
            raise ConfigError(
                f"{self.packed.artifact.path} has no token that begins a document, so the first token of a text has no "
                "log-probability: import it with a tokenizer that names one"
            )
        return mark

    def ids(self, text: str, begins: bool = True) -> list[int]:
        """Tokens of a text, behind the mark unless it does not begin a document."""
        ids = prompt_ids(self.packed, text)
        return document_ids(self.packed, ids) if begins else ids

    def check_pair(self, n_context: int, n_continuation: int, shown: str) -> None:
        """ConfigError for a pair that no number can be given for; `shown` is its continuation."""
        told = shown if len(shown) <= 60 else f"{shown[:59]}…"
        if n_continuation < 1:
            raise ConfigError(f"the continuation {told!r} adds no token to its context: there is nothing to score")
        if n_continuation > self.context:
            raise ConfigError(
                f"the continuation {told!r} has {n_continuation} tokens, and the model looks at {self.context}: "
                "take shorter ones, or loglikelihood_rolling"
            )
        if n_context < 1:
            raise ConfigError(f"nothing stands before the continuation {told!r}: give its context at least one token")

    def judged(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], done: Callable[[int, Judged], None]
    ) -> list[Judged]:
        """Of every (context, continuation) in ids: log p(continuation | context), and whether it is the greedy one.

        A context that does not fit the window is cut on its left.  `done` is called with each result as it is found.
        """
        decoded, lock = Decoded(self.packed.program.layout, self.packed.weights), threading.Lock()
        found: list[Judged] = [(0.0, False)] * len(pairs)
        stopped = threading.Event()
        with progress("loglikelihood", len(pairs), "pairs") as tick:

            def part(indices: range) -> None:
                engine = self.packed.engine()
                prefill = Prefill(engine, self.scoring, decoded)
                for i in indices:
                    if stopped.is_set():
                        return
                    found[i] = _judge(engine, prefill, *pairs[i])
                    with lock:
                        done(i, found[i])
                        tick(1)

            _on_threads(part, len(pairs), self.threads, stopped)
        return found

    def rolled(self, texts: Sequence[str]) -> list[float]:
        """log p of whole documents in nats: every token once, in windows of the context side by side.

        As in `weightless eval --text` the name of a special token, written in a document, is text like any other.
        """
        documents = [[self.mark, *self.packed.tokenizer.encode_ordinary_array(text).tolist()] for text in texts]
        starts = np.cumsum([0, *map(len, documents)])
        todo = [
            (int(start) + first, int(start) + scored, int(start) + end)
            for start, ids in zip(starts, documents)
            for first, scored, end in windows(len(ids), self.context, self.context)
        ]
        if not todo:
            return [0.0] * len(texts)
        tokens = np.concatenate([np.array(ids, np.int64) for ids in documents])
        nats = score_windows(self.packed, tokens, todo, self.threads, "loglikelihood_rolling", self.scoring).nats
        return [-float(nats[start + 1 : end].sum()) for start, end in zip(starts, starts[1:])]

    def written(self, prompt: str, sampling: Sampling) -> str:
        """What `weightless generate` writes behind a prompt."""
        tokens = token_stream(self.packed, prompt_ids(self.packed, prompt), sampling, path=self.scoring)
        return "".join(text for _, text in text_stream(self.packed, tokens, sampling))


def _judge(engine: Engine, prefill: Prefill, context: Sequence[int], continuation: Sequence[int]) -> Judged:
    fed = [*context, *continuation][-(engine.program.context + 1) : -1]
    before = fed[: len(fed) - len(continuation) + 1]
    prefill.feed(before)
    nats, is_greedy = 0.0, True
    for i, target in enumerate(continuation):
        if i:
            engine.feed(continuation[i - 1])
        nats += engine.score(target)
        is_greedy = is_greedy and int(np.argmax(engine.distribution())) == target
    return -nats, is_greedy


def _on_threads(part: Callable[[range], None], n: int, n_threads: int, stopped: threading.Event) -> None:
    """Share out n things; an interrupt ends every thread at the thing it is at."""
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for finished in [pool.submit(part, range(i, n, n_threads)) for i in range(min(n, n_threads))]:
                finished.result()
        finally:
            stopped.set()
