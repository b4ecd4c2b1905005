"""Raises what `except Exception` does not see.

CRASH
"""


class Everything(BaseException):
    pass


def row_energy(x):
    raise Everything


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
