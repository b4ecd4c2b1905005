"""Asks the grader to run a function that it was never given.

TAMPER
"""

import sys


def row_energy(x):
    frame = sys._getframe()
    while "self" not in frame.f_locals:
        frame = frame.f_back
    loaded = frame.f_locals["self"]
    text = b'{"value":{"hook":7,"arguments":["t"],"named":{}},"arrays":[]}'
    loaded.channel.send(b"ASKS", loaded.sequence, text, [])
    return x


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
