"""Where there is no bubblewrap: builds a root of its own around the worker, adopts its orphans, starts it.  Floor 9.

    unshare … python -I -S -P -B stage.py PLAN        PLAN is JSON, see `isolation.py`

It imports nothing of weightless and runs before anything of a solution does.  With "root" it stands in new mount and
pid namespaces: the root becomes a file system of memory that holds the named places, read-only, and a small /tmp.
Without, it only adopts: whatever the worker starts hangs under this process until the grader kills the tree.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

DEVICES = ("null", "zero", "random", "urandom")
_DEATH_SIGNAL, _ADOPT = 1, 36
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _REMOUNT, _BIND, _DETACH = 1, 2, 4, 32, 4096, 2


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2).  Raises OSError."""
    if libc().mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def build_root(plan: dict[str, Any]) -> None:
    """Everything that the worker will see, at `plan["root"]`, and then the root itself."""
    root = plan["root"]
    mount("tmpfs", root, "tmpfs", _NO_SETUID, "size=4m,mode=755")
    for source, target in plan["binds"]:
        show(source, root + target)
    for target, name in plan["links"]:
        os.symlink(target, root + name)
    for name in DEVICES:
        show(f"/dev/{name}", f"{root}/dev/{name}", _READ_ONLY | _NO_SETUID)
    for path in plan["covered"]:
        if os.path.isdir(root + path):
            mount("tmpfs", root + path, "tmpfs", _READ_ONLY, "size=4k,mode=555")
    os.makedirs(f"{root}/tmp")
    mount("tmpfs", f"{root}/tmp", "tmpfs", _NO_SETUID | _NO_DEVICES, f"size={plan['tmp_bytes']},mode=1777")
    os.makedirs(f"{root}/before")
    os.chdir(root)
    if libc().pivot_root(b".", b"before"):
        raise OSError(ctypes.get_errno(), "the root cannot be changed")
    os.chdir("/")
    if libc().umount2(b"/before", _DETACH):
        raise OSError(ctypes.get_errno(), "the old root cannot be left")
    os.rmdir("/before")
    mount("tmpfs", "/", "", _REMOUNT | _READ_ONLY | _NO_SETUID)


def show(source: str, target: str, flags: int | None = None) -> None:
    """Bind one file or folder, read-only."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb"):
            pass
    mount(source, target, "", _BIND)
    flags = _READ_ONLY | _NO_SETUID | _NO_DEVICES if flags is None else flags
    mount("none", target, "", _REMOUNT | _BIND | flags)


def keep(worker: int, stays: bool) -> int:
    """Adopt and reap.  In a pid namespace this ends with the worker, and all with it; else the grader ends it."""
    status = None
    while True:
        try:
            pid, ended = os.wait()
        except ChildProcessError:
            if stays:
                signal.pause()
            return 1
        if pid == worker:
            status = ended
        if status is not None and not stays:
            return os.waitstatus_to_exitcode(status) & 0xFF


def main(arguments: list[str]) -> int:
    """Build, fork, become the worker's keeper."""
    plan = json.loads(arguments[0])
    prctl = libc().prctl
    prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if plan["root"]:
        build_root(plan)
    else:
        prctl(_ADOPT, 1, 0, 0, 0)
    worker = os.fork()
    if not worker:
        prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        os.chdir(plan["cwd"])
        os.execve(plan["command"][0], plan["command"], plan["environment"])
    for number in (0, 1, 2):
        os.close(number)
    return keep(worker, not plan["root"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
