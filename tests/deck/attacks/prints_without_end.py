"""Prints without end.

TIMEOUT
"""


def row_energy(x):
    while True:
        print("x" * 1000)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
