"""Makes a sparse file of 100 GB.

CRASH
"""

import tempfile


def row_energy(x):
    with tempfile.TemporaryFile() as file:
        file.truncate(100 << 30)
    raise RuntimeError("made")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
