"""Maps 100 GB of shared memory, which is no data segment.

OOM
"""

import mmap


def row_energy(x):
    return len(mmap.mmap(-1, 100 << 30))


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
