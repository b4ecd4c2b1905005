"""Takes System V shared memory, which is in no resident set.

CRASH
"""

import ctypes
import os


def row_energy(x):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.shmget(0, 1 << 20, 0o1600) >= 0:
        raise RuntimeError("PLANTED: a segment")
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
