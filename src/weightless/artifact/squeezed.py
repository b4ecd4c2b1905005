"""Squeeze an artifact: every section coded by what is measured to be smallest, so that size is a question of entropy.

A section's rows are cut into codes, scales and row padding, since they are distributed otherwise; of every part the
order of its bytes and its coder are chosen together (`coders.py`).  What is large is measured on a sample of its rows,
and the best few of that on all of it.  What was written is opened before anybody sees it, and must be the source, bit
for bit; the layout is told in `unsqueezing.py`.

Errors: what opening the source raises; ConfigError for a coder that does not exist, and for an artifact that cannot be
written anew from what is kept of it; WeightlessError for a coder whose package is missing.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np

from weightless.artifact.coders import USUAL_FAMILIES, coded, coders_of, fits, transformed
from weightless.artifact.file import Artifact, open_artifact, opened_bytes
from weightless.artifact.sections import Entry
from weightless.artifact.unsqueezing import (
    MAGIC,
    Head,
    Part,
    Section,
    dumped_description,
    most_opened,
    unsqueezed,
)
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.files import atomic_write
from weightless.base.format_names import ROW, parse_format
from weightless.base.progress import progress

__all__ = ["MAGIC", "is_squeezed", "squeeze", "squeezed_bytes", "squeezed_section", "unsqueeze", "unsqueezed"]

SAMPLE_BYTES = 1 << 17
"""Parts above it are measured on so many bytes first."""
FINALISTS = 3
"""So many transforms are tried on all of it, each with the coder that was best on the sample."""
WHOLE_UP_TO = 1 << 14
"""Rows so few are also tried uncut: a part costs some bytes of description."""
PROGRESS_FROM_BYTES = 2_000_000


class Squeezed(NamedTuple):
    """One section: its parts, and their bytes."""

    parts: tuple[Part, ...]
    packed: tuple[bytes, ...]

    @property
    def n_bytes(self) -> int:
        return sum(map(len, self.packed))


def squeeze(source: Path, target: Path, coders: Iterable[str] = USUAL_FAMILIES) -> int:
    """Write the artifact `source` (squeezed or not) squeezed to `target`; the bytes of that file.

    `coders` are families of them, and what it takes to open the file again: zlib, zstd, lzma, brotli.
    """
    content = squeezed_bytes(source, coders)
    atomic_write(target, content)
    return len(content)


def unsqueeze(source: Path, target: Path) -> int:
    """Write the artifact inside `source` as it was before it was squeezed; its bytes."""
    whole = opened_bytes(source)
    open_artifact(source)
    atomic_write(target, whole.tobytes())
    return len(whole)


def is_squeezed(path: Path) -> bool:
    """Whether a file begins as a squeezed artifact does; False for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def squeezed_bytes(source: Path, coders: Iterable[str] = USUAL_FAMILIES) -> bytes:
    """The squeezed file of an artifact."""
    offered = coders_of(coders)
    artifact, whole = open_artifact(source), opened_bytes(source)
    sections, packed = _sections(artifact, offered)
    description = dumped_description(artifact.meta, sections)
    coder, text = min(((c, coded(description, c)) for c in offered), key=lambda found: len(found[1]))
    head = Head(coder, len(text), len(description), len(whole), hashlib.sha256(whole.data).digest())
    content = b"".join((head.pack(text), text, *packed))
    if len(whole) > most_opened(len(content)):
        told = f"{len(whole):,} bytes would become {len(content):,}"
        raise ConfigError(f"{source} cannot be squeezed: {told}, which nobody would believe; keep it as it is")
    _check_opens(content, whole, source)
    return content


def _check_opens(content: bytes, whole: np.ndarray, source: Path) -> None:
    try:
        same = np.array_equal(unsqueezed(content, str(source)), whole)
    except CorruptFileError:
        same = False
    if not same:
        raise ConfigError(f"{source} is not written as this version writes: pack it again with `weightless pack` first")


def _sections(artifact: Artifact, offered: Sequence[str]) -> tuple[list[Section], list[bytes]]:
    sections: list[Section] = []
    packed: list[bytes] = []
    total = sum(entry.nbytes for entry in artifact.entries.values())
    with progress("squeezing", total, "B") if total >= PROGRESS_FROM_BYTES else nullcontext(lambda *_: None) as tick:
        for name, entry in artifact.entries.items():
            found = squeezed_section(entry, artifact.view(name), offered)
            sections.append(Section(entry, found.parts))
            packed += found.packed
            tick(entry.nbytes)
    return sections, packed


def squeezed_section(entry: Entry, rows_RB: np.ndarray, offered: Sequence[str]) -> Squeezed:
    """The smallest way that `offered` coders give to keep rows uint8 [R, row_stride]."""
    found = _squeezed(rows_RB, [width for width in _cuts(entry) if width[0]], offered)
    if len(found.parts) > 1 and entry.nbytes <= WHOLE_UP_TO:
        whole = _squeezed(rows_RB, [(entry.row_stride, ("none",))], offered)
        return min(whole, found, key=lambda way: way.n_bytes + 24 * len(way.parts))
    return found


def _squeezed(rows_RB: np.ndarray, cuts: list[tuple[int, tuple[str, ...]]], offered: Sequence[str]) -> Squeezed:
    parts, packed, left = [], [], 0
    for columns, transforms in cuts:
        transform, coder, content = _smallest(rows_RB[:, left : left + columns], transforms, offered)
        parts.append(Part(columns, transform, coder, len(content), zlib.crc32(content)))
        packed.append(content)
        left += columns
    return Squeezed(tuple(parts), tuple(packed))


def _smallest(rows_RB: np.ndarray, transforms: Sequence[str], offered: Sequence[str]) -> tuple[str, str, bytes]:
    """(transform, coder, the bytes) of what is smallest; of equals the first offered."""
    rows, columns = rows_RB.shape
    if rows * columns == 0:
        return "none", "stored", b""
    ways = [
        (t, c)
        for t in transforms
        for c in offered
        if fits(t, rows, columns) and (rows > 1 or t in ("none", "planes2", "planes4"))
    ]
    if rows * columns > SAMPLE_BYTES:
        step = max(1, SAMPLE_BYTES // columns)
        first = (rows - step) // 2
        sample_RB = rows_RB[first : first + step]
        order = sorted(ways, key=lambda way: len(coded(transformed(sample_RB, way[0]), way[1])))
        best: dict[str, tuple[str, str]] = {}
        for way in order:
            best.setdefault(way[0], way)
        ways = list(best.values())[:FINALISTS]
    made = [(*way, coded(transformed(rows_RB, way[0]), way[1])) for way in ways]
    return min(made, key=lambda way: len(way[2]))


def _cuts(entry: Entry) -> list[tuple[int, tuple[str, ...]]]:
    """(columns, transforms worth trying) of codes or numbers, scales, row padding, from left to right."""
    form, padding = parse_format(entry.format), entry.row_stride - entry.row_bytes
    scales = scale_columns(entry)
    width = {"f32": 4, "u32": 4, "i32": 4, "f16": 2, "bf16": 2, "u16": 2}.get(form.base, 1)
    first = ("none", "planes4", "columns", "delta1") if width == 1 else ("none", f"planes{width}", f"delta{width}")
    return [(entry.row_bytes - scales, first), (scales, ("none", "planes2", "columns")), (padding, ("none",))]


def scale_columns(entry: Entry) -> int:
    """Bytes of scales at the end of a row, as its format's name tells them (`quant/layout.py` says the same)."""
    form, cols = parse_format(entry.format), entry.shape[1]
    if not form.scale_bits:
        return 0
    n = -(-cols // (max(1, cols) if form.group == ROW else form.group))
    return min(entry.row_bytes, 2 * n if form.scale_bits == 16 else 2 + n + n % 2)
