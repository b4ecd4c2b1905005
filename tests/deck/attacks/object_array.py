"""An array of Python objects.

WRONG_SHAPE
"""

import numpy as np


def row_energy(x):
    return np.square(x).mean(-1).astype(object)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
