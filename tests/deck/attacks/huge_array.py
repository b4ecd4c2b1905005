"""Asks for an array of 100 GB.

OOM
"""

import numpy as np


def row_energy(x):
    return np.ones(100 << 27)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
