"""Calls its hook without end.

TIMEOUT
"""

import numpy as np


def row_energy(x):
    return np.square(x).mean(-1)


def walk(start, n, step):
    while True:
        step(start)
