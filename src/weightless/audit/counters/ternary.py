"""Is a packed model ternary?  Read from its bytes, group by group, by nobody's decoder but this one.

A weight of a ternary tensor is -1, 0 or +1 times the scale stored for its group.  What is looked at, row by row:

    t2      codes u = 0 … 3 of two bits, four to a byte from the lowest bits on; u - 1 is the digit, u = 3 is none
    t5      bytes b = sum_k d_k 3^k of five digits, group by group; |b| > 121 is none
    scale   one fp16 per group behind the codes (or an fp16 unit and a byte per group, `_s8`): finite, not negative

and then what the engine's own decoder makes of the row: it has to be digit times scale, to the bit.
Errors: ConfigError for a pattern that meets no tensor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, nearest
from weightless.base.format_names import parse_format
from weightless.export.packed import Packed
from weightless.program.tensor import Tensor
from weightless.quant.formats import decode_rows

BASES = ("t2", "t5")
BLOCK_ELEMENTS = 1 << 22
LARGEST_FIVE = 121
COUNTED = ("minus", "zero", "plus", "others", "wrong_scales", "read_otherwise", "groups", "empty_groups")
"""What is counted of a tensor's rows, in this order."""


@dataclass(frozen=True)
class TernaryTensor:
    """What one tensor holds: how many weights are -1, 0, +1 or none of them, of how many groups the scale is no scale,
    and in how many places the engine reads something else; empty `fault` where all is well."""

    name: str
    format: str
    weights: int
    minus: int
    zero: int
    plus: int
    others: int
    wrong_scales: int
    read_otherwise: int
    groups: int
    empty_groups: int
    stored_bytes: int
    fault: str

    @property
    def bits_per_weight(self) -> float:
        """Codes, scales and filling."""
        return 8 * self.stored_bytes / max(1, self.weights)

    def to_plain(self) -> dict[str, Any]:
        shares = {name: getattr(self, name) / max(1, self.weights) for name in ("minus", "zero", "plus")}
        return {**asdict(self), "bits_per_weight": self.bits_per_weight, "fractions": shares}


def named_tensors(packed: Packed, patterns: Sequence[str]) -> list[Tensor]:
    """The weights that have to be ternary: those that a pattern meets, or without patterns every matrix and table.

    Vectors (one row: norms, gains) are none.
    """
    weights = [tensor for tensor in packed.program.stored() if tensor.kind == "weight" and tensor.shape[0] > 1]
    names = [tensor.name for tensor in weights]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"--tensors {pattern!r} meets no matrix of the model: {nearest(pattern, names)}")
    return [t for t in weights if not patterns or any(fnmatchcase(t.name, pattern) for pattern in patterns)]


def ternary_tensors(packed: Packed, patterns: Sequence[str] = ()) -> list[TernaryTensor]:
    """What each of the named tensors holds; one that is stored in no ternary format has a fault and no counts."""
    return [_examined(packed.artifact.view(t.name), t) for t in named_tensors(packed, patterns)]


def other_matrices(packed: Packed, patterns: Sequence[str]) -> dict[str, str]:
    """{name: format} of the matrices that were not named."""
    named = {tensor.name for tensor in named_tensors(packed, patterns)}
    weights = [tensor for tensor in packed.program.stored() if tensor.kind == "weight" and tensor.shape[0] > 1]
    return {tensor.name: tensor.format for tensor in weights if tensor.name not in named}


def _examined(rows_RB: np.ndarray, tensor: Tensor) -> TernaryTensor:
    """`rows_RB` uint8 [R, at least row_bytes]."""
    rows, cols = tensor.shape
    name, fmt, stored = tensor.name, tensor.format, rows * tensor.row_bytes
    if parse_format(fmt).base not in BASES:
        fault = f"stored as {fmt}, which is not ternary"
        return TernaryTensor(name, fmt, rows * cols, **dict.fromkeys(COUNTED, 0), stored_bytes=stored, fault=fault)
    sizes, total = _group_sizes(fmt, cols), np.zeros(8, np.int64)
    for first in range(0, rows, step := max(1, BLOCK_ELEMENTS // cols)):
        total += _counted(rows_RB[first : first + step, : tensor.row_bytes], fmt, cols, sizes)
    faults = {
        "{:,} weights are neither -1, 0 nor +1 times their scale": total[3],
        "{:,} scales are negative or not finite": total[4],
        "the engine reads {:,} weights otherwise": total[5],
    }
    told = "; ".join(text.format(n) for text, n in faults.items() if n)
    counts = dict(zip(COUNTED, total.tolist()))
    return TernaryTensor(name, fmt, rows * cols, **counts, stored_bytes=stored, fault=told)


def _counted(rows_RB: np.ndarray, fmt: str, cols: int, sizes: list[int]) -> np.ndarray:
    """COUNTED of some rows."""
    digits_RC, scale_RG = _digits(rows_RB, fmt, cols, sizes), _scales(rows_RB, fmt, cols, sizes)
    is_digit = np.abs(digits_RC) <= 1
    counts = [int(((digits_RC == d) & is_digit).sum()) for d in (-1, 0, 1)]
    wrong = int((~np.isfinite(scale_RG) | (scale_RG < 0)).sum())
    with np.errstate(invalid="ignore", over="ignore"):
        meant_RC = digits_RC.astype(np.float32) * np.repeat(scale_RG, sizes, axis=1)
    read_RC = decode_rows(rows_RB, fmt, cols)
    otherwise = int((is_digit & (read_RC != meant_RC)).sum())
    groups = scale_RG.size
    return np.array([*counts, int((~is_digit).sum()), wrong, otherwise, groups, int((scale_RG == 0).sum())])


def _group_sizes(fmt: str, cols: int) -> list[int]:
    size = parse_format(fmt).group or cols
    return [min(size, cols - first) for first in range(0, cols, size)]


def _digits(rows_RB: np.ndarray, fmt: str, cols: int, sizes: list[int]) -> np.ndarray:
    """int8 [R, C]: -1, 0, 1, or 2 for what is no digit."""
    if parse_format(fmt).base == "t2":
        pairs = [(rows_RB >> shift) & 3 for shift in (0, 2, 4, 6)]
        return np.stack(pairs, axis=2).reshape(len(rows_RB), -1)[:, :cols].astype(np.int8) - np.int8(1)
    return np.concatenate(list(_fives(rows_RB, sizes)), axis=1)


def _fives(rows_RB: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    """The digits of each group: from the highest power down, what is left is at most half of the next one."""
    at = 0
    for size in sizes:
        n = -(-size // 5)
        left = np.ascontiguousarray(rows_RB[:, at : at + n]).view(np.int8).astype(np.int32)
        at += n
        is_none, found = np.abs(left) > LARGEST_FIVE, []
        for power in (81, 27, 9, 3, 1):
            digit = np.sign(left) * (2 * np.abs(left) > power)
            left = left - digit * power
            found.insert(0, np.where(is_none, 2, digit))
        yield np.stack(found, axis=2).reshape(len(rows_RB), -1)[:, :size].astype(np.int8)


def _scales(rows_RB: np.ndarray, fmt: str, cols: int, sizes: list[int]) -> np.ndarray:
    """float32 [R, G], from the end of the row."""
    groups = len(sizes)
    if parse_format(fmt).scale_bits == 16:
        return np.ascontiguousarray(rows_RB[:, rows_RB.shape[1] - 2 * groups :]).view("<f2").astype(np.float32)
    start = rows_RB.shape[1] - (2 + groups + groups % 2)
    unit_R1 = np.ascontiguousarray(rows_RB[:, start : start + 2]).view("<f2").astype(np.float32)
    return rows_RB[:, start + 2 : start + 2 + groups].astype(np.float32) * unit_R1
