"""deck.json: what a model under test was given, so that a grade says to what question it is the answer (floor 9).

    {"deck": 1, "name", "model", "variant", "made", "version", "commit", "cards": {card: {file: SHA-256}}}

A folder without it (made by hand, or by another program) can be graded, as `clarified`, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, CorruptFileError, NewerFileError, WeightlessError
from weightless.base.files import read_json, sha256_file, write_json

Variant = Literal["literal", "clarified"]
FILE, VERSION = "deck.json", 1


@dataclass(frozen=True)
class Given:
    """The content of deck.json; `model` is who answers, `name` the folder of this one attempt."""

    name: str
    model: str
    variant: Variant
    made: str
    version: str
    commit: str
    cards: dict[str, dict[str, str]]
    deck: int = VERSION

    def write(self, folder: Path) -> None:
        """Write it into the folder of an attempt."""
        write_json(folder / FILE, asdict(self))

    def changed(self, folder: Path) -> list[str]:
        """Files that are no longer what was given (gone or altered), as card/file."""
        return [f"{card}/{name}" for card, files in self.cards.items() for name in _altered(folder / card, files)]


def _altered(folder: Path, files: dict[str, str]) -> Iterable[str]:
    for name, known in files.items():
        try:
            same = sha256_file(folder / name) == known
        except WeightlessError:
            same = False
        if not same:
            yield name


def read_given(folder: Path) -> Given:
    """deck.json of a folder.  Raises WeightlessError when there is none, CorruptFileError when it is something else."""
    path = folder / FILE
    if not folder.is_dir():
        raise WeightlessError(f"no such folder: {folder}; make it with: weightless deck deploy -n {folder.name}")
    if not path.exists():
        raise WeightlessError(f"{folder} has no {FILE}: it was not made by weightless deck deploy")
    found = read_json(path)
    version = found.get("deck") if isinstance(found, dict) else None
    if type(version) is int and version > VERSION:
        raise NewerFileError(f"{path} is of version {version}, this program knows {VERSION}: update weightless")
    try:
        return from_dict(Given, found)
    except ConfigError as error:
        raise CorruptFileError(f"{path}: {error}; it says what was given, make the folder anew") from None


def is_attempt(folder: Path) -> bool:
    """Whether a folder holds a deck.json, of whatever content."""
    return (folder / FILE).is_file()


def attempts_in(folders: Iterable[str | Path]) -> list[Path]:
    """The attempts that are meant: folders with a deck.json, or those inside folders without one, each once.

    Raises WeightlessError for a folder that holds none.
    """
    found: dict[Path, Path] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise WeightlessError(f"no such folder: {folder}")
        inside = (
            [folder]
            if is_attempt(folder)
            else sorted(p for p in folder.iterdir() if is_attempt(p) and p.name[0] != ".")
        )
        if not inside:
            raise WeightlessError(f"{folder} holds no attempt: no {FILE} in it nor in the folders in it")
        for path in inside:
            found.setdefault(path.resolve(), path)
    return list(found.values())
