"""weightless tokenizer train: byte-level BPE as JSON, or a SentencePiece model."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.progress import told_if_slow
from weightless.base.units import human_seconds
from weightless.cli.parse import parse

END_OF_TEXT = "<|endoftext|>"
KINDS = ("bytes", "sentencepiece")
MODEL_TYPES = ("bpe", "unigram", "word", "char")


@dataclass(frozen=True)
class Train:
    """Train a tokenizer: byte-level BPE as one JSON file, or a SentencePiece model of the type BPE."""

    text: Annotated[str, tyro.conf.Positional]
    """docs, fables, a file, or a folder (text, JSON, parquet; also .gz .xz .zst)."""
    out: str = ""
    """The file to write; empty: tokenizer.json, or tokenizer.model for SentencePiece."""
    kind: str = "bytes"
    """bytes (byte-level BPE), or sentencepiece (what Parameter Golf's models have)."""
    vocab_size: int = 4096
    """Tokens in all: bytes, merges, and special tokens or marks and characters."""
    special: tuple[str, ...] = (END_OF_TEXT,)
    """Special tokens, which are no text; <|endoftext|> stands before every document."""
    pattern: str = "gpt2"
    """gpt2, gpt4, qwen2, starcoder, or none (raw bytes)."""
    ties: str = "greatest"
    """Which of two equally frequent pairs merges first: greatest (on bytes), or hf (as Hugging Face tokenizers)."""
    field: str = "text"
    """The field of JSON and parquet rows that holds the text; '' reads JSON as the plain text it is."""
    model_type: str = "bpe"
    """SentencePiece: bpe; unigram, word and char are read, not trained."""
    normalisation: str = "nmt_nfkc"
    """SentencePiece: nmt_nfkc, nfkc, nmt_nfkc_cf, nfkc_cf, or identity (text stays as it is)."""
    like: str = ""
    """SentencePiece: take the normalisation's table from this .model file, not from the package sentencepiece."""
    add_dummy_prefix: bool = False
    """SentencePiece: give every text a first space."""
    remove_extra_spaces: bool = True
    """SentencePiece: drop spaces at either end of a text, and make runs of them one."""
    split_digits: bool = True
    """SentencePiece: every digit is a piece of its own."""
    byte_fallback: bool = True
    """SentencePiece: characters without a piece become bytes; else they become <unk>."""
    character_coverage: float = 0.9995
    """SentencePiece: the share of the text's characters that get pieces, most frequent first."""
    longest_piece: int = 16
    """SentencePiece: characters that a piece has at most."""


def train_main(arguments: list[str]) -> int:
    options = parse(Train, "tokenizer train", arguments)
    if options.kind not in KINDS:
        raise ConfigError(f"--kind {options.kind}: {nearest(options.kind, KINDS)}")
    return _pieces(options) if options.kind == "sentencepiece" else _bytes(options)


def _bytes(options: Train) -> int:
    from weightless.data.text.sources import open_source
    from weightless.tokenizer import Tokenizer, train_bpe

    started, out = time.perf_counter(), options.out or "tokenizer.json"
    documents = _told_if_empty(iter(open_source(options.text, options.field, options.special)), options.text)
    vocab, merges = train_bpe(
        documents, options.vocab_size, options.special, pattern=options.pattern, ties=options.ties, show_progress=True
    )
    tokenizer = Tokenizer(vocab, merges, options.special, pattern=options.pattern)
    tokenizer.save(out)
    print(f"{out}: {tokenizer.vocab_size:,} tokens, {len(merges):,} merges, in {_since(started)}")
    _tell_exhausted(out, options.vocab_size, tokenizer.vocab_size, len(merges))
    return 0


def _pieces(options: Train) -> int:
    from weightless.base.files import atomic_write
    from weightless.data.text.sources import open_source
    from weightless.tokenizer.piece_file import read_file
    from weightless.tokenizer.piece_text import charsmap_of
    from weightless.tokenizer.piece_train import PieceOptions, train_pieces

    if options.model_type != "bpe":
        if options.model_type in MODEL_TYPES:
            raise ConfigError(
                f"--model_type {options.model_type} is not trained here, only bpe: such models are read "
                "(data prepare --tokenizer FILE.model), and the package sentencepiece trains them"
            )
        raise ConfigError(f"--model_type {options.model_type}: {nearest(options.model_type, MODEL_TYPES)}")
    made = PieceOptions(
        options.vocab_size,
        options.normalisation,
        options.add_dummy_prefix,
        options.remove_extra_spaces,
        options.split_digits,
        options.byte_fallback,
        options.character_coverage,
        options.longest_piece,
    )
    charsmap = charsmap_of(options.normalisation, read_file(options.like) if options.like else None, options.like)
    with told_if_slow("compiling the tokenizer (once per machine and version)"):
        train_pieces([b"ab ab"], PieceOptions(270), charsmap=b"")
    started, out = time.perf_counter(), options.out or "tokenizer.model"
    documents = _told_if_empty(iter(open_source(options.text, options.field)), options.text)
    training = train_pieces(documents, made, charsmap=charsmap, show_progress=True)
    atomic_write(Path(out), training.content)
    print(f"{out}: {training.told()}, in {_since(started)}")
    _tell_exhausted(out, options.vocab_size, training.vocab_size, training.n_merges)
    return 0


def _since(started: float) -> str:
    return human_seconds(time.perf_counter() - started)


def _tell_exhausted(out: str, asked: int, vocab_size: int, n_merges: int) -> None:
    if vocab_size < asked:
        print(
            f"{out}: {asked:,} were asked for, but after {n_merges:,} merges the text has no "
            "pair of tokens left that occurs: give more text, or ask for fewer",
            file=sys.stderr,
        )


def _told_if_empty(documents: Iterator[bytes], name: str) -> Iterator[bytes]:
    first = next(documents, None)
    if first is None:
        raise WeightlessError(f"{name} holds no text to train a tokenizer on")
    yield first
    yield from documents
