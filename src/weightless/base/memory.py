"""How much memory this process may take: what the machine has, or what a container has left it of that."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
USED = (Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"))
STAT = "memory.stat"


def memory() -> int | None:
    """Bytes; None where nobody tells."""
    if not hasattr(os, "sysconf"):
        return None
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in LIMITS:
        with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
            found = min(found, int(path.read_text()))
    return found


def free_memory() -> int | None:
    """Bytes that can be taken now without anybody being pushed out; None where nobody tells."""
    left: list[int] = []
    with suppress(OSError, ValueError, IndexError):  # no Linux
        (line,) = (line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        left.append(int(line.split()[1]) * 1024)
    for limit, used in zip(LIMITS, USED, strict=True):
        with suppress(OSError, ValueError):
            left.append(int(limit.read_text()) - int(used.read_text()) + _given_up(used.parent / STAT))
    return max(0, min(left)) if left else None


def _given_up(path: Path) -> int:
    """Bytes of files that a container holds in memory and gives up when they are wanted."""
    lines = dict(line.split() for line in path.read_text().splitlines())
    return int(lines.get("inactive_file", 0))


def keep_freed_memory() -> None:
    """Let this process keep what it frees for what it takes next, where its C library can (glibc).

    Else every large temporary is given back and taken anew, and its pages are cleared by the system: for passes over a
    few megabytes that is a tenth of the time.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for name, value in ((-1, 2**31 - 1), (-3, 2**30)):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(name, value)
