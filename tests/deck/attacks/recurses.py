"""Recurses until the stack is gone.

CRASH OOM TIMEOUT
"""

import sys

sys.setrecursionlimit(1 << 30)


def row_energy(x):
    return row_energy((x,))


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
