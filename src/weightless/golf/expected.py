"""Floor 9.  What a squeezed artifact is expected to take, from one that is there, or from normal numbers.

Trained numbers take less than normal ones, so that without `like` a model is fitted a little too small.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from weightless.artifact.coders import USUAL_FAMILIES, coded, coders_of
from weightless.artifact.header import HEADER_BYTES
from weightless.artifact.sections import Entry, align_up, dump_table
from weightless.artifact.squeezed import squeezed_section
from weightless.artifact.strict_json import dump_strict
from weightless.artifact.unsqueezing import HEAD_BYTES, Section, dumped_description
from weightless.export.lower import TOKENIZER
from weightless.export.packed import Packed, open_packed
from weightless.lab.fit import Coded
from weightless.quant.formats import encode_rows
from weightless.quant.layout import format_named

ROWS, COLS = 512, 512
DESCRIBED = 0.2
"""Bytes of description in the file per byte of description and table in the artifact, where nothing else is known."""


def expected(like: Path | None, code: int) -> Coded:
    """Expectations, and the bytes of the script beside them; what opening `like` raises."""
    if like is None:
        return Coded(normal_bits, DESCRIBED, code=code)
    packed = open_packed(like)
    offered = coders_of(USUAL_FAMILIES)
    numbers: dict[str, int] = {}
    taken: dict[str, int] = {}
    sections, tokenizer = [], 0
    for name, entry in packed.artifact.entries.items():
        found = squeezed_section(entry, packed.artifact.view(name), offered)
        sections.append(Section(entry, found.parts))
        if name == TOKENIZER:
            tokenizer = found.n_bytes
            continue
        numbers[entry.format] = numbers.get(entry.format, 0) + entry.shape[0] * entry.shape[1]
        taken[entry.format] = taken.get(entry.format, 0) + found.n_bytes
    text = dumped_description(packed.artifact.meta, sections)
    described = HEAD_BYTES + min(len(coded(text, coder)) for coder in offered)

    def bits(fmt: str) -> float:
        return 8 * taken[fmt] / numbers[fmt] if numbers.get(fmt) else normal_bits(fmt)

    around = _around(packed)
    return Coded(bits, described / max(1, around), tokenizer / max(1, packed.program.vocab_size), code)


def _around(packed: Packed) -> int:
    """Bytes of the artifact beside its sections, as `lab.fit` counts them: without notes and tokenizer."""
    artifact = packed.artifact
    entries = [entry for name, entry in artifact.entries.items() if name != TOKENIZER]
    fill = sum(align_up(entry.nbytes) - entry.nbytes for entry in entries)
    return HEADER_BYTES + fill + len(dump_strict({**artifact.meta, "notes": {}})) + len(dump_table(entries))


@cache
def normal_bits(fmt: str) -> float:
    """Bits of a normal number in a format once it is coded, in rows of 512; of ids, those that they are stored with."""
    described = format_named(fmt)
    if described.is_integer_table:
        return described.bits
    x_RC = np.random.default_rng(0).standard_normal((ROWS, COLS)).astype(np.float32)
    stored = encode_rows(x_RC, fmt)
    entry = Entry("normal", fmt, (ROWS, COLS), stored.shape[1], stored.shape[1], 0, stored.size)
    return 8 * squeezed_section(entry, stored, coders_of(USUAL_FAMILIES)).n_bytes / x_RC.size
