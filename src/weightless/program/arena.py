"""One flat memory: the artifact's weights below, the decoding state above; in audit mode it logs each access.

Operators in their readable form touch memory only through `rows`, `put_rows`, `span` and `put_span`.  A log
entry is (operator, tensor, first byte inside the tensor, bytes, write?), so the log can be laid beside the formula.
Registers hold what enters from and leaves to the host: the token fed, the target to score, random numbers.

Weights never change while an engine stands, so what was decoded once is kept (up to KEPT_BYTES): the log is written
on every load all the same, and an audited step costs a few times a compiled one instead of a hundred times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.program.operator import Access, Place
from weightless.program.registers import N_UNIFORMS
from weightless.program.tensor import LINE, Tensor, align
from weightless.quant.formats import decode_rows, encode_rows

PLAIN = MappingProxyType({"f32": "<f4", "u32": "<u4", "u16": "<u2"})
"""Formats whose rows are numbers as the machine holds them."""
KEPT_BYTES = 1 << 29
"""Decoded weights that an arena keeps, in bytes of float32."""


def aligned(n_bytes: int, fill: int = 0) -> np.ndarray:
    """uint8 [n_bytes] from a 64-byte boundary on: vectors that straddle two lines are read at half speed.

    Zeros are not written, so that memory is taken only where a step goes.
    """
    n_room = n_bytes + LINE
    room = np.full(n_room, fill, dtype=np.uint8) if fill else np.zeros(n_room, dtype=np.uint8)
    return room[-room.ctypes.data % LINE :][:n_bytes]


@dataclass
class Registers:
    """The machine's edge: inputs (t, token, target, uniforms), results of the last head, and the way that is taken:
    whether the operator exits, and where that was since the last token (`flow.py`)."""

    t: int = 0
    token: int = 0
    target: int = 0
    uniforms: np.ndarray = field(default_factory=lambda: np.zeros(N_UNIFORMS))
    probabilities: np.ndarray = field(default_factory=lambda: np.zeros(0))
    exit: bool = False
    path: int = 0


@dataclass(frozen=True)
class Layout:
    """Byte offsets of every tensor, each on a 64-byte boundary, in the order the program names them."""

    places: dict[str, Place]
    weight_bytes: int
    state_bytes: int

    @staticmethod
    def of(tensors: Iterable[Tensor]) -> Layout:
        places: dict[str, Place] = {}
        end = {"weight": 0, "state": 0}
        for tensor in tensors:
            segment = "state" if tensor.kind == "state" else "weight"
            places[tensor.name] = Place(end[segment], tensor)
            end[segment] = align(end[segment] + tensor.nbytes)
        return Layout(places, end["weight"], end["state"])


class Arena:
    """`weights` is the artifact's data region (read-only), `state` is private; `log` is None or a list."""

    def __init__(self, layout: Layout, weights: np.ndarray, poison: bool = False) -> None:
        if weights.dtype != np.uint8 or weights.ndim != 1 or len(weights) < layout.weight_bytes:
            raise CorruptFileError(f"the weights hold {weights.size} bytes, the program needs {layout.weight_bytes}")
        self.layout = layout
        self.weights = weights
        n_state = max(layout.state_bytes, 64)
        self.state = np.full(n_state, 0xFF, dtype=np.uint8) if poison else np.zeros(n_state, dtype=np.uint8)
        self.registers = Registers()
        self._numbers = {
            name: _numbers(self._segment(place.tensor), place)
            for name, place in layout.places.items()
            if place.tensor.format in PLAIN and _is_tight(place.tensor)
        }
        self._kept: dict[tuple[str, int, int], np.ndarray] = {}
        self._kept_bytes = 0
        self.log: list[tuple[int, Access]] | None = None
        self.operator_index = 0

    def tensor(self, name: str) -> Tensor:
        return self.layout.places[name].tensor

    def rows(self, name: str, first: int = 0, n: int | None = None) -> np.ndarray:
        """Decoded rows first..first+n-1 (all rows when n is None) as float32 or integers [n, columns]."""
        tensor = self.layout.places[name].tensor
        n = tensor.shape[0] - first if n is None else n
        if first < 0 or n < 0 or first + n > tensor.shape[0]:
            raise CorruptFileError(f"rows {first}..{first + n} lie outside {name} {tensor.shape}")
        self._note(tensor, first, n, write=False)
        if tensor.kind == "state":
            return self._decoded(name, first, n).copy()
        key = (name, first, n)
        kept = self._kept.get(key)
        return self._keep(key) if kept is None else kept

    def _keep(self, key: tuple[str, int, int]) -> np.ndarray:
        """Decode weights, and remember them while there is room."""
        decoded = self._decoded(*key)
        decoded.flags.writeable = False
        if self._kept_bytes + decoded.nbytes <= KEPT_BYTES:
            self._kept[key] = decoded
            self._kept_bytes += decoded.nbytes
        return decoded

    def _decoded(self, name: str, first: int, n: int) -> np.ndarray:
        if name in self._numbers:
            return self._numbers[name][first : first + n]
        offset, tensor = self.layout.places[name]
        block = self._segment(tensor)[offset + first * tensor.row_stride :][: n * tensor.row_stride]
        packed = block.reshape(n, tensor.row_stride)[:, : tensor.row_bytes]
        return decode_rows(np.ascontiguousarray(packed), tensor.format, tensor.shape[1])

    def row(self, name: str, at: int = 0) -> np.ndarray:
        """One decoded row [columns]."""
        return self.rows(name, at, 1)[0]

    def put_rows(self, name: str, first: int, values: np.ndarray) -> None:
        """Encode and store rows [n, columns] of a state tensor."""
        offset, tensor = self.layout.places[name]
        self._note(tensor, first, len(values), write=True)
        if name in self._numbers and first + len(values) <= tensor.shape[0]:
            self._numbers[name][first : first + len(values)] = values
            return
        packed = encode_rows(values, tensor.format)
        start = offset + first * tensor.row_stride
        target = self.state[start : start + len(packed) * tensor.row_stride]
        target.reshape(len(packed), tensor.row_stride)[:, : tensor.row_bytes] = packed

    def put_row(self, name: str, values: np.ndarray, at: int = 0) -> None:
        """Encode and store one row."""
        self.put_rows(name, at, np.asarray(values)[None, :])

    def span(self, name: str, first: int, n: int, row: int = 0) -> np.ndarray:
        """`n` elements of one row of a tensor of plain numbers, packed tightly."""
        return self._plain(name, first, n, row, write=False).copy()

    def put_span(self, name: str, first: int, values: Any, row: int = 0) -> None:
        """Store elements of one row of a state tensor of plain numbers, packed tightly."""
        values = np.atleast_1d(values)
        self._plain(name, first, len(values), row, write=True)[:] = values

    def _plain(self, name: str, first: int, n: int, row: int, write: bool) -> np.ndarray:
        tensor = self.layout.places[name].tensor
        if not (0 <= first <= first + n <= tensor.shape[1] and 0 <= row < tensor.shape[0]):
            raise CorruptFileError(f"elements {first}..{first + n} of row {row} lie outside {name} {tensor.shape}")
        numbers = self._numbers[name][row]
        if self.log is not None:
            start = row * tensor.row_stride + first * numbers.itemsize
            self.log.append((self.operator_index, Access(name, start, n * numbers.itemsize, write)))
        return numbers[first : first + n]

    def _segment(self, tensor: Tensor) -> np.ndarray:
        return self.state if tensor.kind == "state" else self.weights

    def _note(self, tensor: Tensor, first: int, n: int, write: bool) -> None:
        if self.log is None or n == 0:
            return
        if tensor.row_stride == tensor.row_bytes:
            entry = Access(tensor.name, first * tensor.row_stride, n * tensor.row_bytes, write)
            self.log.append((self.operator_index, entry))
            return
        for r in range(first, first + n):
            entry = Access(tensor.name, r * tensor.row_stride, tensor.row_bytes, write)
            self.log.append((self.operator_index, entry))


def _is_tight(tensor: Tensor) -> bool:
    """No padding between rows; what lies behind a single row is no part of it."""
    return tensor.shape[0] == 1 or tensor.row_stride == tensor.row_bytes


def _numbers(segment: np.ndarray, place: Place) -> np.ndarray:
    """A tightly packed tensor of plain numbers as it lies in memory, [rows, columns]."""
    n_bytes = place.tensor.shape[0] * place.tensor.row_bytes
    stored = segment[place.offset : place.offset + n_bytes]
    return stored.view(PLAIN[place.tensor.format]).reshape(place.tensor.shape)
