"""Sleeps, which takes no processor time.

TIMEOUT
"""

import time


def row_energy(x):
    time.sleep(10_000)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
