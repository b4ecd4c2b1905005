"""Maps gigabytes of shared memory, which is no data segment.

OOM
"""

import mmap


def row_energy(x):
    return [mmap.mmap(-1, 4 << 30)] and 1


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
