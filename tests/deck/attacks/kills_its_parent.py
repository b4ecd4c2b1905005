"""Kills its parent, and that one's.

CRASH
"""

import os


def row_energy(x):
    for number in (1, os.getppid()):
        os.kill(number, 9)
    raise RuntimeError("killed")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
