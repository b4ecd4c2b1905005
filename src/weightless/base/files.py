"""Files that are either whole or absent: write beside, fsync, rename.

A reader never sees half a file, and a full disk or a killed process leaves what was there before.  What a killed
writer has left beside a file goes when that file is written again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.file_lock import is_still_there, locked

_CAN_MOVE_OPEN_FILES = os.name == "posix"


@contextmanager
def atomic_writer(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success fsync and rename, on any error remove it.

    Raises WeightlessError when the folder cannot be written or the disk is full; `path` is then untouched.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise WeightlessError(f"cannot write {path}: it is a device or a pipe, which a file would replace; name a file")
    temporary = path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
        temporary, opened = _create(path, mode)
        with opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if _CAN_MOVE_OPEN_FILES:  # while it is locked: nobody may take it for a leftover
                os.replace(temporary, path)
        if not _CAN_MOVE_OPEN_FILES:
            os.replace(temporary, path)
    except OSError as error:
        ours = (temporary, path, *path.parents)
        if isinstance(error.filename, str) and Path(error.filename) not in ours:
            raise  # the caller's own trouble with another file
        reason = error.strerror or str(error)
        raise WeightlessError(f"cannot write {path}: {reason}; what was there before is untouched") from error
    finally:
        if temporary != path:
            with suppress(OSError):
                temporary.unlink()
    _sync_folder(path.parent)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write bytes or UTF-8 text to `path`, atomically; a lone surrogate (of a name that is no text) as its escape."""
    with atomic_writer(path) as file:
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def write_json(path: str | Path, value: object) -> None:
    """Write JSON with sorted structure kept as given, two-space indent, final newline, atomically."""
    atomic_write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def text_lines(content: bytes) -> list[str]:
    r"""The lines of a UTF-8 text, without their ends; UnicodeDecodeError for any other.

    A line ends at \n or \r\n and nowhere else (str.splitlines also cuts at U+2028, form feeds and lone \r, which may
    stand in a line of JSON or in a prompt).  The last line may lack its end; a byte-order mark is no part of the first.
    """
    lines = content.decode("utf-8-sig").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def json_line(value: object) -> str:
    """JSON in one line, for readers that cut at line feeds and for those that cut at any line separator."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace").decode()
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029").replace("\x85", "\\u0085")


def read_json(path: str | Path, finite: bool = False) -> Any:
    """Read a JSON file; WeightlessError when missing, CorruptFileError when not JSON.

    With `finite`, NaN and infinity are read as null: they say no more, and `write_json` could not write them on.
    """
    path, kind = Path(path), _finite if finite else None
    try:
        return json.loads(path.read_bytes(), parse_float=kind, parse_constant=kind)
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is not valid JSON ({error})") from error


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def append_line(path: str | Path, line: str) -> None:
    """Append one line and flush it to the disk (for logs that must survive a kill).

    A half line that a kill left at the end is closed first, so that it cannot swallow the new one.
    """
    try:
        with open(path, "ab+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            torn = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * torn + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WeightlessError(f"cannot append to {path}: {error.strerror}") from error


def read_log(path: str | Path, is_whole: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The JSON objects of a log that `append_line` wrote, one a line; none when there is no such file.

    A line that is no object, or not `is_whole`, was torn by a kill or a full disk: it is left out, which one message
    on standard error says for all of them.
    """
    path = Path(path)
    try:
        texts = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    lines, torn = [], []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict) and is_whole(line):
            lines.append(line)
        else:
            torn.append(number)
    if torn:
        some = ", ".join(map(str, torn[:5])) + (", …" if len(torn) > 5 else "")
        print(f"{path}: line {some} is torn and left out", file=sys.stderr)
    return lines


def is_number(value: Any) -> bool:
    """Whether a value of a log is a finite number, and no integer beyond any float."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's content, read in blocks of 1 MiB; WeightlessError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def _prefix(path: Path) -> str:
    """How the names of temporary files begin; a name may be as long as the file system allows, so not all of it."""
    return f".{path.name[:40]}."


def _clear_leftovers(path: Path) -> None:
    """Take away what killed writers of `path` have left: one that still writes holds the lock of its file."""
    if not _CAN_MOVE_OPEN_FILES:  # then a file is moved unlocked, and looks like a leftover for a moment
        return
    for leftover in path.parent.glob(f"{glob.escape(_prefix(path))}????????.part"):
        with suppress(OSError), open(leftover, "rb+") as file:
            if locked(file.fileno()):
                leftover.unlink()


def _create(path: Path, mode: str) -> tuple[Path, IO[Any]]:
    """A file beside `path` that did not exist, locked, with the permissions open() would have given `path`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    while True:
        temporary = path.parent / f"{_prefix(path)}{secrets.token_hex(4)}.part"
        handle = os.open(temporary, flags, 0o666)
        ours = True
        with suppress(OSError):  # a file system without locks: then nobody clears it either
            ours = locked(handle)
        if ours and is_still_there(
            handle, temporary
        ):  # else another writer took it for a leftover before it was locked
            break
        os.close(handle)
    os.lseek(handle, 0, os.SEEK_SET)
    if path.is_file():
        os.chmod(temporary, path.stat().st_mode & 0o777)
    return temporary, os.fdopen(handle, mode.replace("w", "w+"), encoding=None if "b" in mode else "utf-8")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can sync folders (not on Windows, nor on every share)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
