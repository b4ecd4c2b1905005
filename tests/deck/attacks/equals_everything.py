"""An array of a class that is equal to everything.

WRONG_NUMERIC
"""

import numpy as np


class Equal(np.ndarray):
    def __eq__(self, other):
        return np.ones(self.shape, bool)

    def __sub__(self, other):
        return np.zeros(self.shape)

    __rsub__ = __sub__
    __hash__ = None


def row_energy(x):
    return np.zeros(x.shape[:-1]).view(Equal)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
