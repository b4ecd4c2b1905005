"""The quantiser of the published Parameter Golf baseline, so that its files can be made here to the byte of every code.

    matrices of more than 65,536 numbers, row by row       others
        c = quantile of |w|, linear, q = 0.9999984             stay numbers: fp16, or fp32 where they control
        s = max(c / 127, 1 / 127)
        q = clip(round(clip(w, -c, c) / s), -127, 127)     to the even one of two equally near

Codes are made with s in float32, and stored beside fp16(s): as rows of the format int8_row, whose name needs no rule,
because codes and scales are the master copy.  `int8_row@quantile` is nearly the same: its codes are made with the
stored scale, and its scales have no least value.
Errors: ConfigError for NaN and infinity, and for rows whose scale is beyond fp16.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.quant.code_rows import lay_rows
from weightless.quant.layout import format_named, row_bytes

FORMAT = "int8_row"
QUANTILE = 0.9999984
KEPT_UP_TO = 65_536
"""Tensors of so many numbers, or fewer, are not rounded to codes."""
LIMIT = np.float32(127)


def published_codes(w_RC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(codes int8 [R, C], scales float16 [R]) of w float32 [R, C]."""
    if not np.isfinite(w_RC).all():
        raise ConfigError("the tensor holds NaN or infinity: training has diverged")
    w_RC = np.ascontiguousarray(w_RC, np.float32)
    clip_R1 = np.quantile(np.abs(w_RC), np.float64(QUANTILE), axis=1, method="linear").astype(np.float32)[:, None]
    scale_R1 = np.maximum(clip_R1 / LIMIT, np.float32(1) / LIMIT)
    codes_RC = np.clip(np.rint(np.clip(w_RC, -clip_R1, clip_R1) / scale_R1), -LIMIT, LIMIT).astype(np.int8)
    with np.errstate(over="ignore"):
        kept_R = scale_R1[:, 0].astype(np.float16)
    if not np.isfinite(kept_R).all():
        raise ConfigError(f"a number of size {np.abs(w_RC).max():.4g} needs a scale beyond fp16: scale the tensor down")
    return codes_RC, kept_R


def published_rows(w_RC: np.ndarray) -> np.ndarray:
    """The same as stored rows of int8_row, uint8 [R, row_bytes]."""
    codes_RC, scale_R = published_codes(w_RC)
    out_RB = np.zeros((len(w_RC), row_bytes(FORMAT, w_RC.shape[1])), np.uint8)
    scales_RB = np.ascontiguousarray(scale_R[:, None], "<f2").view(np.uint8)
    lay_rows(codes_RC.astype(np.float32), scales_RB, format_named(FORMAT), out_RB)
    return out_RB
