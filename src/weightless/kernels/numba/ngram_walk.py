"""Binary searches over packed columns of ids, with the probes counted: the fast twin of `program.operators.ngram`.

`memory` is a tuple of views (`numba/memory.py`), whose log, if it has one, takes every probe.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import id_at
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import kneser_ney

QUANTA = np.int64(kneser_ney.QUANTA)


@njit(**KERNEL)
def search(memory, offset, size, first, end, key):  # type: ignore[no-untyped-def]
    """(row holding `key` among the sorted rows first..end-1, or -1; number of probes)."""
    probes = 0
    while first < end:
        middle = (first + end) // 2
        probes += 1
        value = id_at(memory, offset, size, middle)
        if value == key:
            return middle, probes
        if value < key:
            first = middle + 1
        else:
            end = middle
    return -1, probes


@njit(**KERNEL)
def own_quanta(memory, cum_offset, first, at):  # type: ignore[no-untyped-def]
    """Quanta of list entry `at`: the difference of two cumulative counts."""
    below = id_at(memory, cum_offset, 4, at - 1) if at > first else 0
    return id_at(memory, cum_offset, 4, at) - below


@njit(**KERNEL)
def draw_entry(memory, cum_offset, first, end, u):  # type: ignore[no-untyped-def]
    """(entry whose quanta hold u * Q, or -1 when u falls to the back-off; distinct entries read)."""
    if first >= end:
        return -1, 0
    quantum = np.int64(u * QUANTA)
    if quantum >= id_at(memory, cum_offset, 4, end - 1):
        return -1, 1
    low, high, read = first, end - 1, 1
    while low < high:
        middle = (low + high) // 2
        read += 1
        if id_at(memory, cum_offset, 4, middle) <= quantum:
            low = middle + 1
        else:
            high = middle
    return low, read
