"""Ten children take nearly the limit each.

OOM
"""

import os
import time

import numpy as np


def row_energy(x):
    for _ in range(10):
        if not os.fork():
            held = np.ones(200 << 17)
            time.sleep(100 + held[0])
    time.sleep(100)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
