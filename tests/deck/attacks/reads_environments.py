"""Reads the environment of every process it finds.

CRASH
"""

import glob
import os


def row_energy(x):
    found = [repr(dict(os.environ))]
    for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/cmdline"):
        try:
            with open(path, "rb") as file:
                found.append(repr(file.read()))
        except OSError:
            pass
    raise RuntimeError("".join(part for part in found if "PLANTED" in part) or "nothing found")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
