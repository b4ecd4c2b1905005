"""Answers for itself before the worker does.

TAMPER
"""

import sys

import numpy as np


def row_energy(x):
    frame = sys._getframe()
    while "self" not in frame.f_locals:
        frame = frame.f_back
    loaded = frame.f_locals["self"]
    loaded.channel.send(b"DONE", loaded.sequence, b'{"value":["a",0],"arrays":[["<f8",[2]]]}', [np.zeros(2)])
    return np.square(x).mean(-1)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
