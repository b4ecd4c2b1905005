"""Traces the worker and replaces what it is about to send.

WRONG_NUMERIC WRONG_SHAPE CRASH
"""

import sys

import numpy as np


def trace(frame, event, argument):
    frame.f_locals["result"] = True
    return trace


def row_energy(x):
    sys.settrace(trace)
    sys.setprofile(trace)
    return np.zeros(x.shape[:-1])


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
