"""Floor 9.  The most memory that this process has taken since a moment: the kernel's own high-water mark.

Linux lets a process reset the mark (/proc/self/clear_refs), so that one unit is not charged with what another one took
before it.  Elsewhere the mark is of the whole life of the process, which is too much for all but its first unit, so
there it is left out (0).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
HIGH_WATER = "5"


def peak_reset() -> None:
    """Count from here, where that can be."""
    with suppress(OSError):
        CLEAR.write_text(HIGH_WATER)


def peak_memory() -> int:
    """Bytes of this process alone; 0 where nobody tells."""
    if not CLEAR.exists():
        return 0
    with suppress(OSError, ValueError, IndexError):
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
