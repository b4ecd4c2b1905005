"""Write a GGUF file (`artifact/gguf.py` says how it is laid), its tensors block by block as their rows are made."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from weightless.artifact.gguf import ALIGNMENT, BOOL, LIST, MAGIC, TEXT, TYPES, VERSION

U32, I32, F32 = 4, 5, 6
_NUMBERS = {name: number for number, (name, _, _) in TYPES.items()}
MOST_TENSOR_NAME = 63
"""Bytes of a tensor's name that llama.cpp has room for."""


class OutgoingBlocks(NamedTuple):
    """A tensor to write: shape with rows first, and its stored rows, uint8, in order, made when they are written."""

    name: str
    type: str
    shape: tuple[int, ...]
    blocks: Iterable[np.ndarray]

    @property
    def n_bytes(self) -> int:
        kind = TYPES[_NUMBERS[self.type]]
        return math.prod(self.shape) // kind.size * kind.n_bytes


def write_gguf(file: IO[bytes], keys: Mapping[str, Any], tensors: Sequence[OutgoingBlocks]) -> None:
    """Write a whole file.

    Values of keys: bool, int (0 … 2^32 - 1, written as u32), float (as f32), str, lists of str, and NumPy arrays of
    i4 and f4.
    """
    header = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(keys))]
    for name, value in keys.items():
        header += [_text(name), *_value(value)]
    at = 0
    for tensor in tensors:
        assert len(tensor.name.encode()) <= MOST_TENSOR_NAME, tensor.name
        sizes = struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape))
        header += [_text(tensor.name), struct.pack("<I", len(tensor.shape)), sizes]
        header += [struct.pack("<IQ", _NUMBERS[tensor.type], at)]
        at += tensor.n_bytes + -tensor.n_bytes % ALIGNMENT
    text = b"".join(header)
    file.write(text + bytes(-len(text) % ALIGNMENT))
    for tensor in tensors:
        written = sum(file.write(np.ascontiguousarray(block).tobytes()) for block in tensor.blocks)
        assert written == tensor.n_bytes, tensor.name
        file.write(bytes(-written % ALIGNMENT))


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Any) -> list[bytes]:
    if isinstance(value, bool):
        return [struct.pack("<IB", BOOL, value)]
    if isinstance(value, int):
        return [struct.pack("<II", U32, value)]
    if isinstance(value, float):
        return [struct.pack("<If", F32, value)]
    if isinstance(value, str):
        return [struct.pack("<I", TEXT), _text(value)]
    if isinstance(value, np.ndarray):
        kind = {"i4": I32, "f4": F32}[f"{value.dtype.kind}{value.dtype.itemsize}"]
        return [struct.pack("<IIQ", LIST, kind, len(value)), value.astype(value.dtype.newbyteorder("<")).tobytes()]
    return [struct.pack("<IIQ", LIST, TEXT, len(value)), *map(_text, value)]
