"""An array of objects that run a command when they are unpickled.

WRONG_SHAPE
"""

import numpy as np


class Bomb:
    def __reduce__(self):
        return (print, ("unpickled",))


def row_energy(x):
    return np.array([Bomb(), Bomb()], dtype=object)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
