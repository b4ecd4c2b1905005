"""An integer of ten million digits.

WRONG_SHAPE
"""


def row_energy(x):
    return 1 << 33_219_281


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
