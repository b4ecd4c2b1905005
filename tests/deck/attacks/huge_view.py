"""A view of one number that says it has a trillion.

WRONG_SHAPE
"""

import numpy as np


def row_energy(x):
    return np.broadcast_to(np.float64(0), (1 << 20, 1 << 20))


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
