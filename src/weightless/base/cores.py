"""How many cores this process may use: what `taskset`, a container's cpuset or a batch system has left it.

The machine may have more, and a thread for each of those would only wait for the others.
"""

from __future__ import annotations

import os
from pathlib import Path

LOAD = Path("/proc/loadavg")


def cores() -> int:
    """Cores that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_one_idle() -> bool:
    """Whether a core beside the one in use seems idle: by who runs now, or by the load of the last minute."""
    return cores() > _running()


def _running() -> float:
    """Threads of the whole machine that run or want to, this one included."""
    try:
        return int(LOAD.read_text().split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):  # no Linux
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 1.0
