"""Put beside a compiled solution.cu as its solution.py: the pinned launcher, called as the NumPy function is.

What the launcher is to fill is filled before, with indices of -7 and NaN, so that what it leaves out shows.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = "solution_cpu.so"


def fused_softmax_topk(logits: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(indices int64, probabilities float32) of shape (B, T, k), from `softmax_topk_launch` of the library here."""
    return _launched(ctypes.CDLL(str(Path(__file__).resolve().parent / LIBRARY)), _rows(logits), logits.shape[:-1], k)


def reads_per_logit(logits: Any, k: int) -> float:
    """Bytes that the kernels read from the logits, over the bytes of the logits."""
    library = ctypes.CDLL(str(Path(__file__).resolve().parent / LIBRARY))
    library.reads_counted.restype = ctypes.c_ulonglong
    z = _rows(logits)
    library.count_reads_of(ctypes.c_void_p(z.ctypes.data), ctypes.c_size_t(z.nbytes))
    _launched(library, z, logits.shape[:-1], k)
    return library.reads_counted() / z.nbytes


def _rows(logits: Any) -> np.ndarray:
    return np.ascontiguousarray(logits, np.float32).reshape(-1, logits.shape[-1])


def _launched(library: ctypes.CDLL, z: np.ndarray, front: tuple[int, ...], k: int) -> tuple[np.ndarray, np.ndarray]:
    address, whole = ctypes.c_void_p, ctypes.c_int
    library.softmax_topk_launch.argtypes = [address, whole, whole, whole, address, address, address]
    library.softmax_topk_launch.restype = whole
    index, p = np.full((len(z), k), -7, np.int64), np.full((len(z), k), np.nan, np.float32)
    code = library.softmax_topk_launch(z.ctypes.data, *z.shape, k, index.ctypes.data, p.ctypes.data, None)
    if code:
        raise RuntimeError(f"softmax_topk_launch returned {code} for {z.shape} logits and k = {k}")
    return index.reshape(*front, k), p.reshape(*front, k)
