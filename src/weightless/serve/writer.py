"""Tokens of one choice become text and log-probabilities, as /v1/completions tells them.  Floor 10.

A token of half a character writes nothing until the other half comes; what could begin a stop string waits until that
is settled; and the entries of a token wait with its text, so that text and entries that are sent always agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from weightless.decode.sampling import StopStrings
from weightless.serve.served import Served


class Entry(NamedTuple):
    """A token, its log-probability (None: nothing stood before it), the likeliest, and where its text begins."""

    token: int
    log_p: float | None
    likeliest: list[tuple[int, float]]
    offset: int


class Piece(NamedTuple):
    """Text that has become certain, its entries, how many tokens were drawn for it, and why it ends if it does."""

    text: str
    entries: list[Entry]
    n_tokens: int
    reason: str | None = None
    touched: int = 0


class Writer:
    """Of one choice."""

    def __init__(self, model: Served, stops: Sequence[str]) -> None:
        self._model = model
        self._decoder, self._stops = model.packed.tokenizer.stream_decoder(), StopStrings(stops)
        self._waiting: list[Entry] = []
        self._begun = self._sent = 0

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stops.stopped

    def echo(self, text: str, entries: Sequence[tuple[int, float | None, list[tuple[int, float]]]]) -> Piece:
        """The prompt before the text: its own characters, whatever they hold."""
        placed = [self._placed(*entry) for entry in entries]
        self._sent = self._begun = len(text)
        return Piece(text, placed, 0)

    def push(self, token: int, log_p: float | None = None, likeliest: Sequence[tuple[int, float]] = ()) -> Piece:
        """A token that was drawn."""
        if log_p is not None:
            self._waiting.append(self._placed(token, log_p, list(likeliest)))
        return self._piece(self._stops.push(self._decoder.push(token)), 1)

    def end(self, token: int, log_p: float, likeliest: list[tuple[int, float]]) -> None:
        """The token that ends a text was drawn: it has an entry and no text, so there is one entry for every draw."""
        self._waiting.append(Entry(token, log_p, likeliest, self._begun))

    def finish(self, reason: str, touched: int) -> Piece:
        """What was held back, and the end."""
        text = self._stops.push(self._decoder.finish()) + self._stops.finish()
        last = self._piece(text, 0)
        entries = last.entries if self.stopped else [*last.entries, *self._waiting]
        return Piece(text, entries, 0, "stop" if self.stopped else reason, touched)

    def _piece(self, text: str, n_tokens: int) -> Piece:
        self._sent += len(text)
        ready = [entry for entry in self._waiting if entry.offset < self._sent]
        self._waiting = self._waiting[len(ready) :]
        return Piece(text, ready, n_tokens)

    def _placed(self, token: int, log_p: float | None, likeliest: list[tuple[int, float]]) -> Entry:
        """Its text begins with the character that its first byte belongs to."""
        written = self._model.bytes_of(token)
        inside = bool(written) and 0x80 <= written[0] < 0xC0
        offset = max(0, self._begun - inside)
        self._begun += sum(not 0x80 <= byte < 0xC0 for byte in written)
        return Entry(token, log_p, likeliest, offset)


def likeliest(log_p_V: np.ndarray, n: int) -> list[tuple[int, float]]:
    """The n most probable tokens, ties to the lowest id."""
    best = np.argsort(-log_p_V, kind="stable")[:n]
    return [(int(token), float(log_p_V[token])) for token in best]


def told_of(model: Served, entries: Sequence[Entry]) -> dict[str, Any]:
    """OpenAI's form: four lists side by side, -inf as -9999 (JSON has no infinity)."""
    names = [_name(model, entry.token) for entry in entries]
    tops = [None if entry.log_p is None else _top(model, entry) for entry in entries]
    return {
        "tokens": names,
        "token_logprobs": [None if entry.log_p is None else _finite(entry.log_p) for entry in entries],
        "top_logprobs": tops,
        "text_offset": [entry.offset for entry in entries],
    }


def _top(model: Served, entry: Entry) -> dict[str, float]:
    """The likeliest by their text, and the token itself; of two with one text the likelier."""
    found: dict[str, float] = {}
    for token, log_p in [*entry.likeliest, (entry.token, entry.log_p or 0.0)]:
        found.setdefault(_name(model, token), _finite(log_p))
    return found


def _finite(log_p: float) -> float:
    return max(log_p, -9999.0)


def _name(model: Served, token: int) -> str:
    """A token's text; bytes that are no text by themselves as OpenAI shows them, bytes:\\xe2\\x80."""
    written = model.bytes_of(token)
    try:
        return written.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in written)
