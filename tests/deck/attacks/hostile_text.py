"""An exception that ends the process when it is asked what it says.

CRASH
"""

import os


class Hostile(Exception):
    def __str__(self):
        os._exit(0)


def row_energy(x):
    raise Hostile


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
