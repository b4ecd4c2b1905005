"""weightless data import: token ids that somebody else made, as a prepared corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.data.imports.row_sets import Rows
    from weightless.data.shards.corpus import TextEncoder

END_OF_TEXT = "<|endoftext|>"


@dataclass(frozen=True)
class Import:
    """Write token ids (parquet, shards, nanoGPT bins, the Hugging Face hub) as a prepared corpus."""

    source: Annotated[str, tyro.conf.Positional]
    """A .parquet or .bin file, a folder of them, hub:OWNER/NAME[:config][@revision], fineweb-edu-gpt2 or
    fineweb-edu-10bt-gpt2."""
    out: Annotated[str, tyro.conf.Positional]
    """The folder to write."""
    tokenizer: str = ""
    """The tokenizer of the ids, in any format (also a SentencePiece .model), or hub:OWNER/NAME (a model); needed for
    bits per byte."""
    vocab_size: int = 0
    """Instead of a tokenizer: ids lie below this.  Text and bits per byte stay unknown."""
    end_of_text: int = -1
    """The id between documents, when there is no tokenizer to tell."""
    max_tokens: int = 0
    """Train on so many tokens at most; 0 means all."""
    split: str = "train"
    """The split to train on."""
    validation: str = "auto"
    """auto (the source's own), a split, another source, first:N or last:N tokens of the training split, or none."""
    max_validation_tokens: int = 0
    """Validate on so many tokens at most; 0 means all."""
    column: str = ""
    """The parquet column of ids; input_ids, values, tokens or text when empty."""
    mask: str = ""
    """The parquet column of the mask; pad_mask, attention_mask or loss_mask when empty; none to ignore it."""
    mask_means: str = "auto"
    """What a 1 of the mask means: keep, pad, or auto."""
    rows_are_documents: bool = False
    """Put <|endoftext|> before each row of a parquet file that does not begin with it."""
    layout: str = "auto"
    """Of .bin files: shards (with a header), uint16 (without), or auto."""
    name: str = ""
    """Of the shards; that of the source when empty."""
    shard_tokens: int = 100_000_000
    """Tokens per shard at most."""
    overwrite: bool = False
    """Replace another corpus in the folder."""


def run(arguments: list[str]) -> int:
    from weightless.data.imports.import_tokens import import_tokens

    options = parse(Import, "data import", arguments)
    tokenizer = _tokenizer(options)
    rows = _rows(options.source, options, tokenizer)
    validation: Any = options.validation
    if _is_source(validation, rows):
        validation = _rows(validation, options, tokenizer)
    found = import_tokens(
        rows,
        options.out,
        options.name,
        tokenizer=tokenizer,
        split=options.split,
        validation=validation,
        max_tokens=options.max_tokens or None,
        max_validation_tokens=options.max_validation_tokens or None,
        shard_tokens=options.shard_tokens,
        overwrite=options.overwrite,
    )
    for split, entry in found.manifest["splits"].items():
        told = [f"{entry['tokens']:,} tokens"]
        told += [f"{entry['documents']:,} documents"] if entry["documents"] is not None else []
        if entry["bytes"] is not None:
            per_token = entry["bytes"] / max(1, entry["tokens"])
            told.append(f"{human_bytes(entry['bytes'])}, {per_token:.3f} bytes per token")
        told += [f"{entry['pads_left_out']:,} paddings left out"] if entry.get("pads_left_out") else []
        print(f"{split}: {', '.join(told)}")
        if why := entry.get("bits_per_byte_refused"):
            print(f"{split}: bits per byte will be refused: {why}")
    if not found.has_tokenizer:
        print("no tokenizer: losses are in nats per token, bits per byte and text are not available")
    return 0


def _is_source(validation: str, rows: Rows) -> bool:
    from weightless.data.imports.row_sets import KNOWN
    from weightless.data.text.hub import PREFIX

    is_named = validation in KNOWN or validation.startswith(PREFIX)
    return is_named or (validation not in (*rows.splits, "auto", "none") and Path(validation).exists())


def _rows(source: str, options: Import, tokenizer: TextEncoder | None) -> Rows:
    from weightless.data.imports.row_sets import KNOWN, open_rows
    from weightless.data.imports.token_parquet import Reading

    known = KNOWN.get(source)
    if tokenizer is not None:
        if options.end_of_text >= 0:
            raise ConfigError(f"{source} brings a tokenizer, which says which id ends a text: leave --end_of_text out")
        vocab_size, end_of_text = tokenizer.vocab_size, tokenizer.end_of_text
    else:
        vocab_size = options.vocab_size or (known.vocab_size if known else 0)
        end_of_text = known.end_of_text if known and known.vocab_size == vocab_size else None
        end_of_text = options.end_of_text if options.end_of_text >= 0 else end_of_text
    if end_of_text is not None and not 0 <= end_of_text < (vocab_size or 1 << 16):
        raise ConfigError(f"--end_of_text {end_of_text} is not an id below {vocab_size}")
    reading = Reading(
        vocab_size, end_of_text, tokenizer, options.column, options.mask, options.mask_means, options.rows_are_documents
    )
    rows = open_rows(source, reading, options.layout)
    if not rows.vocab_size:
        raise ConfigError(f"{source} does not say which ids it can hold: give --tokenizer, or --vocab_size")
    return rows


def _tokenizer(options: Import) -> TextEncoder | None:
    """The tokenizer asked for, or the one that is known to belong to the source."""
    from weightless.data.imports.row_sets import KNOWN
    from weightless.data.shards.corpus import MANIFEST, corpus
    from weightless.data.text.hub import PREFIX

    if options.tokenizer and (options.vocab_size or options.end_of_text >= 0):
        raise ConfigError(
            "a tokenizer says how large its vocabulary is and which id ends a text: "
            "leave --vocab_size and --end_of_text out"
        )
    name = options.tokenizer
    if not name and not options.vocab_size:
        if (Path(options.source) / MANIFEST).exists():
            found = corpus(options.source)
            return found.tokenizer() if found.has_tokenizer else None
        name = KNOWN[options.source].tokenizer if options.source in KNOWN else ""
    if not name:
        return None
    typed = "" if options.tokenizer else f"the tokenizer of {options.source}"
    return _opened(_downloaded(name, typed) if name.startswith(PREFIX) else Path(name))


def _opened(path: Path) -> TextEncoder:
    from weightless.tokenizer.opening import open_tokenizer

    return open_tokenizer(path)


def _downloaded(name: str, typed: str) -> Path:
    """vocab.json and merges.txt, tokenizer.model or tokenizer.json of a model on the hub."""
    from weightless.data.text import hub

    repository = hub.repository(hub.parse(name, typed), "model")
    for wanted in (("vocab.json", "merges.txt"), ("tokenizer.model",), ("tokenizer.json",)):
        if all(file in repository.files for file in wanted):
            return [repository.fetch(file) for file in wanted][0]
    raise ConfigError(f"{name} has neither vocab.json and merges.txt, nor a tokenizer.model or tokenizer.json")
