"""Leaves with sys.exit while it is being loaded.

IMPORT
"""

import sys

sys.exit(0)


def row_energy(x):
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
