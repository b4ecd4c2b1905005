"""Infinities, whose quotient by anything is no number.

WRONG_NUMERIC
"""

import numpy as np


def row_energy(x):
    return np.full(x.shape[:-1], np.inf)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
