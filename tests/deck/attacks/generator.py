"""A generator in place of an array.

WRONG_SHAPE
"""


def row_energy(x):
    return (row.mean() for row in x)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
