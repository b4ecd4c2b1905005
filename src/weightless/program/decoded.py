"""Weights of a program as numbers to compute with, for those who use a weight for many rows at once.

    whole(name) -> [rows, columns]      rows(name, at) -> [len(at), columns]      ids(name) -> [rows]

Stored float32 is a view of the artifact.  Anything else is decoded once and kept, for all threads, while everything
kept takes at most `room` bytes; a matrix that has no room left is decoded anew whenever it is asked for, and forgotten
by whoever asked.  Nothing here is logged: what is decoded ahead says nothing about what a token touches.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.base.memory import free_memory
from weightless.program.arena import PLAIN, Layout
from weightless.program.operator import Place
from weightless.quant.formats import decode_rows

SHARE = 0.5
"""Of the memory that is free, what decoded weights may take."""


class Decoded:
    """`weights` is the artifact's data region; `room` None: a share of the memory that is free now."""

    def __init__(self, layout: Layout, weights: np.ndarray, dtype: Any = np.float32, room: float | None = None) -> None:
        if weights.dtype != np.uint8 or weights.ndim != 1 or len(weights) < layout.weight_bytes:
            raise CorruptFileError(f"the weights hold {weights.size} bytes, the program needs {layout.weight_bytes}")
        self._layout, self._weights, self.dtype = layout, weights, np.dtype(dtype).type
        free = free_memory()
        self.room = room if room is not None else float("inf") if free is None else SHARE * free
        self._kept: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of decoded weights that are kept."""
        return sum(array.nbytes for array in self._kept.values())

    def whole(self, name: str) -> np.ndarray:
        """A matrix or vector, read-only."""
        place = self._layout.places[name]
        if place.tensor.format == "f32" and self.dtype is np.float32:
            return self._stored(place).view("<f4")[:, : place.tensor.shape[1]]
        with self._lock:
            found = self._kept.get(name)
            if found is None and self.nbytes + self._size(place) <= self.room:
                self._kept[name] = found = self._read_only(place)
        return self._read_only(place) if found is None else found

    def rows(self, name: str, at: np.ndarray) -> np.ndarray:
        """Single rows of a table, decoded as they are wanted."""
        place = self._layout.places[name]
        if at.size and not 0 <= int(at.min()) <= int(at.max()) < place.tensor.shape[0]:
            raise CorruptFileError(f"rows {at.min()}..{at.max()} lie outside {name} {place.tensor.shape}")
        return self._decoded(place, self._stored(place)[at.astype(np.int64)])

    def ids(self, name: str) -> np.ndarray:
        """A column of whole numbers."""
        place = self._layout.places[name]
        return self._stored(place).view(PLAIN[place.tensor.format])[:, 0]

    def _size(self, place: Place) -> int:
        return place.tensor.shape[0] * place.tensor.shape[1] * np.dtype(self.dtype).itemsize

    def _read_only(self, place: Place) -> np.ndarray:
        found = self._decoded(place, self._stored(place))
        found.flags.writeable = False
        return found

    def _stored(self, place: Place) -> np.ndarray:
        """uint8 [rows, stride]."""
        offset, tensor = place
        n_rows, stride = tensor.shape[0], tensor.row_stride
        if n_rows == 1:  # what lies behind a single row is no part of it
            return self._weights[offset : offset + tensor.row_bytes].reshape(1, -1)
        return self._weights[offset : offset + n_rows * stride].reshape(n_rows, stride)

    def _decoded(self, place: Place, stored: np.ndarray) -> np.ndarray:
        found = decode_rows(stored, place.tensor.format, place.tensor.shape[1])
        return found.astype(self.dtype, copy=False) if found.dtype.kind == "f" else found
