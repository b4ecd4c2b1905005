"""Writes a file of 100 GB.

CRASH
"""

import tempfile


def row_energy(x):
    with tempfile.TemporaryFile() as file:
        for _ in range(100_000):
            file.write(bytes(1 << 20))


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
