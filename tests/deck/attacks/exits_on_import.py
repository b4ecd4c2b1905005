"""Ends the process while it is being loaded.

IMPORT
"""

import os

os._exit(0)


def row_energy(x):
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
