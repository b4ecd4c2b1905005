"""Leaves with sys.exit.

CRASH
"""

import sys


def row_energy(x):
    sys.exit(0)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
