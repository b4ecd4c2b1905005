"""Announces a message of four gigabytes.

TAMPER
"""

import os
import struct
import sys


def row_energy(x):
    frame = sys._getframe()
    while "self" not in frame.f_locals:
        frame = frame.f_back
    loaded = frame.f_locals["self"]
    os.write(loaded.channel.sink, struct.pack("<4s4sQIQ", b"WLDK", b"DONE", loaded.sequence, (1 << 32) - 1, 0))
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
