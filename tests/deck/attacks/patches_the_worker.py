"""Replaces the worker's own functions, so that it says it is right.

WRONG_SHAPE
"""

import sys


def row_energy(x):
    worker = sys.modules["__main__"]
    worker.pack = lambda value, special: (b'{"value":"PASS","arrays":[]}', [])
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
