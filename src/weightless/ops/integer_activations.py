"""Activations rounded to eight bits before they meet codes: products of whole numbers (NumPy, the truth).

    x is cut into groups of 64 columns           m = max |x_j| of a group
    a_j = rint(x_j * (127 / m))                  s = m / 127                  x' = a s

    y_i = sum_j w_ij x'_j = sum_(groups) (s_x s_w sum_j q_ij a_j)

in float32, halves to the even number; where m < 1e-30, a group of zeros among them, x' is 0.  A group with a number
that is not finite is NaN as a whole.  The sums of q a are whole numbers and exact, whatever their order.
`a` lies in -127 … 127.  Source: the way of llama.cpp's `Q8_0` activations, but with groups of 64.
"""

from __future__ import annotations

import numpy as np

BLOCK = 64
"""Columns that share a scale."""
LEAST = 1e-30
"""Groups of smaller numbers are zero: 127 / m has to be a number."""
ACTIVATION_FORMATS = ("f32", "int8")
"""What a product may do with its activations: take them as they are, or round them as here."""


def integer_activations(x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x [..., D] -> (codes int8 [..., ceil(D / 64) * 64], zeros behind D; scales float32 [..., ceil(D / 64)])."""
    *lead, width = x_ND.shape
    n_blocks = -(-width // BLOCK)
    padded = np.zeros((*lead, n_blocks * BLOCK), np.float32)
    padded[..., :width] = x_ND
    x_NGB = padded.reshape(*lead, n_blocks, BLOCK)
    finite_NG = np.asarray(np.isfinite(x_NGB).all(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        m_NG = np.where(finite_NG, np.abs(x_NGB).max(axis=-1, initial=0), np.float32(0))
        zero_NG = m_NG < np.float32(LEAST)
        inverse_NG = np.where(zero_NG, np.float32(0), np.float32(127) / m_NG)
        codes_NGB = np.where(finite_NG[..., None], np.rint(x_NGB * inverse_NG[..., None]), 0).astype(np.int8)
    scales_NG = np.where(zero_NG, np.float32(0), m_NG * np.float32(1 / 127))
    return codes_NGB.reshape(padded.shape), np.where(finite_NG, scales_NG, np.float32(np.nan)).astype(np.float32)


def rounded_activations(x_ND: np.ndarray) -> np.ndarray:
    """x' [..., D], float32 numbers in the type of x."""
    codes_NC, scales_NG = integer_activations(x_ND)
    x_NGB = codes_NC.reshape(*scales_NG.shape, BLOCK).astype(np.float32) * scales_NG[..., None]
    return x_NGB.reshape(codes_NC.shape)[..., : x_ND.shape[-1]].astype(x_ND.dtype, copy=False)


def taken(x_ND: np.ndarray, activations: str) -> np.ndarray:
    """What a product with activations of this format multiplies: x, or x rounded."""
    return x_ND if activations == "f32" else rounded_activations(x_ND)
