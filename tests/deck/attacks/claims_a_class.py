"""An object whose __class__ says ndarray.

WRONG_SHAPE
"""

import numpy as np


class Liar:
    __class__ = property(lambda self: np.ndarray)
    shape, nbytes, itemsize, size = (), -1, -8, 1 << 60


def row_energy(x):
    return Liar()


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
