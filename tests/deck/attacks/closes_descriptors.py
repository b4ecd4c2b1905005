"""Closes every descriptor.

CRASH
"""

import os


def row_energy(x):
    os.closerange(0, 64)
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
