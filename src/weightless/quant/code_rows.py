"""Rows of codes and their scales: numbers to bytes and back (the layouts are told in `quant/formats.py`)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weightless.base.errors import ConfigError
from weightless.quant.layout import NIBBLE_GROUP, Format, code_bytes, group_sizes, n_groups, used_code_bytes
from weightless.quant.rules import codes, wanted_scales
from weightless.quant.words import FIVE, pack_fives, pack_words, unpack_fives, unpack_words


def grouped(x_RC: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """([R, G, size], how many numbers of each group count [G]), the last group filled up with zeros."""
    rows, cols = x_RC.shape
    if cols % size:
        x_RC = np.pad(x_RC, ((0, 0), (0, size - cols % size)))
    groups = x_RC.reshape(rows, x_RC.shape[1] // size, size)
    return groups, np.minimum(size, cols - size * np.arange(groups.shape[1]))


def quantise(
    x_RC: np.ndarray, fmt: Format, clip_RG: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes q float32 [R, C], scales float32 [R, G] as decoded, their bytes [R, scale_bytes]) of x float32 [R, C].

    `clip_RG` multiplies the scales that the rule gives, float32 [R, G] or [1, 1].
    """
    if not np.isfinite(x_RC).all():
        raise ConfigError(f"the tensor holds NaN or infinity, which {fmt.name} cannot store: training has diverged")
    x_RGL, count_G = grouped(x_RC, fmt.group_size(x_RC.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        scale_RG = wanted_scales(x_RGL, count_G, fmt.parts)
        scale_RG = scale_RG if clip_RG is None else scale_RG * clip_RG
        kept_RG, stored = _scales_16(scale_RG) if fmt.parts.scale_bits == 16 else _scales_8(scale_RG)
    if not np.isfinite(kept_RG).all():
        raise ConfigError(
            f"a number of size {np.abs(x_RC).max():.4g} needs an fp16 scale above 65504 in {fmt.name}: "
            "scale the tensor down, or store it as bf16"
        )
    q_RGL = codes(x_RGL, kept_RG, fmt.levels)
    return q_RGL.reshape(len(x_RC), q_RGL.shape[1] * q_RGL.shape[2])[:, : x_RC.shape[1]], kept_RG, stored


def _scales_16(scale_RG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    halves = np.ascontiguousarray(scale_RG, "<f2")
    return halves.astype(np.float32), halves.view(np.uint8)


def _scales_8(scale_RG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unit_R = (scale_RG.max(axis=1, initial=0) / np.float32(255)).astype("<f2")
    wide_R1 = unit_R.astype(np.float32)[:, None]
    ratio_RG = scale_RG / np.where(wide_R1 > 0, wide_R1, np.float32(1))
    n_RG = np.where(scale_RG > 0, np.clip(np.rint(ratio_RG), 1, 255), 0)
    stored = np.zeros((len(n_RG), 2 + n_RG.shape[1] + n_RG.shape[1] % 2), np.uint8)
    stored[:, :2] = unit_R[:, None].view(np.uint8)
    stored[:, 2 : 2 + n_RG.shape[1]] = np.where(np.isfinite(n_RG), n_RG, 0)
    return n_RG.astype(np.float32) * wide_R1, stored


def decoded_scales(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    """Scales float32 [R, G] of stored rows."""
    start, groups = code_bytes(fmt.name, cols), n_groups(fmt.name, cols)
    if fmt.parts.scale_bits == 16:
        return np.ascontiguousarray(rows_RB[:, start : start + 2 * groups]).view("<f2").astype(np.float32)
    unit_R1 = np.ascontiguousarray(rows_RB[:, start : start + 2]).view("<f2").astype(np.float32)
    return rows_RB[:, start + 2 : start + 2 + groups].astype(np.float32) * unit_R1


def encode_codes(x_RC: np.ndarray, fmt: Format, out_RB: np.ndarray, clip_RG: np.ndarray | None = None) -> None:
    q_RC, _, scales = quantise(x_RC, fmt, clip_RG)
    lay_rows(q_RC, scales, fmt, out_RB)


def lay_rows(q_RC: np.ndarray, scales_RB: np.ndarray, fmt: Format, out_RB: np.ndarray) -> None:
    """Codes (values in units of the scale) and the bytes of the scales into stored rows full of zeros."""
    cols = q_RC.shape[1]
    laid = _LAID.get(fmt.parts.storage, _fives_laid if fmt.parts.base == "t5" else _words_laid)(q_RC, fmt)
    out_RB[:, : laid.shape[1]] = laid
    out_RB[:, code_bytes(fmt.name, cols) :] = scales_RB


def decoded_codes(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    """Codes float32 [R, C] in units of the scale, of stored rows."""
    read = _READ.get(fmt.parts.storage, _read_fives if fmt.parts.base == "t5" else _read_words)
    return read(rows_RB, fmt, cols).astype(np.float32)


def decode_codes(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    scale_RG, q_RC = decoded_scales(rows_RB, fmt, cols), decoded_codes(rows_RB, fmt, cols)
    value_RGL = grouped(q_RC, fmt.group_size(cols))[0] * scale_RG[:, :, None]
    return value_RGL.reshape(len(rows_RB), n_groups(fmt.name, cols) * value_RGL.shape[2])[:, :cols]


def _words_laid(q_RC: np.ndarray, fmt: Format) -> np.ndarray:
    return pack_words((q_RC + np.float32((fmt.levels - 1) / 2)).astype(np.uint32), int(fmt.bits))


def _read_words(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    u_RC = unpack_words(rows_RB[:, : used_code_bytes(fmt.name, cols)], int(fmt.bits), cols)
    return u_RC.astype(np.float32) - np.float32((fmt.levels - 1) / 2)


def _fives_laid(q_RC: np.ndarray, fmt: Format) -> np.ndarray:
    ends = np.cumsum(group_sizes(fmt.name, q_RC.shape[1]))[:-1]
    return np.concatenate([pack_fives(part + np.float32(1)) for part in np.split(q_RC, ends, axis=1)], axis=1)


def _read_fives(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    out, at = [np.empty((len(rows_RB), 0), np.int8)], 0
    for size in group_sizes(fmt.name, cols):
        n = -(-size // FIVE)
        out.append(unpack_fives(rows_RB[:, at : at + n], size))
        at += n
    return np.concatenate(out, axis=1)


def _int8_laid(q_RC: np.ndarray, fmt: Format) -> np.ndarray:
    return q_RC.astype(np.int8).view(np.uint8)


def _read_int8(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    return rows_RB[:, :cols].view(np.int8)


def _int4_laid(q_RC: np.ndarray, fmt: Format) -> np.ndarray:
    nibble_RC = (q_RC + np.float32(8)).astype(np.uint8)
    out_RB = np.empty((len(q_RC), q_RC.shape[1] // 2), np.uint8)
    for start, half in _int4_groups(q_RC.shape[1]):
        low, high = nibble_RC[:, start : start + half], nibble_RC[:, start + half : start + 2 * half]
        out_RB[:, start // 2 : start // 2 + half] = low | (high << 4)
    return out_RB


def _read_int4(rows_RB: np.ndarray, fmt: Format, cols: int) -> np.ndarray:
    q_RC = np.empty((len(rows_RB), cols), np.int8)
    for start, half in _int4_groups(cols):
        byte = rows_RB[:, start // 2 : start // 2 + half]
        q_RC[:, start : start + half] = (byte & 15).view(np.int8) - np.int8(8)
        q_RC[:, start + half : start + 2 * half] = (byte >> 4).view(np.int8) - np.int8(8)
    return q_RC


def _int4_groups(cols: int) -> list[tuple[int, int]]:
    """(first column, half the length) of every group."""
    return [(start, (min(start + NIBBLE_GROUP, cols) - start) // 2) for start in range(0, cols, NIBBLE_GROUP)]


_Laid = Callable[[np.ndarray, Format], np.ndarray]
_Read = Callable[[np.ndarray, Format, int], np.ndarray]
_LAID: dict[str, _Laid] = {"int8": _int8_laid, "int4": _int4_laid}
_READ: dict[str, _Read] = {"int8": _read_int8, "int4": _read_int4}
