"""How much memory this process may take: what the machine has, or what a container has left it of that."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory() -> int | None:
    """Bytes; None where nobody tells."""
    if not hasattr(os, "sysconf"):
        return None
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in LIMITS:
        with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
            found = min(found, int(path.read_text()))
    return found
