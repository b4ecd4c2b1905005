"""Zeros everywhere, which a bare absolute tolerance lets pass.

WRONG_NUMERIC
"""

import numpy as np


def row_energy(x):
    return np.zeros(x.shape[:-1])


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
