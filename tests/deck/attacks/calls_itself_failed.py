"""Raises a class that has the name of the grader's own.

CRASH
"""


class Failed(Exception):
    status, told = "PASS", "all is well"


def row_energy(x):
    raise Failed("PASS", "all is well")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
