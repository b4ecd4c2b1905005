"""What the processes of a worker take, as the system counts it, and their end.  Floor 9; Linux.

Everything is read from /proc on the grader's side of the wall, so nothing that runs in the worker can change it:

    peak_bytes    the larger of one process's own high-water mark (VmHWM) and the sum of all resident sets at a look
    cpu_seconds   the larger of the clocks of all processes that were seen, and of those that are there with what they
                  have reaped: nothing is counted twice, and a child that nobody saw and nobody reaped is not counted

The tree hangs under the process that was started: in a pid namespace, and under a process that adopts orphans, nothing
leaves it.  The first `outer` generations are the wrapper's own and count for nothing.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

_LONGEST_END_SECONDS = 5.0


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, of all its threads; none when it has gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def generations(pid: int) -> list[list[int]]:
    """The tree under a process, one list for each generation, itself first."""
    found, seen = [[pid]], {pid}
    while found[-1]:
        found.append([child for parent in found[-1] for child in children(parent) if child not in seen])
        seen.update(found[-1])
    return found[:-1]


def memory_of(pid: int) -> tuple[int, int]:
    """(resident bytes now, largest so far); zeros when it has gone."""
    fields = {}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                fields[name] = int(value.split()[0]) * 1024
    return fields.get("VmRSS", 0), fields.get("VmHWM", 0)


def cpu_of(pid: int) -> tuple[float, float]:
    """Processor seconds of a process with its threads, and of the children that it has reaped; zeros when gone."""
    with suppress(OSError, IndexError, ValueError):
        own = time.clock_gettime((~pid << 3) | 2)  # the processor clock of another process; see clock_getcpuclockid(3)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return own, (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return 0.0, 0.0


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or is only waiting to be reaped by somebody else."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


class Watched:
    """The tree under one process that was started."""

    def __init__(self, pid: int, outer: int) -> None:
        self.pid, self.outer = pid, outer
        self.peak_bytes, self.resident_bytes = 0, 0
        self._own_seconds: dict[int, float] = {}
        self._with_reaped = 0.0

    @property
    def cpu_seconds(self) -> float:
        return max(sum(self._own_seconds.values()), self._with_reaped)

    def look(self) -> None:
        """Bring the numbers up to date."""
        inside = [pid for generation in generations(self.pid)[self.outer :] for pid in generation]
        sizes = [memory_of(pid) for pid in inside]
        self.resident_bytes = sum(now for now, _ in sizes)
        self.peak_bytes = max([self.peak_bytes, self.resident_bytes, *(most for _, most in sizes)])
        clocks = {pid: cpu_of(pid) for pid in inside}
        self._with_reaped = max(self._with_reaped, sum(own + reaped for own, reaped in clocks.values()))
        for pid, (own, _) in clocks.items():
            self._own_seconds[pid] = max(self._own_seconds.get(pid, 0.0), own)

    def end(self) -> list[int]:
        """Kill the whole tree, the outermost last, and wait until nothing of it runs; what still runs, if anything.

        A process that was forked while its parent died hangs nowhere for a moment: only the second look without one
        that runs is the end.
        """
        deadline, empty, running = time.monotonic() + _LONGEST_END_SECONDS, 0, [self.pid]
        while empty < 2 and time.monotonic() < deadline:
            tree = [pid for generation in generations(self.pid)[1:] for pid in generation]
            running = [pid for pid in tree if not has_ended(pid)]
            for pid in running:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            empty = 0 if running else empty + 1
            time.sleep(0.001)
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        return running
