"""Ends the process with the status of success.

CRASH
"""

import os


def row_energy(x):
    os._exit(0)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
