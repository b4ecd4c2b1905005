"""Floor 9.  Who works on a unit: a lease that its owner keeps alive, and that others may take when it is not.

    LEASES/NAME.0001.json    {"host", "pid", "since"}; its time of change is the heartbeat

Everybody may take a unit whose newest lease is dead, by making the next number with O_EXCL: of several that try, one
succeeds, and nobody ever removes a lease that another one may hold.  A lease is dead when its heartbeat is older than
STALE seconds by the clock of the file system (each machine's own may differ), and on its owner's machine as soon as the
operating system's lock on it is gone, which ends with the process however that dies.  A file system without locks is
left the heartbeat.  An owner that was only asleep loses its lease and goes on: units leave whole files, and the same
ones, so the work is done twice and nothing else.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.file_lock import locked

BEAT, STALE = 10.0, 90.0
"""Seconds between heartbeats, and from the last one until a machine counts as lost."""


@dataclass(frozen=True)
class Holder:
    """The newest lease of a unit: whose, and whether its owner is still there."""

    number: int
    is_alive: bool
    told: str


def holder(folder: Path, name: str, stale: float = STALE) -> Holder | None:
    """Who holds the unit, or held it when its machine was lost; None when nobody does."""
    while True:
        numbers = _numbers(folder, name)
        if not numbers:
            return None
        path = _path(folder, name, numbers[-1])
        with suppress(FileNotFoundError):  # given back meanwhile: look again
            return _looked_at(path, numbers[-1], stale)


@contextmanager
def lease(folder: Path, name: str, stale: float = STALE, beat: float = BEAT) -> Iterator[bool]:
    """Take the unit for as long as the block lasts; False when somebody else has it."""
    before = holder(folder, name, stale)
    path = None if before is not None and before.is_alive else _path(folder, name, before.number + 1 if before else 1)
    handle = _created(path) if path is not None else None
    if path is None or handle is None:
        yield False
        return
    if before is not None:
        print(f"{name}: taken up from {before.told}, which was lost", file=sys.stderr)
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(path, ended, beat), daemon=True)
    thread.start()
    owner = os.getpid()
    try:
        yield True
    finally:
        ended.set()
        if owner == os.getpid():  # not in a forked child
            thread.join()
            for number in _numbers(folder, name):  # the lost ones before it go first, so that none seems the newest
                if (old := _path(folder, name, number)) != path and number < _number(path):
                    old.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            os.close(handle)


def _beat(path: Path, ended: threading.Event, beat: float) -> None:
    while not ended.wait(beat):
        with suppress(OSError):  # a share that is away for a moment
            os.utime(path)


def _created(path: Path) -> int | None:
    """The lease, made and locked, with its owner's name; None when another one was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    except OSError as error:
        raise WeightlessError(f"cannot write into {path.parent}: {error.strerror}") from error
    with suppress(OSError):  # a file system without locks
        locked(handle)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    os.write(handle, json.dumps({"host": platform.node(), "pid": os.getpid(), "since": now}).encode())
    return handle


def _looked_at(path: Path, number: int, stale: float) -> Holder:
    said = _said(path)
    told = f"process {said['pid']} on {said['host']} (since {said['since']})" if said else "a process"
    told = "".join(letter if letter.isprintable() else "?" for letter in told)[:200]
    is_young = _now(path.parent) - path.stat().st_mtime <= stale
    if said is None or said["host"] != platform.node():  # one that is being written says nothing yet
        return Holder(number, is_young, told)
    return Holder(number, is_young and not _is_unlocked(path), told)


def _said(path: Path) -> dict[str, Any] | None:
    try:
        said = json.loads(path.read_bytes()[:4096])
        return {key: said[key] for key in ("host", "pid", "since")}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _is_unlocked(path: Path) -> bool:
    """Whether its owner, on this machine, is gone; False where files cannot be locked."""
    handle = os.open(path, os.O_RDWR)
    try:
        free = locked(handle)
    except OSError:
        free = False
    finally:
        os.close(handle)
    return free and _has_locks(path.parent)


def _has_locks(folder: Path) -> bool:
    """Whether a locked file is refused to a second one who opens it (some shares let everybody lock)."""
    path = folder / f".lock-{platform.node()}-{os.getpid()}-{threading.get_ident()}"
    first = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    second = os.open(path, os.O_RDWR)
    try:
        return locked(first) and not locked(second)
    except OSError:
        return False
    finally:
        os.close(first)
        os.close(second)
        path.unlink(missing_ok=True)


def _now(folder: Path) -> float:
    """The file system's own time."""
    path = folder / f".clock-{platform.node()}-{os.getpid()}-{threading.get_ident()}"
    try:
        path.write_bytes(b"")
        return path.stat().st_mtime
    except OSError:  # a folder that one may only read
        return time.time()
    finally:
        with suppress(OSError):
            path.unlink()


def _numbers(folder: Path, name: str) -> list[int]:
    found = folder.glob(f"{glob.escape(name)}.*.json")
    return sorted(_number(path) for path in found if path.name.removeprefix(f"{name}.")[:-5].isdigit())


def _number(path: Path) -> int:
    return int(path.name.rsplit(".", 2)[1])


def _path(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number:04d}.json"
