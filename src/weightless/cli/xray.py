"""weightless xray: what every token of a text costs in one or two packed models, as a page that needs nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import atomic_write
from weightless.cli.parse import parse
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.export.packed import Packed

MOST_TEXT = 1 << 24
"""Bytes of a file that is read whole: far more than the tokens of any page."""


@dataclass(frozen=True)
class Xray:
    """Every byte that one or two models touch for every token of a text, as a page to look at."""

    model: Annotated[str, tyro.conf.Positional]
    """A packed model (.wl), or the folder that holds its model.wl."""
    other: Annotated[str, tyro.conf.Positional] = ""
    """A second one, to be shown beside it."""
    text: str = ""
    """A file with the text; of a long one the first tokens are shown (see --limit)."""
    prompt: str = ""
    """The text itself, in the place of a file."""
    out: str = "xray.html"
    """Where the page goes; a name that ends in .json gets the records instead."""
    limit: int = 512
    """Look at no more tokens than this."""
    top: int = 5
    """So many of the likeliest tokens are told for every place."""


def main(verb: str, arguments: list[str]) -> int:
    options = parse(Xray, verb, arguments)
    text, out = _text(options), _place(options.out, options.text)
    if options.limit < 1:
        raise ConfigError("--limit 0: look at one token or more")
    named = [_opened(path) for path in (options.model, options.other) if path]
    from weightless.xray.page import html
    from weightless.xray.record import record

    records = [record(packed, text, top=options.top, limit=options.limit, name=name) for name, packed in named]
    written = json.dumps(records, indent=1) + "\n" if out.suffix == ".json" else html(records)
    atomic_write(out, written)
    _print(records)
    print(f"{'records' if out.suffix == '.json' else 'page'}: {out} ({len(written.encode()) / 1e6:.1f} MB)")
    return 0


def _text(options: Xray) -> bytes:
    if bool(options.text) == bool(options.prompt):
        raise ConfigError("give a text: --text FILE, or --prompt and the text itself (one of the two)")
    if options.prompt:
        return options.prompt.encode("utf-8", "surrogateescape")
    path = Path(options.text)
    if not path.is_file():
        raise WeightlessError(f"--text {options.text} is no file; a text on the command line is given as --prompt")
    if path.stat().st_size > MOST_TEXT:
        most = f"at most {MOST_TEXT / 1e6:.0f} MB"
        raise WeightlessError(f"--text {options.text} is too long for a page of --limit tokens: give {most} of it")
    return path.read_bytes()


def _place(out: str, text: str) -> Path:
    path = Path(out)
    if path.suffix not in (".html", ".json"):
        raise ConfigError(f"--out {out}: name a file that ends in .html or .json")
    if path.parent and not path.parent.is_dir():
        raise WeightlessError(f"--out {out}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise WeightlessError(f"--out {out} is a folder: name a file")
    if text and path.exists() and path.samefile(text):
        raise ConfigError(f"--out {out} is the text itself, which the page would replace: give another name")
    return path


def _opened(named: str) -> tuple[str, Packed]:
    """(how the model is called, the model)."""
    from weightless.export.packed import open_packed
    from weightless.xray.record import ARTIFACT, name_of

    path = Path(named)
    packed = open_packed(path / ARTIFACT if path.is_dir() else path)
    packed.tokenizer  # noqa: B018  (a model without text is refused before the first one is looked at)
    return name_of(packed), packed


def _print(records: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in ("model", "tokens", "bytes touched / token", "unique", "bits per byte", "left off"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for found in records:
        totals, n = found["totals"], len(found["tokens"])
        per_byte = totals["bits_per_byte"]
        cells = [found["model"]["name"], f"{n:,}", f"{totals['T'] / n:,.0f}", f"{totals['U'] / n:,.0f}"]
        cells += ["" if per_byte is None else f"{per_byte:.3f}", f"{totals['left_off']:,} tokens"]
        table.add_row(*(Text(cell) for cell in cells))
    print_table(table)
