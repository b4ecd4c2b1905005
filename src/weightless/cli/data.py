"""weightless data prepare | import | inspect | verify: token shards."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro

from weightless.base.errors import ConfigError
from weightless.cli import data_import, data_prepare
from weightless.cli.parse import parse, pick


def main(verb: str, arguments: list[str]) -> int:
    known = {
        "prepare": (data_prepare.run, "text to token shards: split by document, train or take a tokenizer, encode"),
        "import": (data_import.run, "token ids that somebody else made, as a prepared corpus"),
        "inspect": (_inspect, "show a page of a corpus as text, with token boundaries"),
        "verify": (_verify, "check hashes and ids, and that training and validation share no document"),
    }
    action, rest = pick(verb, arguments, known)
    return action(rest)


@dataclass(frozen=True)
class Inspect:
    """Show a page of a shard as text, with token boundaries."""

    corpus: Annotated[str, tyro.conf.Positional]
    """A prepared folder."""
    split: str = "train"
    """train or val."""
    start: int = 0
    """The first token of the page, counted from 0."""
    n: int = 200
    """Tokens on the page."""


def _inspect(arguments: list[str]) -> int:
    from weightless.data.shards.corpus import corpus
    from weightless.data.shards.inspect import page

    options = parse(Inspect, "data inspect", arguments)
    if options.start < 0 or options.n < 1:
        raise ConfigError(f"--start {options.start} and --n {options.n}: at least 0 and 1")
    found = corpus(options.corpus)
    if not found.has_tokenizer:
        print(*found.tokens(options.split)[options.start : options.start + options.n])
        print(f"ids only: {found.folder} was imported without a tokenizer", file=sys.stderr)
        return 0
    pieces = found.tokenizer().token_bytes
    print(page(found.tokens(options.split), pieces, options.start, options.n))
    return 0


@dataclass(frozen=True)
class Verify:
    """Check hashes, ids and that training and validation share no document and few 13-grams."""

    corpus: Annotated[str, tyro.conf.Positional]
    """A prepared folder."""


def _verify(arguments: list[str]) -> int:
    from weightless.data.shards.inspect import verify

    checks = verify(parse(Verify, "data verify", arguments).corpus, show_progress=True)
    for check in checks:
        print(f"{'ok    ' if check.ok else 'FAILED'} {check.name}: {check.detail}")
    return 0 if all(check.ok for check in checks) else 2
