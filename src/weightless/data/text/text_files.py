"""Which files a source of text has, and what each of them is.

    files_under(folder, left_out)      every file once: recursively, links followed, sorted by path
    look(path, field) -> Look          kind text, json, parquet, empty or binary, by name and by content

Names: .json .jsonl .ndjson .jsonlines are JSON, .parquet is parquet, in any case and behind .gz .xz .zst.  Content:
parquet or rows of JSON under another name are read as what they are; a file that begins like JSON and does not go on so
is refused with the way out.  With an empty `field` no row of JSON has text, and JSON is the plain text that it is.

A link is followed, unless what it leads to is read already under its own name or under an earlier link; so every
file is read once, and loops end.  Hidden files and folders (a name that begins with a dot), empty and binary files,
and what is no file at all are left out and counted.  A folder that cannot be listed is an error.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from weightless.base.compressed import COMPRESSED, open_bytes, without_packing
from weightless.base.errors import WeightlessError
from weightless.data.text.documents import BOM
from weightless.data.text.json_rows import begins_like_json
from weightless.data.text.left_out import LeftOut

JSON_NAMES = (".json", ".jsonl", ".ndjson", ".jsonlines")
AS_TEXT = "--field '' reads JSON as the plain text it is"
_LOOKED_AT = 1 << 20
_MOST_INVALID = 0.30
_PACKED = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
_OTHER_UNICODE = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True)
class Look:
    """What a file is; `why` says it of a binary one."""

    kind: str
    why: str = ""
    is_by_content: bool = False


def look(path: Path, field: str) -> Look:
    """Read the first MiB; WeightlessError when a file could be JSON as well as text, or cannot be read."""
    with open_bytes(path) as stream:
        head = stream.read(_LOOKED_AT)
    inside = without_packing(path).suffix.lower()
    if not head:
        return Look("empty")
    if head.startswith(b"PAR1") or inside == ".parquet":
        if path.suffix.lower() in COMPRESSED:
            raise WeightlessError(f"{path}: parquet is packed inside already, and read where it lies; unpack the file")
        return Look("parquet")
    if why := _why_binary(head):
        return Look("binary", why)
    if not field:
        return Look("text")
    if inside in JSON_NAMES:
        return Look("json")
    found = begins_like_json(head.removeprefix(BOM), len(head) < _LOOKED_AT)
    if found == "unclear":
        raise WeightlessError(
            f"{path} begins like JSON, and what follows is something else: rename it .jsonl if it "
            f"holds rows of JSON; {AS_TEXT}"
        )
    return Look("json", is_by_content=True) if found == "yes" else Look("text")


def _why_binary(head: bytes) -> str:
    """Why a head is not text, or an empty string."""
    for begin, name in _OTHER_UNICODE.items():
        if head.startswith(begin):
            return f"it is {name}; convert it: iconv -f {name} -t UTF-8"
    for begin, ending in _PACKED.items():
        if head.startswith(begin):
            return f"it is packed; give it a name that ends with {ending}"
    if b"\0" in head:
        return "it holds NUL bytes"
    valid = len(head.decode("utf-8", errors="ignore").encode())
    if len(head) - valid > _MOST_INVALID * len(head):
        return "most of it is not UTF-8" if valid < len(head) / 2 else "too much of it is not UTF-8"
    return ""


def files_under(folder: Path, left_out: LeftOut) -> list[Path]:
    """The files of a folder, each under one name; what is left out is counted."""
    walk = _Walk(left_out)
    walk.enter(folder)
    while walk.links:
        walk.follow(walk.links.pop(0))
    return sorted(walk.files)


class _Walk:
    """A folder without its links first, then where they lead: what has a name of its own is read under that."""

    def __init__(self, left_out: LeftOut) -> None:
        self.files: list[Path] = []
        self.links: list[Path] = []
        self._left_out = left_out
        self._met: set[str] = set()

    def enter(self, folder: Path) -> None:
        waiting = [folder]
        while waiting:
            where = waiting.pop()
            self._met.add(os.path.realpath(where))
            for entry in self._entries(where):
                path = where / entry.name
                if entry.name.startswith("."):
                    self._left_out.add("hidden", entry.name)
                elif entry.is_symlink():
                    self.links.append(path)
                elif entry.is_dir(follow_symlinks=False):
                    if self._is_new(path):
                        waiting.append(path)
                else:
                    self._take(path)

    def follow(self, link: Path) -> None:
        if not link.exists():
            self._left_out.add("broken link", link.name)
        elif self._is_new(link):
            self.enter(link) if link.is_dir() else self._take(link)

    def _is_new(self, path: Path) -> bool:
        is_new = os.path.realpath(path) not in self._met
        if not is_new:
            self._left_out.add("met already", path.name)
        return is_new

    def _take(self, path: Path) -> None:
        if not path.is_file():
            self._left_out.add("not regular", path.name)
        elif self._is_new(path):
            self._met.add(os.path.realpath(path))
            self.files.append(path)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise WeightlessError(f"cannot read {folder}: {error.strerror}") from None
