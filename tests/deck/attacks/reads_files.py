"""Looks through all folders for a planted file.

CRASH
"""

import os


def row_energy(x):
    for place, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if name not in ("usr", "python", "sys")]
        for name in names:
            if name.startswith("planted-secret"):
                with open(os.path.join(place, name)) as file:
                    raise RuntimeError(file.read())
    raise RuntimeError("nothing found")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
