"""Sleeps while it is being loaded.

TIMEOUT
"""

import time

time.sleep(10_000)


def row_energy(x):
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
