"""Ternary weights: {-1, 0, +1} times one fp16 scale per group along the input (after BitNet b1.58, Ma et al. 2024).

    s = fp16(mean |w| over the group)          code = clip(round(w / s), -1, 1)          what = s code

Groups of 128 inputs; the last one of a row may be shorter.  round goes to even at a half.  Without the clip almost a
quarter of Gaussian weights would leave the three codes (|w| > 1.5 mean |w|).  A group whose scale is 0 in fp16 has
codes 0.

Training keeps latent weights W in full precision.  Forwards the layer multiplies by what; backwards the rounding is
taken for the identity and the scale for a constant (straight-through, Bengio et al. 2013):
    y = x what^T        dx = dy what        dW = dy^T x        (dW goes to the latent weights as it is)

The projection is not idempotent: the mean of |what| is s times the share of non-zero codes (about 0.69 for Gaussian
weights), so projecting what again shrinks it.  Codes and scales, once taken, are the master copy.
Cost: O(rows x columns).  Stored: 2 bits per weight and 2 bytes per group, 2.125 bits per weight.

Packed: four codes to a byte along the input, code + 1 in two bits, the first column in the lowest; a row begins on a
new byte, and what its last byte has too much is filled with code 0 (bits 01):
    byte b of a row = sum over j < 4 of (code_{4b+j} + 1) 4^j          bits 11 stand for nothing
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError
from weightless.ops.arguments import as_given, finite, float_array, same_shape, whole_number, working_dtype

LARGEST_SCALE = float(np.finfo(np.float16).max)


def ternary_project(W: Any, group_size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """(codes, scales): the nearest ternary weights, W ~ scale * code with codes -1, 0 and 1, in groups along the input.

    W            latent weights, float16, float32 or float64 of shape (R, C): R outputs, C inputs
    group_size   inputs that share a scale, at least 1; the last group of a row may be shorter, and nothing is padded

    scales (R, ceil(C / group_size)) are float16, the mean of |w| over the group.  codes (R, C) are int8, w / scale (the
    scale as float16 holds it) rounded to the nearest whole number, a half to the even one, then clipped to -1..1.  A
    group whose mean is 0 in float16 has codes 0.  Projecting the result again shrinks it: keep codes and scales.

    Raises ArgumentError (a ValueError) for a wrong rank, integers, NaN or infinity, an empty matrix, group_size below 1
    and a mean beyond float16 (65504).
    """
    W = finite("W", float_array("W", W, "RC"))
    group_size = whole_number("group_size", group_size)
    starts = np.arange(0, W.shape[1], group_size)
    lengths: np.ndarray = np.diff(np.append(starts, W.shape[1]))
    with np.errstate(over="ignore"):  # a sum beyond float64 is refused below
        means = np.add.reduceat(np.abs(W.astype(np.float64)), starts, axis=1) / lengths
    if means.max() > LARGEST_SCALE:
        raise ArgumentError(f"W of shape {W.shape} has a group of mean {means.max():.4g}, beyond fp16; rescale it")
    scales = means.astype(np.float16)
    step = np.repeat(scales.astype(np.float64), lengths, axis=1)
    codes = np.clip(np.rint(W / np.where(step == 0, 1.0, step)), -1, 1)
    return np.where(step == 0, 0, codes).astype(np.int8), scales


def ternary_expand(codes: np.ndarray, scales: np.ndarray, group_size: int = 128, dtype: Any = np.float32) -> np.ndarray:
    """The weights that codes and scales stand for, [R, C]."""
    n_columns = codes.shape[1]
    wanted = (codes.shape[0], -(-n_columns // whole_number("group_size", group_size)))
    same_shape("scales", scales, f"groups of {group_size} of codes {codes.shape}", wanted)
    return codes.astype(dtype) * np.repeat(scales.astype(dtype), group_size, axis=1)[:, :n_columns]


def ternary_linear_forward(x: Any, W: Any, group_size: int = 128) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """(y, cache) with y = x what^T; x [..., C], W latent [R, C], y [..., R]."""
    x = finite("x", float_array("x", x, "C", at_least=True))
    W = float_array("W", W, "RC")
    if x.shape[-1] != W.shape[1]:
        raise ArgumentError(f"x of shape {x.shape} does not fit W of shape {W.shape}")
    what = ternary_expand(*ternary_project(W, group_size), group_size, W.dtype)
    return as_given(_product(x, what.T), x), (x, what)


def ternary_linear_backward(dy: Any, cache: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(dx, dW): dW is the gradient of the latent weights, straight through the rounding."""
    x, what = cache
    dy = finite("dy", float_array("dy", dy, "R", at_least=True))
    same_shape("dy", dy, "y", (*x.shape[:-1], what.shape[0]))
    dy_NR, x_NC = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return as_given(_product(dy, what), dy), as_given(_product(dy_NR.T, x_NC), what)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b with sums in float32 at least."""
    work = working_dtype(a, b)
    return a.astype(work, copy=False) @ b.astype(work, copy=False)


def ternary_pack(codes: Any) -> np.ndarray:
    """Four codes to a byte: uint8 (R, ceil(C / 4)) of codes (R, C) from {-1, 0, 1}.

    `codes` of a row stand in order, code + 1 in two bits, the first column in the lowest two; a row begins on a new
    byte, and what its last byte has too much is filled with code 0 (bits 01).

    Raises ArgumentError (a ValueError) for a wrong rank, an empty matrix or other codes.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.size == 0:
        raise ArgumentError(f"codes should have the axes (R, C), none empty, but their shape is {codes.shape}")
    if not np.isin(codes, (-1, 0, 1)).all():
        raise ArgumentError(f"codes of shape {codes.shape} hold others than -1, 0 and 1")
    n_rows, n_columns = codes.shape
    bits = np.ones((n_rows, -(-n_columns // 4) * 4), np.uint8)
    bits[:, :n_columns] = codes + 1
    return np.bitwise_or.reduce(bits.reshape(n_rows, -1, 4) << np.arange(0, 8, 2, dtype=np.uint8), axis=2)


def ternary_unpack(packed: Any, n_columns: int) -> np.ndarray:
    """The codes int8 [R, n_columns] of packed uint8 [R, ceil(n_columns / 4)].

    Raises ArgumentError for another shape or type, and for bits 11.
    """
    packed, n_columns = np.asarray(packed), whole_number("n_columns", n_columns)
    if packed.dtype != np.uint8 or packed.ndim != 2:
        raise ArgumentError(f"packed should be uint8 [R, bytes], not {packed.dtype} of shape {packed.shape}")
    same_shape("packed", packed, f"rows of {n_columns} codes", (len(packed), -(-n_columns // 4)))
    bits = (packed[:, :, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3
    if (bits == 3).any():
        raise ArgumentError(f"packed of shape {packed.shape} holds the bits 11, which stand for no code")
    return bits.reshape(len(packed), -1)[:, :n_columns].astype(np.int8) - np.int8(1)


def ternary_matvec(x: Any, packed: Any, scales: np.ndarray, group_size: int = 128) -> np.ndarray:
    """y = x what^T from packed codes: the product with the weights that codes and scales stand for.

    x            floats of shape (..., C)
    packed       uint8 (R, ceil(C / 4)), as `ternary_pack` writes it: code + 1 in two bits, the first column in the
                 lowest
    scales       (R, ceil(C / group_size)), one per group of inputs
    group_size   inputs that share a scale; the last group of a row may be shorter

    y has the shape (..., R) and the dtype of x; sums are float64.

    Raises ArgumentError (a ValueError) for shapes that do not fit, other types, NaN or infinity in x, and bits 11,
    which stand for no code.
    """
    x = finite("x", float_array("x", x, "C", at_least=True))
    what = ternary_expand(ternary_unpack(packed, x.shape[-1]), scales, group_size, np.float64)
    return (x.astype(np.float64) @ what.T).astype(x.dtype)
