"""Leaves a process in a session of its own behind; the answer is right.

PASS
"""

import os
import time

import numpy as np


def row_energy(x):
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.closerange(0, 64)
            while True:
                time.sleep(1)
        os._exit(0)
    return np.square(x).mean(-1)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
