"""One writer per folder: whoever writes into a folder over some time holds its lock; a second one is told who does.

    with folder_lock("runs/dense"):            training, a run, a preparation, an import, a launch
    with folder_lock("runs/data", "part-003"): one of several that may work side by side, each under a name of its own

The lock is the operating system's (flock; a locked byte on Windows) on FOLDER/.weightless.lock, or on
FOLDER/.weightless.NAME.lock for a named share.  It ends with its process however that dies, so nothing has to be
guessed from process numbers; the content only says who holds it.  The whole folder and a share of it exclude each
other: each takes its own lock first and looks for the other's afterwards, so of two that come together one at least
sees the other.  Locks nest: whoever holds a folder may take it again.

What is left of a killed process is taken over, and told.  A process that was forked (not started) shares the lock of
its parent and keeps it while it lives, because it may still write.  Where nothing can be written (a read-only
folder), no lock is needed and none is taken; a file system without locks is told about.
Errors: InUse with who holds the folder, WeightlessError with why it cannot be written.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.file_lock import is_still_there, locked

LOCK = ".weightless.lock"
ANY_LOCK = ".weightless*.lock"
LONGEST_COMMAND = 160
_ATTEMPTS = 100
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRITER_SAYS_WHO = 0.05  # seconds between taking a lock and having said so, generously


class InUse(WeightlessError):
    """Somebody else writes there just now."""


_held: ContextVar[frozenset[tuple[str, str]]] = ContextVar("held folders", default=frozenset())


@contextmanager
def folder_lock(folder: str | Path, share: str = "") -> Iterator[None]:
    """Hold `folder`, or with `share` only work of that name in it; InUse when somebody else does.

    The folder is made if it is missing, and removed again if nothing was written into it.
    """
    folder = Path(folder)
    own, held = (os.path.realpath(folder), share), _held.get()
    if (own[0], "") in held or (share and any(path == own[0] for path, _ in held)):
        yield
        return
    path = folder / (f".weightless.{share}.lock" if share else LOCK)
    missing, owner = [place for place in (folder, *folder.parents) if not place.exists()], os.getpid()
    handle = _taken(folder, path)
    token = _held.set(held | {own})
    try:
        _refuse_rivals(folder, path, share)
        yield
    finally:
        _held.reset(token)
        if owner == os.getpid():  # not in a forked child, which would release its parent's lock
            _released(handle, path)
            for place in missing:
                with suppress(OSError):
                    place.rmdir()


def is_lock(path: Path) -> bool:
    """Whether a file of a folder is only a lock, and says nothing about what the folder holds."""
    return path.match(ANY_LOCK)


def _taken(folder: Path, path: Path) -> int | None:
    """The locked file, which says who locked it; None where nobody can write, or nothing can be locked."""
    while True:
        handle = _opened(folder, path)
        try:
            if handle is None:
                return None
            if not locked(handle):
                raise InUse(f"{folder} is in use: {_told(path)}")
            if is_still_there(handle, path):
                _introduce(handle, folder)
                taken, handle = handle, None
                return taken
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise WeightlessError(f"cannot lock {folder}: {error.strerror}") from error
            print(f"{folder}: its file system has no locks, so nothing keeps a second process out", file=sys.stderr)
            return None
        finally:
            if handle is not None:
                os.close(handle)


def _opened(folder: Path, path: Path) -> int | None:
    """The lock file, made if need be; None where nothing can be written."""
    no_follow = getattr(os, "O_NOFOLLOW", 0)  # what is written lands in this folder, and nowhere else
    for attempt in range(_ATTEMPTS):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return os.open(path, os.O_RDWR | os.O_CREAT | no_follow, 0o666)
        except FileNotFoundError as error:  # whoever held the folder has just removed it, empty
            if attempt == _ATTEMPTS - 1:
                raise WeightlessError(f"cannot write into {folder}: {error.strerror}") from error
        except OSError as error:
            if error.errno not in _NOT_WRITABLE or not folder.is_dir():
                reason = "it is a file, not a folder" if folder.is_file() else error.strerror
                raise WeightlessError(f"cannot write into {folder}: {reason}") from error
            break
    with suppress(OSError):
        return os.open(path, os.O_RDONLY | no_follow)  # that of another user, say
    return None


def _released(handle: int | None, path: Path) -> None:
    """The file goes first, while nobody else can hold it; then the lock."""
    if handle is not None:
        with suppress(OSError):
            os.ftruncate(handle, 0)  # where a file that is open cannot be removed (Windows)
            path.unlink()
        os.close(handle)


def _refuse_rivals(folder: Path, own: Path, share: str) -> None:
    """WeightlessError when the whole folder is held (for a share), or any share of it (for the whole)."""
    for rival in [folder / LOCK] if share else sorted(folder.glob(ANY_LOCK)):
        with suppress(OSError):
            if rival == own:
                continue
            handle = os.open(rival, os.O_RDWR)
            if not locked(handle):
                os.close(handle)
                raise InUse(f"{folder} is in use: {_told(rival)}")
            if is_still_there(handle, rival):
                _released(handle, rival)  # what a killed process has left
            else:
                os.close(handle)


def _introduce(handle: int, folder: Path) -> None:
    """Say in the locked file who holds it, and on standard error whom it was taken over from."""
    os.lseek(handle, 0, os.SEEK_SET)
    before = _holder(os.read(handle, 4096))
    command = shlex.join([_program(), *sys.argv[1:]])[:LONGEST_COMMAND]
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    own = {"pid": os.getpid(), "host": platform.node(), "command": command, "since": now}
    with suppress(OSError):  # on a full disk it stays a lock, one that does not say whose
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, json.dumps(own).encode())
    if before:
        print(f"{folder}: taken over from {before}, which did not end by itself", file=sys.stderr)


def _program() -> str:
    name = Path(sys.argv[0] if sys.argv else "").name
    return "weightless" if name in ("", "-m", "-c", "__main__.py") else name


def _told(path: Path) -> str:
    """Who holds a lock, and what to do."""
    time.sleep(_WRITER_SAYS_WHO)
    content = b""
    with suppress(OSError):
        content = path.read_bytes()[:4096]
    who = _holder(content) or "another process holds it"
    return f"{who}; wait for it, stop it, or choose another folder"


def _holder(content: bytes) -> str:
    """`process 123 on HOST (weightless train …) since 2026-…`; empty when the file does not say."""
    try:
        found: Any = json.loads(content)
        pid, host, command, since = (found[key] for key in ("pid", "host", "command", "since"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    told = f"process {pid} on {host} ({command}) since {since}"
    return "".join(letter if letter.isprintable() else "?" for letter in told)[:400]
