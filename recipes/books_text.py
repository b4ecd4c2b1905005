"""Rebuild the text of the books results: python recipes/books_text.py CLONE OUT

    git clone https://github.com/mlschmitt/classic-books-markdown CLONE
    git -C CLONE checkout 9448827
    python recipes/books_text.py CLONE OUT          writes OUT/books_train.txt and OUT/books_valid.txt

The titles are all in the public domain.  books_files.txt beside this script lists 276 of the repository's files in
order, one a line: split, tab, path (263 train, 13 valid).  Each file is read as UTF-8, its CRLF and CR become LF, white
space at both ends goes, and "\\n<|endoftext|>\\n" follows.  SHA-256 of both results is checked before either gets its
name, so what is there is the text that was trained on and scored, to the byte, or nothing.  Needs nothing but Python.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

COMMIT = "9448827"
REPOSITORY = "https://github.com/mlschmitt/classic-books-markdown"
CLONE_IS = f"CLONE is a clone of {REPOSITORY} at commit {COMMIT}"
LIST = Path(__file__).with_name("books_files.txt")
SHA256 = {
    "train": "f3ae6972f768c3bff34d2691381d1cef65f1bc4e5a939b9b9949e09a46b16fde",
    "valid": "9660db8bc6017ae6a4d7a370da77a578959788160935a2130f2d897dc28dc560",
}
END = b"\n<|endoftext|>\n"


class BooksError(Exception):
    """What is wrong, where, and what to do: one line."""


def listed() -> dict[str, list[str]]:
    """The paths of each split, in order."""
    paths: dict[str, list[str]] = {split: [] for split in SHA256}
    for line in LIST.read_text(encoding="utf-8").rstrip("\n").split("\n"):
        split, _, path = line.partition("\t")
        paths[split].append(path)
    return paths


def document(path: Path) -> bytes:
    """One book as it stands in the text."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise BooksError(f"no such file: {path}; {CLONE_IS}") from None
    except UnicodeDecodeError as error:
        raise BooksError(f"{path} is not UTF-8 (byte {error.start}); {CLONE_IS}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n").strip().encode() + END


def documents(clone: Path, split: str) -> Iterator[bytes]:
    """The books of a split."""
    return (document(clone / path) for path in listed()[split])


def rebuild(clone: Path, out: Path) -> list[Path]:
    """Both files, under their names only when both have their hashes; BooksError otherwise."""
    if not clone.is_dir():
        raise BooksError(f"{clone} is no folder; {CLONE_IS}")
    out.mkdir(parents=True, exist_ok=True)
    names = {split: out / f"books_{split}.txt" for split in SHA256}
    halves = {split: out / f".books_{split}.{os.getpid()}.part" for split in SHA256}
    try:
        for split, half in halves.items():
            found = _write(documents(clone, split), half)
            if found != SHA256[split]:
                raise BooksError(
                    f"the {split} text of {clone} has SHA-256 {found[:12]}…, not {SHA256[split][:12]}…: "
                    f"another commit, or changed files; git -C {clone} checkout {COMMIT}"
                )
        for split, half in halves.items():
            os.replace(half, names[split])
    finally:
        for half in halves.values():
            half.unlink(missing_ok=True)
    return list(names.values())


def _write(texts: Iterator[bytes], path: Path) -> str:
    """Write them one after another; the SHA-256 of all."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for text in texts:
            digest.update(text)
            file.write(text)
    return digest.hexdigest()


def main(arguments: Sequence[str]) -> int:
    if list(arguments) in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if len(arguments) != 2:
        print(f"books_text: give CLONE and OUT, two folders; {CLONE_IS}", file=sys.stderr)
        return 2
    try:
        for path in rebuild(Path(arguments[0]), Path(arguments[1])):
            print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 as published")
    except BooksError as error:
        print(f"books_text: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"books_text: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
