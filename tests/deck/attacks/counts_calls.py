"""Right for the first calls, then whatever.

WRONG_NUMERIC
"""

import numpy as np

CALLS = []


def row_energy(x):
    CALLS.append(1)
    return np.square(x).mean(-1) * (len(CALLS) < 3)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
