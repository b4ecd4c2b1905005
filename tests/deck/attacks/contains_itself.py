"""A list that contains itself.

WRONG_SHAPE
"""


def row_energy(x):
    endless = []
    endless.append(endless)
    return endless


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
