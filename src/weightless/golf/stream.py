"""The tokens that are scored, and what is known of the text behind them.

    stream_of(packed, path, split, pieces) -> Stream

`path` is a prepared corpus (its manifest has to name the model's tokenizer), a token shard (.bin), or a text, whose
documents stand behind <|endoftext|> each.  `pieces` is the SentencePiece model of an artifact that has no tokenizer.
Errors: WeightlessError for data of another tokenizer, and for what is no data; CorruptFileError for damaged shards.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import WeightlessError
from weightless.data.shards.corpus import MANIFEST, Corpus, corpus
from weightless.data.shards.shards import read_shard
from weightless.data.text.file_source import source
from weightless.export.packed import Packed
from weightless.tokenizer.byte_table import ByteTable
from weightless.tokenizer.kept_text import KeptText, kept
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

PIECES = "tokenizer.model"
_HASHED = 1 << 22


@dataclass(frozen=True)
class Stream:
    """`source_bytes` counts the raw text, and None where it is not at hand; `decoded_bytes` what the tokens give back.

    `refused` says why bits per byte would not be those of a text; `corpus_sha256` is known of a prepared corpus.
    """

    tokens: Any
    table: ByteTable | None
    refused: str
    source_bytes: int | None
    decoded_bytes: int | None
    corpus_sha256: str | None = None
    tokenizer_sha256: str | None = None

    @property
    def n_targets(self) -> int:
        """Tokens that follow another one."""
        return max(0, len(self.tokens) - 1)

    @property
    def rewritten(self) -> bool:
        """Whether the tokens decode to another number of bytes than the raw text has."""
        return None not in (self.source_bytes, self.decoded_bytes) and self.source_bytes != self.decoded_bytes

    @cached_property
    def sha256(self) -> str:
        """Of the ids as little-endian 32-bit numbers: two streams of one hash are one validation set."""
        digest = hashlib.sha256()
        for start in range(0, len(self.tokens), _HASHED):
            digest.update(np.asarray(self.tokens[start : start + _HASHED], dtype="<u4").tobytes())
        return digest.hexdigest()


def stream_of(packed: Packed, path: Path, split: str = "val", pieces: Path | None = None) -> Stream:
    """What `path` holds for this model."""
    if not os.path.exists(path):
        raise WeightlessError(f"no such file or folder: {path}; name a prepared corpus, a token shard or a text")
    own = tokenizer_of(packed, pieces)
    if (path / MANIFEST).exists():
        return _of_corpus(packed, corpus(path), split, own)
    if path.suffix == ".bin":
        return _of_shard(packed, path, own)
    return _of_text(path, own)


def tokenizer_of(packed: Packed, pieces: Path | None) -> Any:
    """The tokenizer in the artifact, else the SentencePiece model beside it, else None."""
    if packed.has_tokenizer:
        return packed.tokenizer
    if pieces is None or not pieces.exists():
        return None
    found = SentencePieceTokenizer.load(pieces)
    known = packed.tokenizer_sha256
    if known is not None and known != found.sha256:
        raise WeightlessError(
            f"{pieces} has the SHA-256 {found.sha256[:12]}, and the artifact was trained on ids of {known[:12]}: "
            "put the SentencePiece model of its training data there"
        )
    if found.vocab_size > packed.program.vocab_size:
        raise WeightlessError(
            f"{pieces} holds {found.vocab_size} pieces, the model knows {packed.program.vocab_size} tokens: "
            "it is another tokenizer"
        )
    return found


def _of_corpus(packed: Packed, found: Corpus, split: str, own: Any) -> Stream:
    ours, theirs = packed.tokenizer_sha256, found.manifest["tokenizer_sha256"]
    if ours and theirs and ours != theirs:
        raise WeightlessError(
            f"{found.folder} was made with tokenizer {theirs[:12]}, the model has {ours[:12]}: prepare the text with "
            "the model's tokenizer"
        )
    if found.vocab_size != packed.program.vocab_size:
        raise WeightlessError(
            f"{found.folder} has {found.vocab_size} tokens, the model {packed.program.vocab_size}: name its own data"
        )
    if own is None and found.has_tokenizer:
        own = found.tokenizer()
    entry = found.manifest["splits"].get(split, {})
    tokens = found.tokens(split)
    return Stream(
        tokens,
        None if own is None else own.byte_table,
        found.why_refused(split),
        entry.get("source_bytes"),
        entry.get("bytes"),
        found.sha256,
        theirs,
    )


def _of_shard(packed: Packed, path: Path, own: Any) -> Stream:
    tokens = read_shard(path, packed.program.vocab_size)
    if own is None:
        return Stream(tokens, None, "", None, None)
    decoded = sum(
        own.byte_table.total(np.asarray(tokens[start : start + _HASHED]), int(tokens[start - 1]) if start else -1)
        for start in range(0, len(tokens), _HASHED)
    )
    refused = own.byte_table.why_refused(tokens)
    return Stream(tokens, own.byte_table, refused, None, decoded, None, own.sha256)


def _of_text(path: Path, own: Any) -> Stream:
    if own is None:
        raise WeightlessError(f"{path} is text, and the model knows ids only: name a corpus or a shard of its tokens")
    parts, whole, n_source, n_decoded = [], KeptText(), 0, 0
    for document in source([path], "text", ()):
        ids = own.encode_ordinary_array(document)
        parts += [np.array([] if own.end_of_text is None else [own.end_of_text], dtype=np.int64), ids]
        n_source += len(document)
        n_decoded += own.byte_table.total(ids, -1 if own.end_of_text is None else own.end_of_text)
        whole += kept(own, document, ids) if own.byte_table.rewrites else KeptText()
    tokens = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return Stream(tokens, own.byte_table, whole.refused, n_source, n_decoded, None, own.sha256)
