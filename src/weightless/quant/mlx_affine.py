"""Affine codes as MLX keeps them: rows of u, a scale and a bias for every group of columns (NumPy).

    value = scale * u + bias        u = 0 … 2^bits - 1, bits 2, 4 or 8        groups of 32, 64 or 128 columns

Codes lie side by side in words of 32 bits, little-endian, the first in the lowest bits.  Ours are symmetric, q times a
scale s, so that scale = s and bias = -s c, with c the code that stands for 0:

    t2 t5           2 bits, c = 1               int3 int4            4 bits, c = 8
    int2            2 bits, c = 3/2             int5 int6 int8       8 bits, c = 128
    binary          2 bits, c = 1/2

Scales and biases are float32, in which these products and sums are exact: a scale has 11 bits (fp16), u at most 8.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from weightless.quant.code_rows import decoded_codes, decoded_scales
from weightless.quant.layout import format_named, is_quantised, row_bytes

BITS = {"t2": 2, "t5": 2, "int2": 2, "binary": 2, "int3": 4, "int4": 4, "int5": 8, "int6": 8, "int8": 8}
ZERO = {"t2": 1.0, "t5": 1.0, "int2": 1.5, "binary": 0.5, "int3": 8.0, "int4": 8.0}
GROUPS = (128, 64, 32)
WORD = 32


class Affine(NamedTuple):
    """How a matrix is kept: bits of a code, columns of a group."""

    bits: int
    group: int


def affine_of(fmt: str, cols: int) -> Affine | None:
    """How MLX can keep a matrix of ours with the codes that it has; None where it cannot."""
    if not is_quantised(fmt):
        return None
    described = format_named(fmt)
    ours = described.group_size(cols)
    for group in GROUPS:
        if cols % group == 0 and (ours % group == 0 or ours == cols):
            return Affine(BITS[described.parts.base], group)
    return None


def affine_rows(stored_RB: np.ndarray, fmt: str, cols: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(words uint32 [R, cols * bits / 32], scales, biases float32 [R, groups]) of stored rows of ours."""
    described, how = format_named(fmt), affine_of(fmt, cols)
    assert how is not None
    rows = np.ascontiguousarray(stored_RB[:, : row_bytes(fmt, cols)])
    zero = ZERO.get(described.parts.base, 128.0)
    u = (decoded_codes(rows, described, cols) + np.float32(zero)).astype(np.uint32)
    per_word = WORD // how.bits
    parts = u.reshape(len(u), -1, per_word) << (how.bits * np.arange(per_word, dtype=np.uint32))
    words = np.bitwise_or.reduce(parts, axis=2)
    s_RG = decoded_scales(rows, described, cols)
    step = described.group_size(cols) // how.group
    s = np.repeat(s_RG, step, axis=1)[:, : cols // how.group]
    return np.ascontiguousarray(words, "<u4"), s, np.float32(-zero) * s
