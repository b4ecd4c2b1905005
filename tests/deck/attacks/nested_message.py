"""Sends a message nested a million deep.

TAMPER
"""

import sys


def row_energy(x):
    frame = sys._getframe()
    while "self" not in frame.f_locals:
        frame = frame.f_back
    loaded = frame.f_locals["self"]
    loaded.channel.send(b"DONE", loaded.sequence, b"[" * 1_000_000, [])
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
