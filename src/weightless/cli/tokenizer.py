"""weightless tokenizer train | encode | decode | convert | compare | sweep (the last three: tokenizer_study.py)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from weightless.base.errors import WeightlessError
from weightless.base.progress import told_if_slow
from weightless.base.units import human_seconds
from weightless.cli.parse import parse, pick
from weightless.cli.tokenizer_study import compare_main, convert_main, sweep_main

END_OF_TEXT = "<|endoftext|>"
LONGEST_ID = 10
"""Digits: more make no id, and Python refuses to read thousands."""


@dataclass(frozen=True)
class Train:
    """Train a byte-level BPE tokenizer and write it as one JSON file."""

    text: Annotated[str, tyro.conf.Positional]
    """docs, fables, a file, or a folder (text, JSON, parquet; also .gz .xz .zst)."""
    out: str = "tokenizer.json"
    """The file to write."""
    vocab_size: int = 4096
    """Tokens in all: 256 bytes, merges and special tokens."""
    special: tuple[str, ...] = (END_OF_TEXT,)
    """Special tokens, which are no text; <|endoftext|> stands before every document."""
    pattern: str = "gpt2"
    """gpt2, gpt4, qwen2, starcoder, or none (raw bytes)."""
    ties: str = "greatest"
    """Which of two equally frequent pairs merges first: greatest (on bytes), or hf (as Hugging Face tokenizers)."""
    field: str = "text"
    """The field of JSON and parquet rows that holds the text; '' reads JSON as the plain text it is."""


@dataclass(frozen=True)
class Encode:
    """Print the ids of a text (given, or from standard input), separated by spaces."""

    tokenizer: Annotated[str, tyro.conf.Positional]
    """A tokenizer.json of ours."""
    text: Annotated[str, tyro.conf.Positional] = "-"
    """The text; - reads standard input."""
    pieces: bool = False
    """Show the tokens themselves, one per line."""


@dataclass(frozen=True)
class Decode:
    """Print the text of ids (given, or from standard input)."""

    tokenizer: Annotated[str, tyro.conf.Positional]
    """A tokenizer.json of ours."""
    ids: Annotated[tuple[int, ...], tyro.conf.Positional] = ()
    """Token ids; none reads standard input."""


def main(verb: str, arguments: list[str]) -> int:
    actions = {
        "train": (_train, "a byte-level BPE tokenizer from text"),
        "encode": (_encode, "print the ids of a text"),
        "decode": (_decode, "print the text of ids"),
        "convert": (convert_main, "read a tokenizer of any known format, write it in another"),
        "compare": (compare_main, "measure tokenizers on texts: bytes per token, speed, longest tokens"),
        "sweep": (sweep_main, "bytes per token against the size of the vocabulary"),
    }
    action, rest = pick(verb, arguments, actions)
    return action(rest)


def _train(arguments: list[str]) -> int:
    from weightless.data.text.sources import open_source
    from weightless.tokenizer import Tokenizer, train_bpe

    options = parse(Train, "tokenizer train", arguments)
    with told_if_slow("compiling the tokenizer (once per machine and version)"):
        train_bpe([b"a a"], 256, [], n_workers=1)
    started = time.perf_counter()
    documents = _told_if_empty(iter(open_source(options.text, options.field, options.special)), options.text)
    vocab, merges = train_bpe(
        documents, options.vocab_size, options.special, pattern=options.pattern, ties=options.ties, show_progress=True
    )
    tokenizer = Tokenizer(vocab, merges, options.special, pattern=options.pattern)
    tokenizer.save(options.out)
    took = human_seconds(time.perf_counter() - started)
    print(f"{options.out}: {tokenizer.vocab_size:,} tokens, {len(merges):,} merges, in {took}")
    if tokenizer.vocab_size < options.vocab_size:
        print(
            f"{options.out}: {options.vocab_size:,} were asked for, but after {len(merges):,} merges the text has no "
            "pair of tokens left that occurs: give more text, or ask for fewer",
            file=sys.stderr,
        )
    return 0


def _told_if_empty(documents: Iterator[bytes], name: str) -> Iterator[bytes]:
    first = next(documents, None)
    if first is None:
        raise WeightlessError(f"{name} holds no text to train a tokenizer on")
    yield first
    yield from documents


def _encode(arguments: list[str]) -> int:
    from weightless.tokenizer import Tokenizer

    options = parse(Encode, "tokenizer encode", arguments)
    tokenizer = Tokenizer.load(Path(options.tokenizer))
    text = sys.stdin.buffer.read() if options.text == "-" else os.fsencode(options.text)
    ids = tokenizer.encode(text)
    if options.pieces:
        for i in ids:
            print(f"{i:>6}  {tokenizer.token_bytes[i]!r}")
    else:
        print(*ids)
    return 0


def _decode(arguments: list[str]) -> int:
    from weightless.tokenizer import Tokenizer

    options = parse(Decode, "tokenizer decode", arguments)
    tokenizer = Tokenizer.load(Path(options.tokenizer))
    ids = list(options.ids)
    if not ids:
        words = sys.stdin.buffer.read().decode("utf-8", "backslashreplace").split()
        if bad := [word for word in words if not (word.isascii() and word.isdigit() and len(word) <= LONGEST_ID)]:
            raise WeightlessError(f"{bad[0]!r} on standard input is not a token id: give numbers separated by spaces")
        ids = [int(word) for word in words]
    if ids and not 0 <= min(ids) <= max(ids) < tokenizer.vocab_size:
        raise WeightlessError(f"ids should lie in 0..{tokenizer.vocab_size - 1}, got {min(ids)}..{max(ids)}")
    sys.stdout.write(tokenizer.decode(ids))
    sys.stdout.write("\n")
    return 0
