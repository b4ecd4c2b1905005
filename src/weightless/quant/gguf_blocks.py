"""Blocks of GGUF: how the numbers of a row become bytes in the types that other programs read, and back (NumPy).

A block holds `size` numbers of a row: whole codes q and one fp16 scale d, of which each number is q d.  Little-endian.

    Q8_0    32 numbers, 34 bytes     d, then q as int8
    Q4_0    32 numbers, 18 bytes     d, then 16 bytes: byte j holds q[j] + 8 in its low, q[j + 16] + 8 in its high half
    Q2_0    64 numbers, 18 bytes     d, then 16 bytes: q[j] + 1 lies in byte j / 4 at bits 2 (j mod 4)
    TQ2_0   256 numbers, 66 bytes    64 bytes, then d: q[128 c + 32 n + m] + 1 lies in byte 32 c + m at bits 2 n
    F32 F16 BF16                     numbers as they are (`quant/formats.py`)

Two bits could say q = 2 as well; no ternary number is written so, and it is read as what it says.

Between our formats and these, a row is codes q int8 [R, C] and scales s float32 [R, C / 32], one for every 32 columns:
larger groups say the same scale several times.  Codes that lie at halves (int2, binary) are doubled, and their scales
halved.  What fits a type is kept exactly; rounding is another matter, and done as llama.cpp does it (`rounded`).
Errors: ConfigError, CorruptFileError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.quant.code_rows import decoded_codes, decoded_scales, lay_rows
from weightless.quant.layout import format_named, is_quantised, n_groups, row_bytes

UNIT = 32
"""Columns of a scale, as rows are handed over here."""
PLAIN_OF = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
"""Types without codes, by our formats."""
LARGEST_SCALE = 65_504.0


class Blocks(NamedTuple):
    """A type with codes from `least` to `most`: numbers of a block, and how blocks are laid and read.

    `lay(q_RNL, d_RN)` gives uint8 [R, N, bytes]; `read(blocks_RNB)` the same back.
    """

    size: int
    n_bytes: int
    least: int
    most: int
    lay: Callable[[np.ndarray, np.ndarray], np.ndarray]
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def _scale_bytes(d_RN: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(d_RN, "<f2").view(np.uint8).reshape(*d_RN.shape, 2)


def _scales(stored_RN2: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(stored_RN2).view("<f2")[..., 0].astype(np.float32)


def _lay_q8(q_RNL: np.ndarray, d_RN: np.ndarray) -> np.ndarray:
    return np.concatenate([_scale_bytes(d_RN), q_RNL.view(np.uint8)], axis=2)


def _read_q8(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(blocks[..., 2:]).view(np.int8), _scales(blocks[..., :2])


def _lay_q4(q_RNL: np.ndarray, d_RN: np.ndarray) -> np.ndarray:
    u = (q_RNL + np.int8(8)).view(np.uint8)
    return np.concatenate([_scale_bytes(d_RN), u[..., :16] | (u[..., 16:] << 4)], axis=2)


def _read_q4(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    byte = blocks[..., 2:]
    u = np.concatenate([byte & 15, byte >> 4], axis=2)
    return u.view(np.int8) - np.int8(8), _scales(blocks[..., :2])


def _lay_q2(q_RNL: np.ndarray, d_RN: np.ndarray) -> np.ndarray:
    u = (q_RNL + np.int8(1)).view(np.uint8).reshape(*q_RNL.shape[:2], 16, 4)
    return np.concatenate([_scale_bytes(d_RN), _joined(np.moveaxis(u, 3, 0))], axis=2)


def _read_q2(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u = np.stack([(blocks[..., 2:] >> (2 * k)) & 3 for k in range(4)], axis=3)
    return u.reshape(*blocks.shape[:2], 64).view(np.int8) - np.int8(1), _scales(blocks[..., :2])


def _lay_tq2(q_RNL: np.ndarray, d_RN: np.ndarray) -> np.ndarray:
    u = (q_RNL + np.int8(1)).view(np.uint8).reshape(*q_RNL.shape[:2], 2, 4, 32)
    codes = _joined(np.moveaxis(u, 3, 0)).reshape(*q_RNL.shape[:2], 64)
    return np.concatenate([codes, _scale_bytes(d_RN)], axis=2)


def _read_tq2(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    byte = blocks[..., :64].reshape(*blocks.shape[:2], 2, 32)
    u = np.stack([(byte >> (2 * k)) & 3 for k in range(4)], axis=3)
    return u.reshape(*blocks.shape[:2], 256).view(np.int8) - np.int8(1), _scales(blocks[..., 64:])


def _joined(u_4: np.ndarray) -> np.ndarray:
    """Four codes of two bits to a byte, the first in the lowest bits."""
    return u_4[0] | (u_4[1] << 2) | (u_4[2] << 4) | (u_4[3] << 6)


CODED: Mapping[str, Blocks] = {
    "TQ2_0": Blocks(256, 66, -1, 1, _lay_tq2, _read_tq2),
    "Q2_0": Blocks(64, 18, -1, 1, _lay_q2, _read_q2),
    "Q4_0": Blocks(32, 18, -8, 7, _lay_q4, _read_q4),
    "Q8_0": Blocks(32, 34, -127, 127, _lay_q8, _read_q8),
}
"""Types with codes, the smallest first."""


def codes_of(stored_RB: np.ndarray, fmt: str, cols: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(q, s) of rows in a format of ours; None where groups and units of 32 columns do not agree."""
    described = format_named(fmt)
    size = described.group_size(cols)
    if not is_quantised(fmt) or cols % UNIT or (size % UNIT and size != cols):
        return None
    rows = np.ascontiguousarray(stored_RB[:, : row_bytes(fmt, cols)])
    q, s_RG = decoded_codes(rows, described, cols), decoded_scales(rows, described, cols)
    if described.levels % 2 == 0:
        q, s_RG = q * 2, s_RG / 2
    s = np.repeat(s_RG, size // UNIT, axis=1)[:, : cols // UNIT]
    return q.astype(np.int8), s


def fits(name: str, q: np.ndarray, s: np.ndarray) -> bool:
    """Whether a type holds these rows exactly."""
    kind = CODED[name]
    if q.shape[1] % kind.size or not is_half(s):
        return False
    s_RNG = s.reshape(len(s), -1, kind.size // UNIT)
    if (s_RNG != s_RNG[:, :, :1]).any():
        return False
    q_RNL, _ = _turned(kind, q, s)
    return bool(q_RNL.size == 0 or (q_RNL.min() >= kind.least and q_RNL.max() <= kind.most))


def is_half(s: np.ndarray) -> bool:
    """Whether all scales are finite numbers of fp16."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(s).all() and (s.astype(np.float16).astype(np.float32) == s).all())


def _turned(kind: Blocks, q: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes [R, N, L] and scales [R, N] in blocks; a block that reaches one beyond `most` changes both signs."""
    q_RNL = np.ascontiguousarray(q).reshape(len(q), -1, kind.size)
    d_RN = s.reshape(len(s), -1, kind.size // UNIT)[:, :, 0]
    over = (q_RNL.max(axis=2, initial=0) == -kind.least) & (kind.least < -kind.most)
    return np.where(over[:, :, None], -q_RNL, q_RNL), np.where(over, -d_RN, d_RN)


def lay_codes(name: str, q: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Stored rows, uint8 [R, bytes], of codes that fit."""
    kind = CODED[name]
    return kind.lay(*_turned(kind, q, s)).reshape(len(q), -1)


def read_codes(name: str, stored_RB: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(q, s) of stored rows, no scale below zero; CorruptFileError for a scale that is no number."""
    kind = CODED[name]
    q_RNL, d_RN = kind.read(stored_RB.reshape(len(stored_RB), -1, kind.n_bytes))
    if not np.isfinite(d_RN).all():
        raise CorruptFileError("a scale is NaN or infinity")
    if (q_RNL == -128).any():
        raise CorruptFileError("a code is -128, which no quantiser makes")
    negative = d_RN < 0
    q = np.where(negative[:, :, None], -q_RNL, q_RNL).reshape(len(q_RNL), -1)
    return q, np.repeat(np.abs(d_RN), kind.size // UNIT, axis=1)


def rounded(name: str, x_RC: np.ndarray) -> np.ndarray:
    """Numbers rounded to Q8_0 or Q4_0 as llama.cpp does it, to stored rows.

    Q8_0: d = max |x| / 127, q = x / d to nearest, halves away from zero.  Q4_0: d = -m / 8 with m the number that is
    largest in size, q = floor(x / d + 8.5) - 8, at most 7; both in float32 with the d that is not yet rounded to fp16.
    """
    kind = CODED[name]
    x_RNL = np.ascontiguousarray(x_RC, np.float32).reshape(len(x_RC), -1, kind.size)
    if name == "Q8_0":
        d = np.abs(x_RNL).max(axis=2, keepdims=True) / np.float32(127)
        y = np.abs(x_RNL * _inverse(d))
        q = np.copysign(np.floor(y) + np.floor(2 * (y - np.floor(y))), x_RNL)
    else:
        m = np.take_along_axis(x_RNL, np.abs(x_RNL).argmax(axis=2)[:, :, None], axis=2)
        d = m / np.float32(-8)
        q = np.clip(np.trunc(x_RNL * _inverse(d) + np.float32(8.5)), 0, 15) - 8
    if np.abs(d).max(initial=0) > LARGEST_SCALE:
        raise ConfigError(f"it needs an fp16 scale above {LARGEST_SCALE:g} in {name}: write it as f32 or bf16")
    return kind.lay(q.astype(np.int8), d[:, :, 0]).reshape(len(x_RC), -1)


def _inverse(d: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", over="ignore"):
        return np.where(d == 0, np.float32(0), np.float32(1) / d)


class Found(NamedTuple):
    """What rows need: the largest code in size, and the groups (columns, 0 for the row) whose scales are one."""

    largest: int = 0
    groups: frozenset[int] = frozenset((0, 128, 64, 32))

    def among(self, q: np.ndarray, s: np.ndarray) -> Found:
        """The same with more rows."""
        alike = {size for size in self.groups if _is_shared(s, size)}
        return Found(max(self.largest, int(np.abs(q).max(initial=0))), frozenset(alike))

    def format(self, groups: frozenset[int] = frozenset()) -> str:
        """The smallest format of ours that holds them: the narrowest codes, and the widest groups (of those given)."""
        base = next(name for name, most in _MOST.items() if self.largest <= most)
        allowed = groups or self.groups
        return base + _GROUP_NAMES[0 if 0 in allowed else max(allowed)]


_GROUP_NAMES = {0: "_row", 128: "_g128", 64: "", 32: "_g32"}
_MOST = {"t2": 1, "int3": 3, "int4": 7, "int5": 15, "int6": 31, "int8": 127}


def _is_shared(s: np.ndarray, size: int) -> bool:
    step = size // UNIT or max(1, s.shape[1])
    whole = s[:, : s.shape[1] // step * step].reshape(len(s), -1, step)
    rest = s[:, s.shape[1] // step * step :]
    return not ((whole != whole[:, :, :1]).any() or (rest != rest[:, :1]).any())


def laid_as(fmt: str, q: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Stored rows of a format of ours that holds the codes (`Found.format`, or one with smaller groups)."""
    described, cols = format_named(fmt), q.shape[1]
    out = np.zeros((len(q), row_bytes(fmt, cols)), np.uint8)
    step = described.group_size(cols) // UNIT
    d_RG = np.ascontiguousarray(s[:, :: max(1, step)], "<f2")
    assert d_RG.shape[1] == n_groups(fmt, cols)
    lay_rows(q.astype(np.float32), d_RG.view(np.uint8), described, out)
    return out
