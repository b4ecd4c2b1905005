"""Token shards on disk: one file, and several seen as one array.

The layout is that of llm.c: 256 little-endian int32, of which [0] = 20240520, [1] = 1, [2] = number of tokens,
the rest 0; then the tokens as little-endian uint16.  File size = 1024 + 2 * tokens, exactly.

    write_shard(path, tokens)   shard_writer(path, vocab_size) for a stream
    read_shard(path, vocab_size) -> uint16 memory map   TokenView([shards]) -> the same, joined

Errors: CorruptFileError for wrong magic, version or size, or an id >= vocab_size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import atomic_writer

MAGIC, VERSION, HEADER_BYTES = 20240520, 1, 1024
LARGEST_VOCABULARY = 1 << 16
MOST_TOKENS = 2**31 - 1
"""Of one shard: its header has 32 bits for them."""
_SCAN = 1 << 22


class ShardWriter:
    """Receives the tokens of one shard; made by `shard_writer`."""

    def __init__(self, file: IO[bytes], vocab_size: int) -> None:
        self._file, self._vocab_size, self.n_tokens = file, vocab_size, 0

    def append(self, tokens: np.ndarray) -> None:
        """Add ids below vocab_size; ConfigError otherwise (a tokenizer that breaks its promise), and for too many."""
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < self._vocab_size:
            raise ConfigError(
                f"the tokenizer gave an id outside 0..{self._vocab_size - 1}; it does not fit its vocabulary"
            )
        if self.n_tokens + len(tokens) > MOST_TOKENS:
            raise ConfigError(f"one shard holds at most {MOST_TOKENS:,} tokens, as its header has 32 bits: make more")
        self._file.write(np.ascontiguousarray(tokens, "<u2").data)
        self.n_tokens += len(tokens)


@contextmanager
def shard_writer(path: Path, vocab_size: int) -> Iterator[ShardWriter]:
    """Write one shard atomically: the header goes in last, the file gets its name after that."""
    if not 1 <= vocab_size <= LARGEST_VOCABULARY:
        raise ConfigError(f"a vocabulary of {vocab_size} does not fit shards of 16-bit ids; 65536 is the most")
    with atomic_writer(path) as file:
        file.write(bytes(HEADER_BYTES))
        writer = ShardWriter(file, vocab_size)
        yield writer
        header = np.zeros(HEADER_BYTES // 4, "<i4")
        header[:3] = MAGIC, VERSION, writer.n_tokens
        file.seek(0)
        file.write(header.data)


def write_shard(path: str | Path, tokens: np.ndarray, vocab_size: int = LARGEST_VOCABULARY) -> None:
    """Write `tokens` as one shard."""
    with shard_writer(Path(path), vocab_size) as writer:
        writer.append(np.asarray(tokens))


def read_shard(path: str | Path, vocab_size: int | None = None) -> np.ndarray:
    """The tokens of a shard as a read-only memory map; with `vocab_size`, every id is checked."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            header = np.frombuffer(file.read(HEADER_BYTES), np.uint8)
    except FileNotFoundError:
        raise WeightlessError(f"no such shard: {path}") from None
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    n_tokens = _tokens_promised(path, header, size)
    if n_tokens == 0:
        return np.zeros(0, np.uint16)
    tokens = np.memmap(path, "<u2", "r", offset=HEADER_BYTES, shape=(n_tokens,))
    if vocab_size is not None:
        _check_ids(path, tokens, vocab_size)
    return tokens


def _tokens_promised(path: Path, header: np.ndarray, size: int) -> int:
    if len(header) < HEADER_BYTES:
        raise CorruptFileError(f"{path} is no token shard: {size} bytes are less than the header of {HEADER_BYTES}")
    magic, version, n_tokens = (int(value) for value in header.view("<i4")[:3])
    if magic != MAGIC:
        raise CorruptFileError(f"{path} is no token shard: it starts with {magic}, not {MAGIC}")
    if version != VERSION:
        raise CorruptFileError(f"{path} is a token shard of version {version}; this program reads version {VERSION}")
    if n_tokens < 0 or size != HEADER_BYTES + 2 * n_tokens:
        raise CorruptFileError(f"{path} promises {n_tokens} tokens but has {size} bytes; prepare the corpus again")
    return n_tokens


def _check_ids(path: Path, tokens: np.ndarray, vocab_size: int) -> None:
    if vocab_size >= LARGEST_VOCABULARY:
        return
    for start in range(0, len(tokens), _SCAN):
        block = tokens[start : start + _SCAN]
        if int(block.max()) >= vocab_size:
            at = start + int(np.argmax(block >= vocab_size))
            raise CorruptFileError(
                f"{path}: token {at} is {int(tokens[at])}, but the vocabulary has {vocab_size}; "
                "it was made with another tokenizer or is damaged"
            )


class TokenView:
    """Several arrays of tokens as one: length, integer, slice and index-array access."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self.parts = list(parts)
        self._starts = np.cumsum([0] + [len(part) for part in parts])
        self.dtype, self.ndim, self.shape = np.dtype(np.uint16), 1, (int(self._starts[-1]),)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step > 0:
                return self._range(start, max(start, stop))[::step]
            return self[np.arange(start, stop, step)]
        at = np.asarray(key, np.int64)
        at = np.where(at < 0, at + len(self), at)
        if at.size and not (at.min() >= 0 and at.max() < len(self)):
            raise IndexError(f"index outside 0..{len(self) - 1}")
        found = np.empty(at.shape, np.uint16)
        which = np.searchsorted(self._starts, at, side="right") - 1
        for number in np.unique(which):
            here = which == number
            found[here] = self.parts[number][at[here] - self._starts[number]]
        return found[()] if found.ndim == 0 else found

    def _range(self, start: int, stop: int) -> np.ndarray:
        pieces = []
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            base, end = int(self._starts[number]), min(int(self._starts[number + 1]), stop)
            pieces.append(self.parts[number][start - base : end - base])
            start, number = end, number + 1
        if not pieces:
            return np.zeros(0, np.uint16)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
