"""Puts other files under every descriptor.

CRASH TIMEOUT
"""

import os


def row_energy(x):
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3, 20):
        os.dup2(nothing, number)
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
