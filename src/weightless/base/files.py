"""Files that are either whole or absent: write beside, fsync, rename.

A reader never sees half a file, and a full disk or a killed process leaves what was there before.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from weightless.base.errors import CorruptFileError, WeightlessError


@contextmanager
def atomic_writer(path: str | Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success fsync and rename, on any error remove it.

    Raises WeightlessError when the folder cannot be written or the disk is full; `path` is then untouched.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        encoding = None if "b" in mode else "utf-8"
        with os.fdopen(handle, mode.replace("w", "w+"), encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _give_usual_permissions(temporary)
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise WeightlessError(f"cannot write {path}: {reason}; what was there before is untouched") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write bytes or UTF-8 text to `path`, atomically."""
    with atomic_writer(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_json(path: str | Path, value: object) -> None:
    """Write JSON with sorted structure kept as given, two-space indent, final newline, atomically."""
    atomic_write(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; WeightlessError when missing, CorruptFileError when not JSON."""
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is not valid JSON ({error})") from error


def append_line(path: str | Path, line: str) -> None:
    """Append one line and flush it to the disk (for logs that must survive a kill)."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WeightlessError(f"cannot append to {path}: {error.strerror}") from error


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's content, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _give_usual_permissions(path: str) -> None:
    """mkstemp makes files private (0600); give what open() would have given."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable (POSIX only; Windows cannot open folders)."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
