"""weightless data prepare | import | inspect | verify: token shards."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from weightless.base.units import human_bytes
from weightless.cli import data_import
from weightless.cli.parse import parse, pick


@dataclass(frozen=True)
class Prepare:
    """Split a text by document, train a tokenizer on the training part (or use a given one), write uint16 shards."""

    out: Annotated[str, tyro.conf.Positional]
    """The folder to write."""
    text: str = "docs"
    """docs, fables, a file, a folder (.txt .jsonl .parquet, also .gz .xz .zst), or hub:OWNER/NAME[:config]."""
    validation: str = ""
    """A held-out text, instead of a part split off."""
    tokenizer: str = ""
    """A tokenizer.json of ours; empty trains one."""
    vocab_size: int = 4096
    field: str = "text"
    """The field of jsonl and parquet files that holds the text."""
    val_fraction: float = 0.05


def main(verb: str, arguments: list[str]) -> int:
    known = {"prepare": _prepare, "import": data_import.run, "inspect": _inspect, "verify": _verify}
    action, rest = pick(verb, arguments, known)
    return action(rest)


def _prepare(arguments: list[str]) -> int:
    from weightless.data.prepare import prepare
    from weightless.data.sources import open_source
    from weightless.lab.corpora import prepared
    from weightless.lab.recipe import DataRecipe
    from weightless.tokenizer import Tokenizer

    options = parse(Prepare, "data prepare", arguments)
    if options.tokenizer:
        source = open_source(options.text, options.field)
        held_out = open_source(options.validation, options.field) if options.validation else None
        corpus = prepare(source, Tokenizer.load(options.tokenizer), options.out, validation=held_out,
                         fraction=options.val_fraction)  # fmt: skip
    else:
        recipe = DataRecipe(options.text, options.validation, options.field, options.val_fraction,
                            vocab_size=options.vocab_size)  # fmt: skip
        corpus = prepared(recipe, Path(options.out))
    for split, entry in corpus.manifest["splits"].items():
        print(f"{split}: {entry['documents']:,} documents, {human_bytes(entry['bytes'])}, {entry['tokens']:,} tokens, "
              f"{entry['bytes'] / max(1, entry['tokens']):.3f} bytes per token")  # fmt: skip
    return 0


@dataclass(frozen=True)
class Inspect:
    """Show a page of a shard as text, with token boundaries."""

    data: Annotated[str, tyro.conf.Positional]
    """A prepared folder."""
    split: str = "train"
    start: int = 0
    n: int = 200


def _inspect(arguments: list[str]) -> int:
    from weightless.data.corpus import corpus
    from weightless.data.inspect import page
    from weightless.tokenizer import Tokenizer

    options = parse(Inspect, "data inspect", arguments)
    found = corpus(options.data)
    if not found.has_tokenizer:
        print(*found.tokens(options.split)[options.start : options.start + options.n])
        print(f"ids only: {found.folder} was imported without a tokenizer", file=sys.stderr)
        return 0
    pieces = Tokenizer.load(found.tokenizer_path).token_bytes
    print(page(found.tokens(options.split), pieces, options.start, options.n))
    return 0


@dataclass(frozen=True)
class Verify:
    """Check hashes, ids and that training and validation share no document and few 13-grams."""

    data: Annotated[str, tyro.conf.Positional]
    """A prepared folder."""


def _verify(arguments: list[str]) -> int:
    from weightless.data.inspect import verify

    checks = verify(parse(Verify, "data verify", arguments).data, show_progress=True)
    for check in checks:
        print(f"{'ok    ' if check.ok else 'FAILED'} {check.name}: {check.detail}")
    return 0 if all(check.ok for check in checks) else 2
