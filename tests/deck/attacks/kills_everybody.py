"""Sends SIGKILL to every process that it can reach.

CRASH WRONG_NUMERIC
"""

import os

import numpy as np


def row_energy(x):
    os.kill(-1, 9)
    return np.zeros(x.shape[:-1])


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
