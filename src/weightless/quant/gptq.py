"""GPTQ: round a matrix column by column and let the columns to come make up for it (Frantar et al. 2022, 2210.17323).

For inputs x the error of a row is  e(q) = (w - q) H (w - q)'  with H = E[x x'].  Columns are rounded in order; the
error of one is spread over those behind it so that e stays as small as it can be with what is rounded so far:

    q_j = nearest code of w_j      w_k <- w_k - (w_j - q_j) U_jk / U_jj  for k > j      H^-1 = U' U, U upper triangular

Scales are those of the format's rule for the matrix as it was.  `damping` times the mean of H's diagonal is added to
the diagonal, for inputs that never vary.  Rounding to nearest is what comes out where H is diagonal.
Errors: ConfigError for shapes that do not fit, or moments that are not finite.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.quant.code_rows import lay_rows, quantise
from weightless.quant.layout import Format, row_bytes
from weightless.quant.rules import codes

DAMPING = 0.01
BLOCK = 128
"""Columns whose errors are spread among themselves at once, and over the rest together."""


def compress(w_RC: np.ndarray, moment_CC: np.ndarray, fmt: Format, damping: float = DAMPING) -> np.ndarray:
    """Stored rows, uint8 [R, row_bytes], of w float32 for inputs of second moment `moment_CC`."""
    cols = w_RC.shape[1]
    if moment_CC.shape != (cols, cols) or not np.isfinite(moment_CC).all():
        raise ConfigError(f"second moments of {list(moment_CC.shape)} do not suit {cols} columns, or are not finite")
    if not fmt.levels:
        raise ConfigError(f"{fmt.name} has no codes: nothing is compressed")
    _, scale_RG, scale_bytes = quantise(w_RC, fmt)
    upper_CC = inverse_root(moment_CC, damping)
    work_RC, size = w_RC.astype(np.float64), fmt.group_size(cols)
    q_RC = np.empty(w_RC.shape, np.float32)
    for first in range(0, cols, BLOCK):
        last = min(first + BLOCK, cols)
        error_RB = np.empty((len(w_RC), last - first))
        for j in range(first, last):
            scale_R1 = scale_RG[:, j // size, None]
            q_RC[:, j] = codes(work_RC[:, None, j, None].astype(np.float32), scale_R1, fmt.levels)[:, 0, 0]
            error_R = (work_RC[:, j] - q_RC[:, j] * scale_R1[:, 0].astype(np.float64)) / upper_CC[j, j]
            work_RC[:, j + 1 : last] -= error_R[:, None] * upper_CC[j, j + 1 : last]
            error_RB[:, j - first] = error_R
        work_RC[:, last:] -= error_RB @ upper_CC[first:last, last:]
    out_RB = np.zeros((len(w_RC), row_bytes(fmt.name, cols)), np.uint8)
    lay_rows(q_RC, scale_bytes, fmt, out_RB)
    return out_RB


def inverse_root(moment_CC: np.ndarray, damping: float) -> np.ndarray:
    """U upper triangular with U' U = (H + damping mean(diag H) I)^-1, float64; inputs that are always 0 count as 1."""
    damped_CC = moment_CC.astype(np.float64)
    diagonal_C = np.diagonal(damped_CC).copy()
    mean = float(diagonal_C.mean()) or 1.0
    dead_C = diagonal_C <= 0
    damped_CC[dead_C, :], damped_CC[:, dead_C] = 0, 0
    damped_CC[np.diag_indices_from(damped_CC)] += np.where(dead_C, mean, damping * mean)
    return np.linalg.cholesky(np.linalg.inv(damped_CC)).T


def weighted_error(w_RC: np.ndarray, q_RC: np.ndarray, moment_CC: np.ndarray) -> np.ndarray:
    """e(q) of every row, float64 [R]."""
    difference_RC = w_RC.astype(np.float64) - q_RC
    return np.einsum("rc,cd,rd->r", difference_RC, moment_CC, difference_RC)
