"""Open whatever holds token ids: a file, a folder, a data set of the hub, as splits of rows.

    open_rows("train.bin" | "folder" | "rows.parquet" | "hub:OWNER/NAME:config" | "fineweb-edu-gpt2", options)

    our folder (manifest.json)      its shards, with its tokenizer
    folder with train.bin           nanoGPT: headerless uint16; splits train, val
    folder of NAME_train_000000.bin shards of llm.c, modded-nanogpt, Parameter Golf (sidecars.py: not its byte counts)
    folder of .parquet              splits by the names of the files (split_names.py)
    hub:…                           the same on the hub (hub.py)
    fineweb-edu-gpt2                FineWeb-edu in rows of 513 GPT-2 ids with pad_mask (kushalt), its own test split
    fineweb-edu-10bt-gpt2           FineWeb-edu 10BT in GPT-2 ids, rows of any length (alkibijad)

A .bin file that begins with the magic number is a shard.  Without it, only train.bin, val.bin and test.bin are taken
for headerless ids; another name needs `layout="uint16"`, so that a damaged shard is never read as ids.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightless.base.compressed import require_regular
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.imports.sidecars import refuse_sidecar, without_sidecars
from weightless.data.imports.token_parquet import ParquetRows, Reading
from weightless.data.imports.token_rows import FlatFiles, TokenSource, identity_of
from weightless.data.shards.corpus import MANIFEST, corpus
from weightless.data.shards.manifest import SPLITS
from weightless.data.shards.shards import MAGIC
from weightless.data.text import hub
from weightless.data.text.left_out import LeftOut
from weightless.data.text.source import name_of
from weightless.data.text.split_names import by_split, chosen, split_names
from weightless.data.text.text_files import files_under

LAYOUTS = ("auto", "shards", "uint16")
_BARE = ("train.bin", "val.bin", "test.bin")


@dataclass(frozen=True)
class KnownSet:
    """A public data set under a short name, and what its files do not say."""

    source: str
    tokenizer: str
    vocab_size: int
    end_of_text: int
    column: str
    mask_means: str = "auto"


GPT2 = "hub:openai-community/gpt2"
KNOWN = {
    "fineweb-edu-gpt2": KnownSet(
        "hub:kushalt/fineweb-edu-gpt2:sample-10BT_max_length_513", GPT2, 50257, 50256, "input_ids", "keep"
    ),
    "fineweb-edu-10bt-gpt2": KnownSet(
        "hub:alkibijad/fineweb-edu-sample-10BT-gpt2tokenized", GPT2, 50257, 50256, "values"
    ),
}


@dataclass(frozen=True)
class Rows:
    """Splits of one source; `open_split` makes the source of one."""

    name: str
    splits: list[str]
    vocab_size: int
    end_of_text: int | None
    open_split: Callable[[str], TokenSource]

    def source(self, split: str) -> TokenSource:
        return self.open_split(split)


def open_rows(spec: str, reading: Reading, layout: str = "auto") -> Rows:
    """The rows of `spec`, read as `reading` says; errors are raised here where the source can be seen to be wrong."""
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r}: one of {', '.join(LAYOUTS)}")
    known = KNOWN.get(spec)
    if known:
        own = {"column": known.column, "mask_means": known.mask_means}
        reading = dataclasses.replace(reading, **{k: v for k, v in own.items() if getattr(reading, k) in ("", "auto")})
    if known or spec.startswith(hub.PREFIX):
        return _on_hub(hub.parse(known.source, spec) if known else hub.parse(spec), reading)
    path = Path(spec)
    if not path.exists():
        raise WeightlessError(
            f"no such file or folder: {spec}; a data set of the hub is written hub:OWNER/NAME, and "
            f"{' and '.join(KNOWN)} are known by name"
        )
    if path.is_dir() and (path / MANIFEST).exists():
        return _prepared(path, reading)
    require_regular(path)
    left_out = LeftOut()
    files = files_under(path, left_out) if path.is_dir() else [path]
    left_out.tell(spec)
    tables = [file for file in files if file.suffix.lower() == ".parquet"]
    flat = [file for file in files if file.suffix.lower() == ".bin"]
    if bool(tables) == bool(flat):
        what = "both .parquet and .bin files: name one kind" if tables else "no .parquet and no .bin files"
        raise WeightlessError(f"{spec} holds {what}; text is imported by `weightless data prepare`")
    return _parquet(path, tables, reading) if tables else _flat(path, flat, reading, layout)


def _on_hub(name: hub.HubName, reading: Reading) -> Rows:
    repository = hub.repository(name)
    splits = repository.splits()

    def source(split: str) -> TokenSource:
        paths = chosen(splits, name.split or split, str(name))
        description = {"hub": name.repo, "config": name.config, "commit": repository.commit, "files": paths}
        names = [f"{name.repo}/{path}" for path in paths]
        return ParquetRows(names, lambda number: repository.fetch(paths[number]), description, reading)

    return Rows(name.repo.split("/")[1], split_names(splits), reading.vocab_size, reading.end_of_text, source)


def _parquet(root: Path, tables: list[Path], reading: Reading) -> Rows:
    folder = root if root.is_dir() else root.parent
    splits = by_split(file.relative_to(folder).as_posix() for file in tables)
    if not root.is_dir():
        splits = {"train": [root.name]}  # a single file is what is asked for, whatever its name says

    def source(split: str) -> TokenSource:
        paths = [folder / name for name in chosen(splits, split, str(root))]
        description = {"files": [identity_of(path) for path in paths]}
        return ParquetRows([str(path) for path in paths], paths.__getitem__, description, reading)

    return Rows(name_of(root), split_names(splits), reading.vocab_size, reading.end_of_text, source)


def _prepared(folder: Path, reading: Reading) -> Rows:
    found = corpus(folder)
    if reading.vocab_size not in (0, found.vocab_size):
        raise ConfigError(f"{folder} has a vocabulary of {found.vocab_size}, not {reading.vocab_size}")
    splits = [split for split in SPLITS if found.n_tokens(split)]

    def source(split: str) -> TokenSource:
        chosen({name: [] for name in splits}, split, str(folder))
        found.tokens(split)  # checks every byte: damage must not get a hash of its own in another folder
        return FlatFiles(found.shard_paths(split), found.vocab_size, header=True)

    return Rows(found.name, splits, found.vocab_size, found.end_of_text, source)


def _flat(root: Path, found: list[Path], reading: Reading, layout: str) -> Rows:
    files = found
    if root.is_dir():
        files, sidecars = without_sidecars(found)
        if sidecars:
            names = ", ".join(path.name for path in sidecars[:3]) + (" …" if len(sidecars) > 3 else "")
            print(
                f"{root}: left out {len(sidecars)} file(s) that lie beside the tokens and hold none: {names}; bytes "
                "are counted by the tokenizer",
                file=sys.stderr,
            )
    else:
        refuse_sidecar(root)
    folder = root if root.is_dir() else root.parent
    paths = {file.relative_to(folder).as_posix(): file for file in files}
    splits = by_split(paths) if root.is_dir() else {"train": [root.name]}

    def source(split: str) -> TokenSource:
        chosen_paths = [paths[name] for name in chosen(splits, split, str(root))]
        kinds = {_has_header(path, layout) for path in chosen_paths}
        if len(kinds) > 1:
            raise WeightlessError(f"{root} mixes shards and headerless files; name one kind")
        return FlatFiles(chosen_paths, reading.vocab_size, kinds.pop())

    return Rows(name_of(root), split_names(splits), reading.vocab_size, reading.end_of_text, source)


def _has_header(path: Path, layout: str) -> bool:
    """Whether to read a .bin file as a shard."""
    if layout != "auto":
        return layout == "shards"
    try:
        with open(path, "rb") as file:
            head = np.frombuffer(file.read(4).ljust(4, b"\0"), "<i4")
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    if head[0] == MAGIC:
        return True
    if path.name not in _BARE:
        raise CorruptFileError(
            f"{path} is no token shard: it begins with {head[0]}, not {MAGIC}; if it holds "
            "uint16 ids without a header, as nanoGPT writes them, say --layout uint16"
        )
    return False
