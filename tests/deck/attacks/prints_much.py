"""Prints megabytes and writes to the standard descriptors; the answer is right.

PASS
"""

import os
import sys

import numpy as np


def row_energy(x):
    print("x" * (4 << 20))
    sys.__stderr__ = None
    for number in (1, 2):
        os.write(number, bytes(1 << 20))
    return np.square(x).mean(-1)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
