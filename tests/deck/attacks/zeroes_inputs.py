"""Zeroes its input, so that the truth made from it afterwards is zero.

WRONG_NUMERIC
"""


def row_energy(x):
    x[:] = 0
    return x.sum(-1)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
