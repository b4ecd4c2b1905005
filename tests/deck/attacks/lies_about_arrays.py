"""Describes an array that is larger than what follows.

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
    text = b'{"value":["a",0],"arrays":[["<f8",[1099511627776,1]]]}'
    os.write(loaded.channel.sink, struct.pack("<4s4sQIQ", b"WLDK", b"DONE", loaded.sequence, len(text), 8) + text)
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
