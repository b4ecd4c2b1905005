"""Becomes root of a namespace of its own, to mount memory that no limit counts.

CRASH
"""

import ctypes
import os


def row_energy(x):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x20000) == 0:
        raise RuntimeError("PLANTED: a namespace")
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
