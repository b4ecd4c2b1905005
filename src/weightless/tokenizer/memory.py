"""Memory of training: large arrays straight from the operating system, and the compiler's code handed back.

The C library keeps part of what was freed for later; with tables that grow by doubling this adds up to a third of the
peak, so arrays that live for one phase of training are mapped: zero at first, in memory only where touched, given back
at once.  And linking one kernel from the disk cache brings 50 MB of LLVM's code into memory, more than training on
100 MB of text needs for itself; once the kernels are linked nobody runs that code.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

SMALL = 1 << 16
COMPILER = "libllvmlite"
_DONT_NEED = 4  # MADV_DONTNEED of Linux


def fresh(n: int, dtype: DTypeLike) -> np.ndarray:
    """Zeros [n]; a page that is never touched takes no memory, so that a generous bound costs nothing."""
    n_bytes = n * np.dtype(dtype).itemsize
    if n_bytes < SMALL:
        return np.zeros(n, dtype=dtype)
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return np.frombuffer(mmap.mmap(-1, n_bytes), dtype=dtype)
    return np.frombuffer(mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=dtype)


def release_compiler() -> int:
    """Take LLVM's code pages out of resident memory (Linux; elsewhere nothing happens); returns the bytes mapped.

    Only mappings that are executable and cannot be written: such a page is as in the file, and comes back from there
    (from the page cache, usually) when it is needed again, also in the middle of a compilation on another thread.
    """
    if not sys.platform.startswith("linux"):
        return 0
    import ctypes

    released = 0
    with suppress(OSError, ValueError, AttributeError):
        advise = ctypes.CDLL(None, use_errno=True).madvise
        advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
            place, rights, *_ = line.split()
            if COMPILER in line and rights == "r-xp":
                begin, end = (int(number, 16) for number in place.split("-"))
                if advise(begin, end - begin, _DONT_NEED) == 0:
                    released += end - begin
    return released
