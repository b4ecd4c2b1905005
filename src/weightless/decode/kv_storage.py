"""Slots for keys and values: plain floats, or int8 codes with one scale per vector.

    f64 f32 f16     the vectors as they are
    int8            codes in -127 .. 127 and an fp16 scale = max |x| / 127 per (layer, slot, head):  x ~ code scale

A store has `n_blocks` blocks of `block_size` slots; a slot holds one position of one layer, all heads.  Axes of the
arrays: (layer, block, head, slot, width), so that one head of one block is a matrix that multiplies without a copy.
Bytes per position: 2 L G (D b), plus 2 L G 2 for the scales of int8.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ArgumentError, nearest

FORMATS = {"f64": np.float64, "f32": np.float32, "f16": np.float16, "int8": np.int8}
LARGEST_CODE = 127
LARGEST = {
    "f64": np.inf,
    **{name: float(np.finfo(FORMATS[name]).max) for name in ("f32", "f16")},
    "int8": LARGEST_CODE * float(np.finfo(np.float16).max),
}
"""The largest number that a format holds."""


class Storage:
    """Keys or values of many positions."""

    def __init__(self, n_layers: int, n_kv_heads: int, d_head: int, block_size: int, format: str) -> None:
        if format not in FORMATS:
            raise ArgumentError(f"cache format {format!r}: {nearest(format, FORMATS)}")
        self.format, self.block_size = format, block_size
        self.values = np.zeros((n_layers, 0, n_kv_heads, block_size, d_head), FORMATS[format])
        self.scales = np.zeros((n_layers, 0, n_kv_heads, block_size), np.float16)

    @property
    def n_blocks(self) -> int:
        return self.values.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes held, whether in use or not."""
        return self.values.nbytes + (self.scales.nbytes if self.format == "int8" else 0)

    def resize(self, n_blocks: int) -> None:
        """Have `n_blocks` blocks; what is there stays."""
        self.values, self.scales = (_resized(array, n_blocks) for array in (self.values, self.scales))

    def write(self, layer: int, block: int, slot: int, x_GTK: np.ndarray) -> None:
        """Put T vectors per head into the slots from `slot` on."""
        where = (layer, block, slice(None), slice(slot, slot + x_GTK.shape[1]))
        if self.format != "int8":
            self.values[where] = x_GTK
            return
        scale_GT = (np.abs(x_GTK).max(axis=2) / LARGEST_CODE).astype(np.float16)
        step = np.where(scale_GT == 0, np.float16(1), scale_GT).astype(np.float64)[..., None]
        codes = np.clip(np.rint(x_GTK / step), -LARGEST_CODE, LARGEST_CODE)
        self.values[where] = np.where(scale_GT[..., None] == 0, 0, codes)
        self.scales[where] = scale_GT

    def read(self, layer: int, block: int, first: int, stop: int) -> np.ndarray:
        """[G, stop - first, K]: a view where the store holds what the caller computes with, floats otherwise."""
        found = self.values[layer, block, :, first:stop]
        if self.format == "int8":
            return found * self.scales[layer, block, :, first:stop, None].astype(np.float32)
        return found.astype(np.float32) if self.format == "f16" else found

    def copy_block(self, source: int, target: int) -> None:
        self.values[:, target] = self.values[:, source]
        self.scales[:, target] = self.scales[:, source]

    def fill(self, block: int, value: float) -> None:
        """Overwrite a block (tests poison what is free with NaN, or with the largest code)."""
        self.values[:, block] = LARGEST_CODE if self.format == "int8" else value
        self.scales[:, block] = value


def _resized(array: np.ndarray, n_blocks: int) -> np.ndarray:
    larger = np.zeros((array.shape[0], n_blocks, *array.shape[2:]), array.dtype)
    kept = min(n_blocks, array.shape[1])
    larger[:, :kept] = array[:, :kept]
    return larger
