"""Which split a data file belongs to, told by its name, as data sets on the Hugging Face hub name their files.

    train-00000-of-00061.parquet             train
    data/train_000001-00000-of-00003.parquet train_000001, one of the pieces of train
    validation/0001.parquet                  validation
    sample/10BT/000_00000.parquet            train (no name says otherwise)

    by_split(paths) -> {"train": [...], "test": [...]}      paths sorted within a split
    chosen(splits, "train")                                 train, or train_000001, train_000002, … in order

Paths have forward slashes, as on the hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from weightless.base.errors import WeightlessError, nearest

WORDS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")
_ALIAS = {"training": "train", "testing": "test"}
_NUMBERED = re.compile(r"([A-Za-z][\w.]*?)-\d+-of-\d+$")
_WORD = re.compile(rf"(?<![A-Za-z])({'|'.join(WORDS)})(?![A-Za-z])")


def split_of(path: str) -> str:
    """The split of one file."""
    pure = PurePosixPath(path)
    if found := _NUMBERED.match(pure.stem):
        return _ALIAS.get(found[1], found[1])
    for name in (pure.stem, *reversed(pure.parts[:-1])):
        if found := _WORD.search(name):
            return _ALIAS.get(found[1], found[1])
    return "train"


def by_split(paths: Iterable[str]) -> dict[str, list[str]]:
    """The files of every split, in order."""
    splits: dict[str, list[str]] = {}
    for path in sorted(paths):
        splits.setdefault(split_of(path), []).append(path)
    return splits


def chosen(splits: Mapping[str, Sequence[str]], wanted: str, where: str) -> list[str]:
    """The files of a split, or of all its numbered pieces; WeightlessError naming the splits that are there."""
    names = [wanted] if wanted in splits else sorted(n for n in splits if re.fullmatch(rf"{re.escape(wanted)}_\d+", n))
    if not names:
        raise WeightlessError(f"{where} has no split {wanted!r}: {nearest(wanted, splits)}")
    return [path for name in names for path in splits[name]]


def split_names(splits: Mapping[str, Sequence[str]]) -> list[str]:
    """The splits a person can ask for: numbered pieces of a split stand together under its name too."""
    whole = {re.sub(r"_\d+$", "", name) for name in splits}
    return sorted(whole | set(splits))
