"""Hangs when the interpreter ends; the answer is right.

PASS
"""

import atexit
import time

import numpy as np

atexit.register(time.sleep, 10_000)


def row_energy(x):
    return np.square(x).mean(-1)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
