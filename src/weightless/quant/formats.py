"""Row formats: how one row of a stored tensor becomes bytes, and back (NumPy; the truth for every fast kernel).

A tensor is stored row by row, little-endian, and every row can be read alone.

    f32 f16 bf16     cols elements; f16 and bf16 round to nearest, ties to even
    u8 u16 u32 i32   cols integers, unchanged
    int8             cols codes (int8), one zero byte if cols is odd, then ceil(cols/64) fp16 scales
    int4             per group of L columns (64; the last may be shorter, but even) L/2 bytes, of which byte i holds
                     (q[i]+8) in its low and (q[i+L/2]+8) in its high half; one zero byte if their number is odd;
                     then ceil(cols/64) fp16 scales

Both integer codes are symmetric, with groups of 64 along the row and m = 127 or 7:

    scale = fp16(max|x| / m)      q = clip(round_half_even(x / scale), -m, m)      value = q * scale

in float32 arithmetic; a scale that rounds to 0 gives codes 0.  `value` is exact in float32.
Errors: ConfigError for an unknown format, NaN or infinity in int8/int4, and numbers too large for the format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, nearest

GROUP = 64
BLOCK_ELEMENTS = 1 << 20
"""Rows are converted in blocks of about this many elements, so that temporaries stay small."""


@dataclass(frozen=True)
class Format:
    """One row format: `bits` per element without scales, `group` columns per fp16 scale (0: no scales)."""

    name: str
    bits: int
    group: int = 0
    dtype: str = ""
    limit: int = 0

    @property
    def is_integer_table(self) -> bool:
        """True for indices and counts (u8 u16 u32 i32), which are never rounded."""
        return bool(self.dtype) and self.dtype[-2] in "ui"

    @property
    def bits_per_element(self) -> float:
        """Bits per element with the scales, padding aside: int4 is 4.25."""
        return self.bits + (16 / self.group if self.group else 0)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        f.name: f
        for f in (
            Format("f32", 32, dtype="<f4"),
            Format("f16", 16, dtype="<f2"),
            Format("bf16", 16),
            Format("int8", 8, group=GROUP, limit=127),
            Format("int4", 4, group=GROUP, limit=7),
            Format("u8", 8, dtype="|u1"),
            Format("u16", 16, dtype="<u2"),
            Format("u32", 32, dtype="<u4"),
            Format("i32", 32, dtype="<i4"),
        )
    }
)


def format_named(name: str) -> Format:
    """The format of that name; ConfigError naming the nearest one."""
    try:
        return FORMATS[name]
    except KeyError:
        raise ConfigError(f"unknown format {name!r}: {nearest(str(name), FORMATS)}") from None


def is_quantised(fmt: str) -> bool:
    """True for formats with group scales (int8, int4)."""
    return format_named(fmt).group > 0


def n_groups(cols: int) -> int:
    """Scales per row."""
    return -(-cols // GROUP)


def code_bytes(fmt: str, cols: int) -> int:
    """Bytes of one row before its scales, the even padding included; the scales start here."""
    bits = format_named(fmt).bits
    if fmt == "int4" and cols % 2:
        raise ConfigError(f"int4 packs two columns per byte and cannot hold {cols} columns: make it even, or use int8")
    n = cols * bits // 8
    return n + n % 2 if is_quantised(fmt) else n


def row_bytes(fmt: str, cols: int) -> int:
    """Bytes of one stored row."""
    if cols < 0:
        raise ConfigError(f"a row cannot have {cols} columns")
    return code_bytes(fmt, cols) + (2 * n_groups(cols) if is_quantised(fmt) else 0)


def stored_bytes(fmt: str, rows: int, cols: int) -> int:
    """Bytes of `rows` stored rows without row padding."""
    return rows * row_bytes(fmt, cols)


def encode_rows(x_RC: np.ndarray, fmt: str) -> np.ndarray:
    """Rows of numbers -> uint8 [R, row_bytes]; ConfigError when the format cannot hold them."""
    x_RC = _as_matrix(x_RC, format_named(fmt))
    rows, cols = x_RC.shape
    out_RB = np.zeros((rows, row_bytes(fmt, cols)), np.uint8)
    for block in _blocks(rows, cols):
        _ENCODERS.get(fmt, _encode_plain)(x_RC[block], format_named(fmt), out_RB[block])
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
        out_RC[block] = _DECODERS.get(fmt, _decode_plain)(rows_RB, described, cols)
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


def _grouped(x_RC: np.ndarray) -> np.ndarray:
    """[R, C] -> [R, G, 64], the last group filled up with zeros."""
    rows, cols = x_RC.shape
    if cols % GROUP:
        x_RC = np.pad(x_RC, ((0, 0), (0, GROUP - cols % GROUP)))
    return x_RC.reshape(rows, -1, GROUP)


def _quantise(x_RC: np.ndarray, fmt: Format) -> tuple[np.ndarray, np.ndarray]:
    """Codes int8 [R, C] and scales fp16 [R, G]."""
    x_RC = _float32(x_RC, fmt)
    if not np.isfinite(x_RC).all():
        raise ConfigError(f"the tensor holds NaN or infinity, which {fmt.name} cannot store: training has diverged")
    x_RGL = _grouped(x_RC)
    largest_RG = np.abs(x_RGL).max(axis=2, initial=0)
    with np.errstate(over="ignore"):
        scale_RG = (largest_RG / np.float32(fmt.limit)).astype("<f2")
    if np.isinf(scale_RG).any():
        raise ConfigError(
            f"a number of size {largest_RG.max():.4g} needs an fp16 scale above 65504 in {fmt.name}: "
            "scale the tensor down, or store it as bf16"
        )
    divisor_RG = np.where(scale_RG > 0, scale_RG, 1).astype(np.float32)
    q_RGL = np.clip(np.rint(x_RGL / divisor_RG[:, :, None]), -fmt.limit, fmt.limit).astype(np.int8)
    return q_RGL.reshape(len(x_RC), -1)[:, : x_RC.shape[1]], scale_RG


def _dequantise(q_RC: np.ndarray, rows_RB: np.ndarray, fmt: Format) -> np.ndarray:
    cols = q_RC.shape[1]
    start = code_bytes(fmt.name, cols)
    scale_RG = np.ascontiguousarray(rows_RB[:, start:]).view("<f2").astype(np.float32)
    value_RGL = _grouped(q_RC).astype(np.float32) * scale_RG[:, :, None]
    return value_RGL.reshape(len(q_RC), -1)[:, :cols]


def _encode_int8(x_RC: np.ndarray, fmt: Format, out_RB: np.ndarray) -> None:
    q_RC, scale_RG = _quantise(x_RC, fmt)
    out_RB[:, : q_RC.shape[1]] = q_RC.view(np.uint8)
    out_RB[:, code_bytes("int8", q_RC.shape[1]) :] = scale_RG.view(np.uint8)


def _decode_int8(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    return _dequantise(rows_RB[:, :cols].view(np.int8), rows_RB, fmt)


def _encode_int4(x_RC: np.ndarray, fmt: Format, out_RB: np.ndarray) -> None:
    q_RC, scale_RG = _quantise(x_RC, fmt)
    nibble_RC = (q_RC + np.int8(8)).view(np.uint8)
    for start, half in _int4_groups(q_RC.shape[1]):
        low, high = nibble_RC[:, start : start + half], nibble_RC[:, start + half : start + 2 * half]
        out_RB[:, start // 2 : start // 2 + half] = low | (high << 4)
    out_RB[:, code_bytes("int4", q_RC.shape[1]) :] = scale_RG.view(np.uint8)


def _decode_int4(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    q_RC = np.empty((len(rows_RB), cols), np.int8)
    for start, half in _int4_groups(cols):
        byte = rows_RB[:, start // 2 : start // 2 + half]
        q_RC[:, start : start + half] = (byte & 15).view(np.int8) - np.int8(8)
        q_RC[:, start + half : start + 2 * half] = (byte >> 4).view(np.int8) - np.int8(8)
    return _dequantise(q_RC, rows_RB, fmt)


def _int4_groups(cols: int) -> list[tuple[int, int]]:
    """(first column, half the length) of every group."""
    return [(start, (min(start + GROUP, cols) - start) // 2) for start in range(0, cols, GROUP)]


_Encoder = Callable[[np.ndarray, Format, np.ndarray], None]
_Decoder = Callable[[np.ndarray, Format, int], np.ndarray]
_ENCODERS: dict[str, _Encoder] = {"bf16": _encode_bf16, "int8": _encode_int8, "int4": _encode_int4}
_DECODERS: dict[str, _Decoder] = {"bf16": _decode_bf16, "int8": _decode_int8, "int4": _decode_int4}
