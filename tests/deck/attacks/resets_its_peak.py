"""Writes to /proc that its memory was never large.

CRASH
"""


def row_energy(x):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    raise RuntimeError("PLANTED: reset")


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
