"""Threads that never end; the answer is right.

PASS
"""

import threading
import time

import numpy as np


def row_energy(x):
    for _ in range(4):
        threading.Thread(target=time.sleep, args=(10_000,)).start()
    return np.square(x).mean(-1)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
