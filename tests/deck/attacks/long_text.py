"""An exception with control characters and a text without end.

CRASH
"""


def row_energy(x):
    raise ValueError("\x1b[2J\x1b]0;PASS\x07\n" * 1_000_000)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
