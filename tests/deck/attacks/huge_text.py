"""A text of a hundred megabytes.

WRONG_SHAPE
"""


def row_energy(x):
    return "x" * (100 << 20)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
