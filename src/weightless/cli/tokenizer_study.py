"""weightless tokenizer convert | compare | sweep: files of other programs, and experiments with vocabularies."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.lab.tokenizer_study import Sample
    from weightless.lab.tokenizer_sweep import Sweep

END_OF_TEXT = "<|endoftext|>"
HELD_OUT_EVERY = 20


@dataclass(frozen=True)
class Convert:
    """Read a tokenizer of any known format, and write it in another."""

    source: Annotated[str, tyro.conf.Positional]
    """Our JSON, a tokenizer.json of Hugging Face, a tiktoken rank file, or a folder with vocab.json and merges.txt."""
    target: Annotated[str, tyro.conf.Positional]
    """A file; for GPT-2's two files a folder."""
    to: str = ""
    """weightless, huggingface, tiktoken or gpt2; empty: as the name of the target suggests."""
    special: tuple[str, ...] = (END_OF_TEXT,)
    """For sources that do not hold them (tiktoken, gpt2)."""
    pattern: str = "gpt2"
    """For sources that do not hold it: gpt2, gpt4, qwen2, starcoder, or none."""


def convert_main(arguments: list[str]) -> int:
    from weightless.tokenizer.opening import convert, not_held

    options = parse(Convert, "tokenizer convert", arguments)
    tokenizer, to = convert(options.source, options.target, options.to, options.special, options.pattern)
    print(f"{options.target}: {tokenizer.vocab_size:,} tokens, {len(tokenizer.merges):,} merges, as {to}")
    if missing := not_held(tokenizer, to):
        print(f"this format does not say {missing}: give it again to whoever reads the file")
    return 0


@dataclass(frozen=True)
class Compare:
    """Measure tokenizers on texts: bytes per token, tokens per word, single bytes, longest tokens, speed."""

    tokenizers: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Files or folders; NAME=PATH gives one a name. Formats: as for convert, and SentencePiece models."""
    text: tuple[str, ...] = ("docs",)
    """Corpora: docs, fables, files or folders; NAME=PATH gives one a name."""
    megabytes: float = 10.0
    """Megabytes (10^6 bytes) of each corpus at most, in documents spread evenly over it."""
    field: str = "text"
    """The field of JSON and parquet rows that holds the text; '' reads JSON as the plain text it is."""
    special: tuple[str, ...] = (END_OF_TEXT,)
    """For tokenizer files that do not hold them (tiktoken, gpt2)."""
    pattern: str = "gpt2"
    """For files that do not hold it: gpt2, gpt4, qwen2, starcoder, or none."""
    json: bool = False
    """Print JSON instead of tables."""
    markdown: bool = False
    """Print Markdown instead of tables."""


def compare_main(arguments: list[str]) -> int:
    from weightless.cli.tokenizer_tables import cross_domain, details, longest, notes, show
    from weightless.data.text.sources import open_source
    from weightless.lab.tokenizer_study import compare, sample_of
    from weightless.tokenizer.opening import open_tokenizer

    options = parse(Compare, "tokenizer compare", arguments)
    if not options.tokenizers:
        raise ConfigError("no tokenizer given: weightless tokenizer compare TOKENIZER… --text CORPUS…")
    most = _most_bytes(options.megabytes)
    tokenizers = {
        name: open_tokenizer(path, options.special, options.pattern) for name, path in _named(options.tokenizers)
    }
    samples = {
        name: sample_of(open_source(path, options.field), most, name, show_progress=True)
        for name, path in _named(options.text)
    }
    cells = compare(tokenizers, samples)
    if options.json:
        print(json.dumps([cell.as_json() for cell in cells], indent=2, ensure_ascii=False))
        return 0
    for table in (cross_domain(cells), details(cells), longest(cells)):
        show(table, options.markdown)
    print(*notes(cells, samples), sep="\n")
    return 0


@dataclass(frozen=True)
class SweepOptions:
    """Train once at the largest size, derive the smaller vocabularies, and show bytes per token against size."""

    text: Annotated[str, tyro.conf.Positional]
    """docs, fables, a file, or a folder."""
    sizes: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
    """Vocabulary sizes; each counts the 256 bytes and the special tokens."""
    held_out: str = ""
    """A second text to measure on; without it every 20th document is kept out of training."""
    out: str = "runs/sweep"
    """A folder for sweep.json, sweep.svg, sweep.png and the tokenizers."""
    special: tuple[str, ...] = ()
    """Special tokens; they count towards every size."""
    pattern: str = "gpt2"
    """gpt2, gpt4, qwen2, starcoder, or none (raw bytes)."""
    ties: str = "greatest"
    """Which of two equally frequent pairs merges first: greatest (on bytes), or hf (as Hugging Face tokenizers)."""
    megabytes: float = 10.0
    """Megabytes (10^6 bytes) of each text at most to measure on, in documents spread evenly over it; training uses
    all."""
    field: str = "text"
    """The field of JSON and parquet rows that holds the text; '' reads JSON as the plain text it is."""
    json: bool = False
    """Print JSON instead of tables."""
    markdown: bool = False
    """Print Markdown instead of tables."""


def sweep_main(arguments: list[str]) -> int:
    from weightless.base.folder_lock import folder_lock
    from weightless.lab.tokenizer_sweep import checked_sizes

    options = parse(SweepOptions, "tokenizer sweep", arguments)
    checked_sizes(options.sizes, options.special)  # before a long reading
    most = _most_bytes(options.megabytes)
    with folder_lock(options.out):
        return _swept(options, most)


def _swept(options: SweepOptions, most: int) -> int:
    from weightless.cli.tokenizer_tables import show, sweep_table
    from weightless.lab.tokenizer_study import sample_of
    from weightless.lab.tokenizer_sweep import sweep

    train, held_out = _parts(options)
    samples = {"train": sample_of(train(), most, "the training text", show_progress=True)}
    first = next(iter(held_out()), None)
    if first is not None:
        samples["held-out"] = sample_of(held_out(), most, "the held-out text", show_progress=True)
    found = sweep(
        train(), options.sizes, samples, options.special, pattern=options.pattern, ties=options.ties, show_progress=True
    )
    if options.json:
        print(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        show(sweep_table(found), options.markdown)
        if first is None:
            print(f"fewer than {HELD_OUT_EVERY} documents: nothing was held out; give a text with --held-out")
        if found.exhausted:
            print(f"the text has no pair left to merge at {found.exhausted:,} tokens; larger sizes are left out")
    _write_sweep(found, samples, Path(options.out), options.json)
    return 0


def _parts(options: SweepOptions) -> tuple[Any, Any]:
    """Functions that iterate over the training documents and over the held-out ones."""
    from weightless.data.text.sources import open_source

    source = open_source(options.text, options.field, options.special)
    if options.held_out:
        other = open_source(options.held_out, options.field)
        return lambda: iter(source), lambda: iter(other)

    def part(is_held_out: bool) -> Iterator[bytes]:
        for number, document in enumerate(source):
            if (number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1) == is_held_out:
                yield document

    return lambda: part(False), lambda: part(True)


def _most_bytes(megabytes: float) -> int:
    if not 1e-3 <= megabytes <= 1e5:
        raise ConfigError(f"--megabytes {megabytes:g} should lie between 0.001 and 100000")
    return int(megabytes * 1e6)


def _named(items: Sequence[str]) -> list[tuple[str, str]]:
    """(name, path) of NAME=PATH or PATH; names are made distinct."""
    found: dict[str, str] = {}
    for item in items:
        name, mark, path = item.partition("=")
        if not mark or Path(item).exists():
            name, path = _short_name(Path(item)), item
        k = 2
        while name in found:
            name, k = f"{name.rstrip('0123456789 ')} {k}", k + 1
        found[name] = path
    return list(found.items())


def _short_name(path: Path) -> str:
    """gpt2.tiktoken -> gpt2; run/data/tokenizer.json -> data."""
    stem = path.name.split(".")[0]
    return path.resolve().parent.name if stem in ("tokenizer", "vocab", "merges", "") else stem


def _write_sweep(found: Sweep, samples: dict[str, Sample], folder: Path, quiet: bool) -> None:
    from weightless.base.files import write_json
    from weightless.lab.report.vocabulary import vocabulary_png, vocabulary_svg

    write_json(folder / "sweep.json", found.as_json())
    for size, tokenizer in found.tokenizers.items():
        tokenizer.save(folder / f"tokenizer_{size}.json")
    told = [f"{name}: {human_bytes(s.n_bytes)} of {human_bytes(s.corpus_bytes)}" for name, s in samples.items()]
    evidence = f"Byte-level BPE. Measured on documents spread evenly over the texts, {', '.join(told)}."
    if len(found.sizes) > 1:
        series = {corpus: found.series(corpus) for corpus in found.corpora}
        vocabulary_svg(series, folder / "sweep.svg", evidence)
        vocabulary_png(series, folder / "sweep.png", evidence)
    if not quiet:
        print(f"{folder}: sweep.json, {len(found.sizes)} tokenizers")
        print(
            f"picture: {folder / 'sweep.png'} (and sweep.svg)"
            if len(found.sizes) > 1
            else "no picture: one size makes no curve"
        )
