"""Row formats: how one row of a stored tensor becomes bytes, and back (NumPy; the truth for every fast kernel).

A tensor is stored row by row, little-endian, and every row can be read alone.

    f32 f16 bf16     cols elements; f16 and bf16 round to nearest, ties to even
    u8 u16 u32 i32   cols integers, unchanged
    int8             cols codes (int8), one zero byte if cols is odd, then the scales
    int4             per group of L columns (64; the last may be shorter, but even) L/2 bytes, of which byte i holds
                     (q[i]+8) in its low and (q[i+L/2]+8) in its high half; one zero byte if their number is odd;
                     then the scales
    all others       q + m in words of 32 bits, or t5 five to a byte (`quant/words.py`, which also gives the places);
    with codes       one zero byte if the number of bytes is odd; then the scales.  So are int8 and int4 with
                     other groups or scales than the usual ones
    scales           one fp16 per group of columns; or of 8 bits (`_s8`): an fp16 unit, one byte per group, one zero
                     byte if their number is odd

All codes are symmetric, with m = (levels - 1) / 2 (`base/format_names.py`):

    q = nearest code of x / scale      value = q * scale      scale = fp16 of what the rule says (`quant/rules.py`)

in float32 arithmetic; a scale that rounds to 0 gives codes 0.  Of 8 bits, scale = unit * n, with unit = fp16(largest
scale of the row / 255) and n from 1 to 255 for every group that is not zero.  `value` is exact in float32.
Errors: ConfigError for an unknown format, NaN or infinity where there are codes, and numbers too large for the format.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.quant.code_rows import decode_codes, encode_codes
from weightless.quant.layout import Format, format_named, is_quantised, row_bytes

BLOCK_ELEMENTS = 1 << 20
"""Rows are converted in blocks of about this many elements, so that temporaries stay small."""


def encode_rows(x_RC: np.ndarray, fmt: str) -> np.ndarray:
    """Rows of numbers -> uint8 [R, row_bytes]; ConfigError when the format cannot hold them."""
    x_RC = _as_matrix(x_RC, format_named(fmt))
    rows, cols = x_RC.shape
    out_RB = np.zeros((rows, row_bytes(fmt, cols)), np.uint8)
    for block in _blocks(rows, cols):
        _coders(fmt)[0](x_RC[block], format_named(fmt), out_RB[block])
    return out_RB


def decode_rows(stored_RB: np.ndarray, fmt: str, cols: int) -> np.ndarray:
    """uint8 [R, at least row_bytes] -> float32 [R, cols], or the integers of an integer table.

    Bytes of a row behind `row_bytes` are row padding and are not read.
    """
    n_bytes = row_bytes(fmt, cols)
    if stored_RB.ndim != 2 or stored_RB.dtype != np.uint8 or stored_RB.shape[1] < n_bytes:
        raise CorruptFileError(
            f"a row of {cols} columns in {fmt} takes {n_bytes} bytes, but the stored array is "
            f"{stored_RB.dtype} {list(stored_RB.shape)}: it was packed for another shape or format"
        )
    described = format_named(fmt)
    dtype = np.dtype(described.dtype).newbyteorder("=") if described.is_integer_table else np.float32
    out_RC = np.empty((stored_RB.shape[0], cols), dtype)
    for block in _blocks(len(out_RC), cols):
        rows_RB = np.ascontiguousarray(stored_RB[block, :n_bytes])
        out_RC[block] = _coders(fmt)[1](rows_RB, described, cols)
    return out_RC


def _blocks(rows: int, cols: int) -> list[slice]:
    step = max(1, BLOCK_ELEMENTS // max(1, cols))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _as_matrix(x_RC: np.ndarray, fmt: Format) -> np.ndarray:
    x_RC = np.asarray(x_RC)
    if x_RC.ndim != 2:
        raise ConfigError(f"a stored tensor has rows and columns; got shape {list(x_RC.shape)}: reshape it to 2-D")
    if fmt.is_integer_table:
        if x_RC.dtype.kind not in "ui":
            raise ConfigError(f"{fmt.name} stores integers, got {x_RC.dtype}: convert it, or use f32")
        return x_RC
    if x_RC.dtype.kind != "f":
        raise ConfigError(f"{fmt.name} stores floating-point numbers, got {x_RC.dtype}: convert it to float32")
    return x_RC


def _float32(x_RC: np.ndarray, fmt: Format) -> np.ndarray:
    with np.errstate(over="ignore"):
        y_RC = np.ascontiguousarray(x_RC, np.float32)
    if x_RC.dtype.itemsize > 4:
        _refuse_overflow(x_RC, y_RC, fmt)
    return y_RC


def _refuse_overflow(x_RC: np.ndarray, y_RC: np.ndarray, fmt: Format) -> None:
    if (np.isinf(y_RC) & np.isfinite(x_RC)).any():
        largest = float(np.abs(x_RC[np.isfinite(x_RC)]).max())
        raise ConfigError(f"{largest:.4g} is too large for {fmt.name}: scale the tensor down, or store it as f32")


def _encode_plain(x_RC: np.ndarray, fmt: Format, out_RB: np.ndarray) -> None:
    dtype = np.dtype(fmt.dtype)
    if fmt.is_integer_table:
        limits = np.iinfo(dtype)
        if x_RC.size and (int(x_RC.min()) < limits.min or int(x_RC.max()) > limits.max):
            raise ConfigError(f"{fmt.name} holds {limits.min} to {limits.max}, got {x_RC.min()} to {x_RC.max()}")
        y_RC = np.ascontiguousarray(x_RC, dtype)
    else:
        x_RC = _float32(x_RC, fmt)
        with np.errstate(over="ignore"):
            y_RC = x_RC.astype(dtype)
        _refuse_overflow(x_RC, y_RC, fmt)
    out_RB[:] = y_RC.view(np.uint8)


def _decode_plain(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    return rows_RB.view(fmt.dtype)


def _encode_bf16(x_RC: np.ndarray, fmt: Format, out_RB: np.ndarray) -> None:
    x_RC = _float32(x_RC, fmt)
    bits = x_RC.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")
    rounded[np.isnan(x_RC)] = 0x7FC0
    if (np.isfinite(x_RC) & ((rounded & 0x7FFF) == 0x7F80)).any():
        raise ConfigError("a number is too large for bf16: scale the tensor down, or store it as f32")
    out_RB[:] = rounded.view(np.uint8)


def _decode_bf16(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    return (rows_RB.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def _encode_codes(x_RC: np.ndarray, fmt: Format, out_RB: np.ndarray) -> None:
    encode_codes(_float32(x_RC, fmt), fmt, out_RB)


_Encoder = Callable[[np.ndarray, Format, np.ndarray], None]
_Decoder = Callable[[np.ndarray, Format, int], np.ndarray]


def _coders(fmt: str) -> tuple[_Encoder, _Decoder]:
    if is_quantised(fmt):
        return _encode_codes, decode_codes
    return (_encode_bf16, _decode_bf16) if fmt == "bf16" else (_encode_plain, _decode_plain)
