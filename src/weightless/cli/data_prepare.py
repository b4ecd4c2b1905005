"""weightless data prepare: text to shards, on all cores, in parts, on several machines."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.cores import cores
from weightless.base.errors import ConfigError
from weightless.base.folder_lock import folder_lock
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.data.shards.corpus import Corpus
    from weightless.data.shards.parts import Part
    from weightless.data.text.source import Source
    from weightless.tokenizer.opening import AnyTokenizer


@dataclass(frozen=True)
class Prepare:
    """Split a text by document, train a tokenizer on the training part (or use a given one), write uint16 shards."""

    out: Annotated[str, tyro.conf.Positional]
    """The folder to write."""
    text: str = "docs"
    """docs, fables, a file, a folder (text, JSON, parquet; also .gz .xz .zst), or hub:OWNER/NAME[:config]."""
    validation: str = ""
    """A held-out text, instead of a part split off."""
    tokenizer: str = ""
    """A tokenizer.json of ours, or a SentencePiece .model; empty trains one."""
    vocab_size: int = 4096
    """Tokens of the tokenizer that is trained: 256 bytes, merges and special tokens."""
    field: str = "text"
    """The field of JSON and parquet rows that holds the text; '' reads JSON as the plain text it is."""
    val_fraction: float = 0.05
    """The share of the documents that validates, drawn by their hashes; 0: none, a corpus to train on only."""
    val_first: int = 0
    """Validate on the first so many documents instead."""
    val_last: int = 0
    """Validate on the last so many documents instead."""
    max_overlap: float | None = None
    """Drop validation documents of whose 13-word-grams more than this share stands in the training text.  Without the
    flag 0.2 where they were drawn by hash, and 1 (none is dropped, what overlaps is told) where you named them."""
    workers: int = 0
    """Threads that encode; 0 means one per core.  The files do not depend on it."""
    shard: str = ""
    """Make only part i/n (1/16 … 16/16), on any machine that sees the folder; needs --tokenizer."""
    merge: bool = False
    """Finish a folder whose parts are all made (the part that ends last does it by itself)."""
    shards: int = 0
    """Make all of so many parts, each a process, job or task of its own; needs --tokenizer."""
    launcher: str = "local"
    """What runs them: local, slurm or ray (weightless launch has more options)."""
    n_parallel: int = 0
    """At most so many parts at a time; 0 means what the launcher takes."""


def run(arguments: list[str]) -> int:
    options = parse(Prepare, "data prepare", arguments)
    if sum((bool(options.shard), options.merge, bool(options.shards))) > 1:
        raise ConfigError("--shard makes one part, --shards all of them, --merge finishes: give one of the three")
    if options.workers < 0 or options.shards < 0 or options.n_parallel < 0:
        raise ConfigError("--workers, --shards and --n_parallel are at least 0")
    _split_rule(options)  # refuses two ways to validate at once
    if (options.shard or options.shards) and not options.tokenizer:
        raise ConfigError(
            "parts need a tokenizer that all of them share: weightless tokenizer train TEXT --out tokenizer.json, then "
            "--tokenizer tokenizer.json"
        )
    if options.shards:
        with folder_lock(options.out, "parts"):  # not the whole folder: each part is a process of its own
            corpus = _all_parts(options)
    elif options.shard:
        corpus = _one_part(options)
    elif options.merge:
        from weightless.data.shards.parts import merge

        corpus = merge(options.out)
    else:
        corpus = _whole(options)
    _show(corpus, options)
    return 0


def _show(corpus: Corpus | None, options: Prepare) -> None:
    from weightless.data.shards.corpus import BYTES_OF_DECODED
    from weightless.data.text.split import split_notes, val_share
    from weightless.tokenizer import Tokenizer

    if corpus is None:
        print(f"part {options.shard} is done; the others are not yet")
        return
    manifest = corpus.manifest
    for split, entry in manifest["splits"].items():
        share = f", {val_share(manifest):.1%} of the text" if split == "val" else ""
        print(
            f"{split}: {entry['documents']:,} documents, {human_bytes(entry['bytes'])}, {entry['tokens']:,} tokens, "
            f"{entry['bytes'] / max(1, entry['tokens']):.3f} bytes per token{share}"
        )
        _show_text(split, entry)
    for key, title in (("left_out", "left out"), ("noticed", "noticed")):
        if counts := manifest.get(key):
            print(f"{title}: " + ", ".join(f"{n:,} {reason}" for reason, n in counts.items()))
    print(*split_notes(manifest), sep="\n", end="\n" if split_notes(manifest) else "")
    if manifest.get("bytes_are") == BYTES_OF_DECODED and not corpus.why_refused("val"):
        ours = isinstance(corpus.tokenizer(), Tokenizer)
        what = "composes characters (NFC)" if ours else "rewrites white space and compatibility characters"
        print(f"the tokenizer {what}: bits per byte are per byte of the text that the tokens decode to")


def _show_text(split: str, entry: dict[str, Any]) -> None:
    """What the tokens keep of the text."""
    if entry.get("source_bytes") is not None:
        print(
            f"{split}: {entry['source_bytes']:,} bytes of source, the tokens decode to {entry['bytes']:,}, "
            f"{entry['unknown_tokens']:,} unknown tokens"
        )
    if why := entry.get("bits_per_byte_refused"):
        print(f"{split}: bits per byte will be refused: {why}")


def _whole(options: Prepare) -> Corpus:
    from weightless.data.shards.prepare import prepare
    from weightless.lab.corpora import prepared
    from weightless.lab.recipe import DataRecipe

    workers = options.workers or None
    if options.tokenizer:
        source, tokenizer, settings = _inputs(options)
        return prepare(source, tokenizer, options.out, workers=workers, **settings)
    recipe = DataRecipe(
        options.text,
        options.validation,
        options.field,
        options.val_fraction,
        options.val_first,
        options.val_last,
        vocab_size=options.vocab_size,
    )
    recipe = dataclasses.replace(recipe, max_overlap=_split_rule(options)["max_overlap"])
    return prepared(recipe, Path(options.out), workers=workers, tell=False)


def _inputs(options: Prepare) -> tuple[Source, AnyTokenizer, dict[str, Any]]:
    from weightless.data.text.sources import open_source
    from weightless.tokenizer.opening import load_saved

    source = open_source(options.text, options.field)
    held_out = open_source(options.validation, options.field) if options.validation else None
    settings = {
        "validation": held_out,
        "fraction": options.val_fraction,
        "first": options.val_first,
        "last": options.val_last,
        "max_overlap": options.max_overlap,
    }
    return source, load_saved(options.tokenizer), settings


def _split_rule(options: Prepare) -> dict[str, Any]:
    from weightless.data.text.split import split_rule

    return split_rule(
        bool(options.validation), options.val_fraction, options.val_first, options.val_last, options.max_overlap
    )


def _one_part(options: Prepare) -> Corpus | None:
    from weightless.data.shards.parts import part_of, prepare_part

    part: Part = part_of(options.shard)
    source, tokenizer, settings = _inputs(options)
    return prepare_part(source, tokenizer, options.out, part, workers=options.workers or None, **settings)


def _all_parts(options: Prepare) -> Corpus:
    """Plan here, so that the parts need not; then launch them; then merge, in case the last two ended together."""
    from weightless.data.shards.parts import Part, merge, missing_parts
    from weightless.lab.launch import launch
    from weightless.lab.launchers import LAUNCHERS

    n, n_parallel, workers = options.shards, options.n_parallel or None, options.workers
    Part(1, n)  # refuses what is too many
    source, tokenizer, settings = _inputs(options)
    missing = missing_parts(source, tokenizer, options.out, n, **settings)
    if not workers and options.launcher == "local":
        workers = max(1, cores() // min(n, n_parallel or LAUNCHERS["local"].width(n)))
    logs = Path(options.out) / "launch"
    commands = [_command(options, i, workers) for i in missing]
    if commands:
        print(f"{len(missing)} of {n} parts to make; logs: {logs}", file=sys.stderr)
    launch(
        commands, logs, options.launcher, names=[f"part-{i:03d}" for i in missing], n_parallel=n_parallel, again=True
    )
    return merge(options.out)


def _command(options: Prepare, i: int, workers: int) -> list[str]:
    """The command line of one part."""
    own = dataclasses.replace(options, shard=f"{i}/{options.shards}", workers=workers, shards=0)
    words = ["data", "prepare", options.out]
    for field in dataclasses.fields(own):
        value = getattr(own, field.name)
        if field.name not in ("out", "merge", "launcher", "n_parallel") and value != field.default:
            words += [f"--{field.name}", str(value)]
    return words
