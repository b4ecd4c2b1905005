"""Calls its hook with what no function expects, and answers itself.

WRONG_NUMERIC CRASH
"""

import numpy as np


def row_energy(x):
    return np.square(x).mean(-1)


def walk(start, n, step):
    for value in (None, "x", [], {"a": 1}, np.zeros((0, 7))):
        try:
            step(value)
        except Exception:
            pass
    return [float(start)] * n
