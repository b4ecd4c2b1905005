"""Takes memory as an anonymous file that is mapped nowhere.

CRASH
"""

import os


def row_energy(x):
    os.memfd_create("memory")
    raise RuntimeError("PLANTED: a file")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
