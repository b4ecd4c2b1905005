"""Tokenizers measured on texts: how much each token holds, what is left as single bytes, and how fast.

    sample_of(documents, most_bytes) -> Sample       documents spread evenly over a corpus
    measure(tokenizer, sample) -> Measurement        one cell of the cross-domain table
    compare({name: tokenizer}, {name: sample})       all cells, row by row

bytes per token = UTF-8 bytes of the text / tokens; more is better compression.  tokens per word counts words as
Python's bytes.split() does, between white space.  single bytes = share of the tokens that stand for one byte.
Throughput is in processor seconds of one thread (a busy machine disturbs those less than wall-clock seconds), over
documents in order, with everything compiled and loaded, caches filled as they come.
SentencePiece models normalise: bytes are those of the original text, `decoded_share` says how many came back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from weightless.base.errors import WeightlessError
from weightless.base.progress import progress
from weightless.tokenizer.kept_text import KeptText, kept
from weightless.tokenizer.opening import AnyTokenizer

LONGEST_SHOWN = 3


@dataclass(frozen=True)
class Sample:
    """Documents of a corpus, and how many bytes it had in all."""

    documents: tuple[bytes, ...]
    corpus_bytes: int
    n_bytes: int
    n_words: int


@dataclass(frozen=True)
class Measurement:
    """One tokenizer on one corpus."""

    tokenizer: str
    corpus: str
    vocab_size: int
    n_bytes: int
    n_tokens: int
    n_words: int
    n_single_bytes: int
    n_used: int
    """Distinct tokens that occurred."""
    decoded_share: float
    """Bytes after decoding / bytes of the text; 1 for byte-level tokenizers."""
    refused: str
    """Why bits per byte of this text would be refused (unknown tokens, characters that do not come back …)."""
    seconds: float
    """Processor time of the encoding thread."""
    longest: tuple[bytes, ...] = field(repr=False)
    """The longest tokens that occurred, longest first."""

    @property
    def bytes_per_token(self) -> float:
        return self.n_bytes / self.n_tokens

    @property
    def tokens_per_word(self) -> float:
        return self.n_tokens / max(1, self.n_words)

    @property
    def single_byte_share(self) -> float:
        return self.n_single_bytes / self.n_tokens

    @property
    def megabytes_per_second(self) -> float:
        return self.n_bytes / 1e6 / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the ratios; bytes of tokens as text."""
        ratios = ("bytes_per_token", "tokens_per_word", "single_byte_share", "megabytes_per_second")
        plain = {name: value for name, value in asdict(self).items() if name != "longest"}
        return {**plain, **{name: getattr(self, name) for name in ratios}, "longest": list(map(readable, self.longest))}


def readable(token: bytes) -> str:
    """A token as text; bytes that are no character as <E2>, control characters and line ends escaped."""
    text = token.decode("utf-8", "surrogateescape")
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"<{ord(character) - 0xDC00:02X}>"
    return character if character.isprintable() else repr(character)[1:-1]


def sample_of(documents: Iterable[bytes], most_bytes: int, name: str = "text", show_progress: bool = False) -> Sample:
    """At most `most_bytes` of documents, evenly spaced over the corpus, in one pass and bounded memory.

    Whenever too much is held, every second document goes and the step doubles.  A longer document is cut.
    WeightlessError when there is no text.
    """
    kept: list[bytes] = []
    step, held, total, number = 1, 0, 0, 0
    with progress(f"reading {name}", None, "B") if show_progress else nullcontext() as tick:
        for document in documents:
            if tick:
                tick(len(document))
            total += len(document)
            if document and number % step == 0:
                kept.append(_cut(document, most_bytes))
                held += len(kept[-1])
            number += bool(document)
            while held > most_bytes and len(kept) > 1:
                kept, step = kept[::2], step * 2
                held = sum(map(len, kept))
    if not held:
        raise WeightlessError(f"{name} holds no text to measure")
    return Sample(tuple(kept), total, held, sum(len(document.split()) for document in kept))


def _cut(document: bytes, most_bytes: int) -> bytes:
    """The first bytes of a document, without the half character that a cut may leave."""
    if len(document) <= most_bytes:
        return document
    end = max(1, most_bytes)
    while end > 1 and document[end] & 0xC0 == 0x80 and end > most_bytes - 3:
        end -= 1
    return document[:end]


def measure(
    tokenizer: AnyTokenizer, sample: Sample, tokenizer_name: str = "tokenizer", corpus_name: str = "text"
) -> Measurement:
    """Encode the sample on one thread, and count."""
    tokenizer.encode_ordinary_array(b"warm 1 !\n")  # compiles, loads and builds tables
    started = time.thread_time()
    encoded = [tokenizer.encode_ordinary_array(document) for document in sample.documents]
    seconds = time.thread_time() - started
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    for ids in encoded:
        counts += np.bincount(ids, minlength=len(counts))
    whole = sum((kept(tokenizer, *pair) for pair in zip(sample.documents, encoded)), KeptText())
    return Measurement(
        tokenizer=tokenizer_name,
        corpus=corpus_name,
        vocab_size=tokenizer.vocab_size,
        n_bytes=sample.n_bytes,
        n_tokens=int(counts.sum()),
        n_words=sample.n_words,
        n_single_bytes=sum(map(partial(_single_bytes, tokenizer), encoded)),
        n_used=int((counts > 0).sum()),
        decoded_share=whole.decoded_bytes / sample.n_bytes,
        refused=whole.refused,
        seconds=seconds,
        longest=_longest(tokenizer, counts),
    )


def _single_bytes(tokenizer: AnyTokenizer, ids: np.ndarray) -> int:
    """Tokens of one byte, which may hang on the token before."""
    before = np.concatenate(([-1], ids[:-1])) if len(ids) else ids
    return int((tokenizer.byte_table.bytes_of(before, ids) == 1).sum())


def _lengths(tokenizer: AnyTokenizer) -> np.ndarray:
    return np.array([len(token) for token in tokenizer.token_bytes])


def _longest(tokenizer: AnyTokenizer, counts: np.ndarray) -> tuple[bytes, ...]:
    """The longest tokens that occurred; of equally long ones the more frequent first."""
    used = np.flatnonzero(counts)
    order = np.lexsort((used, -counts[used], -_lengths(tokenizer)[used]))
    return tuple(tokenizer.token_bytes[i] for i in used[order[:LONGEST_SHOWN]])


def compare(tokenizers: Mapping[str, AnyTokenizer], samples: Mapping[str, Sample]) -> list[Measurement]:
    """Every tokenizer on every corpus; tokenizers in the outer order."""
    return [
        measure(tokenizer, sample, name, corpus)
        for name, tokenizer in tokenizers.items()
        for corpus, sample in samples.items()
    ]
