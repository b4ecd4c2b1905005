"""What a model answers: a continuation, a distribution, a score, a ledger.  Frozen, with `to_plain()` for JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError

LINE_BYTES = 64


@dataclass(frozen=True)
class Continuation:
    """A text that a model wrote after a prompt; `str()` is the text.

    `bytes_per_token` are the mean bytes touched per drawn token; `mode` is S where the model drew from its own
    distribution, F where all its probabilities were computed first (docs/bytes.md).
    """

    prompt: str
    text: str
    n_tokens: int
    temperature: float
    top_p: float
    seed: int
    mode: str
    bytes_per_token: float

    def __str__(self) -> str:
        return self.text

    def to_plain(self) -> dict[str, Any]:
        """What `weightless generate --json` prints."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Distribution:
    """Probabilities [vocab_size] of the next token, float64; `encode` and `decode` are the model's."""

    probabilities: np.ndarray
    encode: Callable[[str], list[int]] = field(repr=False)
    decode: Callable[[list[int]], str] = field(repr=False)

    def top(self, k: int = 10) -> list[tuple[str, float]]:
        """The k likeliest tokens as (text, probability), best first, ties by id; a part of a character is U+FFFD."""
        if type(k) is not int or k < 1:
            raise ConfigError(f"top({k!r}): ask for a number of tokens, at least 1")
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.decode([int(i)]), float(self.probabilities[i])) for i in order]

    def probability(self, token: str | int) -> float:
        """Of a token by its id or its text; ConfigError for a text that is not exactly one token."""
        n = len(self.probabilities)
        if isinstance(token, str):
            ids = self.encode(token)
            if len(ids) != 1:
                raise ConfigError(
                    f"{token!r} is {len(ids)} tokens {ids}, not one: give an id, or score a text with model.score"
                )
            return float(self.probabilities[ids[0]])
        if isinstance(token, bool) or not isinstance(token, (int, np.integer)) or not 0 <= token < n:
            raise ConfigError(f"token {token!r}: give a text, or an id from 0 to {n - 1}")
        return float(self.probabilities[token])

    @property
    def entropy(self) -> float:
        """In bits: -sum p log2 p."""
        p = self.probabilities[self.probabilities > 0]
        return float(max(0.0, -(p * np.log2(p)).sum()))

    def __repr__(self) -> str:
        best = ", ".join(f"{text!r} {p:.3f}" for text, p in self.top(3))
        return f"<Distribution over {len(self.probabilities):,} tokens: {best} …, {self.entropy:.2f} bits>"


@dataclass(frozen=True, eq=False)
class Score:
    """The loss on a text: the sum of nats over n_tokens targets, which stand for n_bytes of it.

    `token_nats` [n_tokens] are those of each target, in the order of the text.  `refused` says why bits per byte would
    not be those of the text (the tokenizer does not give it back); then there are none.
    """

    nats: float
    n_tokens: int
    n_bytes: int
    token_nats: np.ndarray = field(repr=False)
    refused: str = ""
    plain: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.n_tokens

    @property
    def bits_per_byte(self) -> float | None:
        """nats / (ln 2 · n_bytes); None where no byte is known (`refused` says why)."""
        return self.plain["bits_per_byte"]

    def to_plain(self) -> dict[str, Any]:
        """What `weightless eval --json` prints beside the name of the artifact."""
        return dict(self.plain)


@dataclass(frozen=True, eq=False)
class Ledger:
    """Bytes touched per next token, and stored; the whole ledger is `to_plain()`, as `weightless count --json`."""

    plain: dict[str, Any] = field(repr=False)

    @property
    def T(self) -> float:
        """Traffic: mean bytes touched per token, over operators."""
        return self.plain["touched"]["T"]["mean"]

    @property
    def U(self) -> float:
        """Mean distinct bytes touched per token."""
        return self.plain["touched"]["U"]["mean"]

    @property
    def T64(self) -> float:
        """Mean bytes of the 64-byte lines touched per token."""
        return self.plain["touched"]["T64"]["mean"]

    @property
    def lines(self) -> float:
        """Mean number of 64-byte lines touched per token: T64 / 64."""
        return self.T64 / LINE_BYTES

    @property
    def components(self) -> dict[str, float]:
        """Mean T of each line of the ledger; they add up to `T`."""
        return {entry["name"]: entry["T"] for entry in self.plain["components"]}

    @property
    def is_exact(self) -> bool:
        """Whether T is what is touched, and not a bound because a text would decide it."""
        return self.plain["exact"]

    @property
    def measured_on(self) -> str | None:
        """The text that the bytes were measured on; None where they follow from the shapes."""
        return self.plain["measured_on"]

    def to_plain(self) -> dict[str, Any]:
        """What `weightless count --json` prints under the model's name."""
        return dict(self.plain)

    def __repr__(self) -> str:
        at_most = "" if self.is_exact else "at most "
        return f"<Ledger: {at_most}T {self.T:,.1f} B, U {self.U:,.1f} B, {self.lines:,.1f} lines per token>"
