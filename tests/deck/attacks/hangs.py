"""Computes without end.

TIMEOUT
"""


def row_energy(x):
    while True:
        pass


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
