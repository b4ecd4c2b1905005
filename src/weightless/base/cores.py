"""How many cores this process may use: what `taskset`, a container's cpuset or a batch system has left it.

The machine may have more, and a thread for each of those would only wait for the others.
"""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_one_idle() -> bool:
    """Whether a core beside the one in use seems idle, by the machine's load over the last minute."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return cores() - load >= 1
