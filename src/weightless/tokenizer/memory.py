"""Large arrays straight from the operating system: zero at first, in memory only where touched, given back at once.

The C library keeps part of what was freed for later; with tables that grow by doubling this adds up to a third of the
peak, so arrays that live for one phase of training are mapped.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 16


def fresh(n: int, dtype: DTypeLike) -> np.ndarray:
    """Zeros [n]; a page that is never touched takes no memory, so that a generous bound costs nothing."""
    n_bytes = n * np.dtype(dtype).itemsize
    if n_bytes < SMALL:
        return np.zeros(n, dtype=dtype)
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return np.frombuffer(mmap.mmap(-1, n_bytes), dtype=dtype)
    return np.frombuffer(mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=dtype)
