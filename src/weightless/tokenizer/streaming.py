"""Streams: encoding chunk by chunk what encoding the whole would give, and decoding token by token.

A stream is cut only where the ids before cannot depend on what follows (Encoder.safe_cut).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from weightless.base.errors import ConfigError
from weightless.tokenizer.patterns import text_bytes

PENDING_BYTES = 1 << 16


def encode_chunks(
    encode: Callable[[bytes], np.ndarray], safe_cut: Callable[[bytes], int], chunks: Iterable[str | bytes]
) -> Iterator[np.ndarray]:
    """Arrays of ids which joined are the ids of the joined chunks."""
    waiting: list[bytes] = []
    n_waiting, wanted = 0, PENDING_BYTES
    for content in _joined_surrogates(chunks):
        waiting.append(content)
        n_waiting += len(content)
        if n_waiting < wanted:
            continue
        pending = b"".join(waiting)
        cut = safe_cut(pending)
        if cut:
            yield encode(pending[:cut])
        waiting = [pending[cut:]]
        n_waiting = len(waiting[0])
        wanted = max(PENDING_BYTES, 2 * n_waiting)  # searching a growing buffer at every chunk would be quadratic
    yield encode(b"".join(waiting))


def _joined_surrogates(chunks: Iterable[str | bytes]) -> Iterator[bytes]:
    """The chunks as bytes; a high surrogate at the end of a str waits for its other half."""
    if isinstance(chunks, (str, bytes)):
        chunks = [chunks]  # a str is an iterable of characters: the same text, a hundred times slower
    held = ""
    for chunk in chunks:
        if isinstance(chunk, str):
            chunk = held + chunk
            held = chunk[-1] if chunk and "\ud800" <= chunk[-1] <= "\udbff" else ""
            yield text_bytes(chunk[: len(chunk) - len(held)])
        else:
            yield text_bytes(held) + text_bytes(chunk)
            held = ""
    yield text_bytes(held)


class StreamDecoder:
    """Turns ids into text one at a time; bytes wait until their character is whole."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that this token completes (often several, sometimes none)."""
        if not 0 <= token < len(self._token_bytes):
            raise ConfigError(f"{token!r} is no token id; ids are whole numbers below {len(self._token_bytes)}")
        return self._decoder.decode(self._token_bytes[int(token)])

    def finish(self) -> str:
        """What is left: U+FFFD for an unfinished character, else nothing.  The decoder can then be used again."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
