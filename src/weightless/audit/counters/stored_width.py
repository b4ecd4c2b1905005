"""Bytes of any set of elements of a stored tensor: what a trace of float32 tensors would touch in the packed file.

A row holds its codes and the scales that belong to them (`quant.formats`).  A row of which every element is touched
costs all of its bytes, a part of a row its codes and the scales of the groups it meets.
"""

from __future__ import annotations

import numpy as np

from weightless.quant.layout import column_bytes, format_named, row_bytes


def touched_bytes(mask_RC: np.ndarray, fmt: str) -> int:
    """Stored bytes of the elements where `mask_RC` is true, for rows in `fmt`."""
    whole_R = mask_RC.all(axis=1)
    n_bytes = int(whole_R.sum()) * row_bytes(fmt, mask_RC.shape[1])
    for r in np.flatnonzero(mask_RC.any(axis=1) & ~whole_R):
        n_bytes += _part_of_row(mask_RC[r], fmt)
    return n_bytes


def _part_of_row(mask_C: np.ndarray, fmt: str) -> int:
    described = format_named(fmt)
    if not described.levels:
        return int(mask_C.sum()) * int(described.bits) // 8
    places = column_bytes(fmt, len(mask_C))
    return len({at for j in np.flatnonzero(mask_C) for at in places[j]})
