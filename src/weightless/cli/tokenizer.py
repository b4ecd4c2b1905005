"""weightless tokenizer train | encode | decode | convert | compare | sweep | study.

What is not here: tokenizer_train.py (train), tokenizer_study.py (convert, compare, sweep), vocabulary_study.py (study).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from weightless.base.errors import WeightlessError
from weightless.cli.parse import parse, pick
from weightless.cli.tokenizer_study import compare_main, convert_main, sweep_main
from weightless.cli.tokenizer_train import train_main
from weightless.cli.vocabulary_study import study_main

LONGEST_ID = 10
"""Digits: more make no id, and Python refuses to read thousands."""


@dataclass(frozen=True)
class Encode:
    """Print the ids of a text (given, or from standard input), separated by spaces."""

    tokenizer: Annotated[str, tyro.conf.Positional]
    """A tokenizer.json of ours, or a SentencePiece .model."""
    text: Annotated[str, tyro.conf.Positional] = "-"
    """The text; - reads standard input."""
    pieces: bool = False
    """Show the tokens themselves, one per line."""


@dataclass(frozen=True)
class Decode:
    """Print the text of ids (given, or from standard input)."""

    tokenizer: Annotated[str, tyro.conf.Positional]
    """A tokenizer.json of ours, or a SentencePiece .model."""
    ids: Annotated[tuple[int, ...], tyro.conf.Positional] = ()
    """Token ids; none reads standard input."""


def main(verb: str, arguments: list[str]) -> int:
    actions = {
        "train": (train_main, "a byte-level BPE tokenizer, or a SentencePiece model, from text"),
        "encode": (_encode, "print the ids of a text"),
        "decode": (_decode, "print the text of ids"),
        "convert": (convert_main, "read a tokenizer of any known format, write it in another"),
        "compare": (compare_main, "measure tokenizers on texts: bytes per token, speed, longest tokens"),
        "sweep": (sweep_main, "bytes per token against the size of the vocabulary"),
        "study": (study_main, "bits per byte of a model per vocabulary, trained, at the same stored bytes"),
    }
    action, rest = pick(verb, arguments, actions)
    return action(rest)


def _encode(arguments: list[str]) -> int:
    from weightless.tokenizer.opening import load_saved

    options = parse(Encode, "tokenizer encode", arguments)
    tokenizer = load_saved(options.tokenizer)
    text = sys.stdin.buffer.read() if options.text == "-" else os.fsencode(options.text)
    ids = tokenizer.encode(text)
    if options.pieces:
        for i in ids:
            print(f"{i:>6}  {tokenizer.token_bytes[i]!r}")
    else:
        print(*ids)
    return 0


def _decode(arguments: list[str]) -> int:
    from weightless.tokenizer.opening import load_saved

    options = parse(Decode, "tokenizer decode", arguments)
    tokenizer = load_saved(options.tokenizer)
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
