"""Write a packed model as one GGUF file, which llama.cpp and its kin run: the import, read backwards.

    keys       sizes by the family's table (`models/*.py`, `GGUF`), the tokenizer (`gguf_text.py`)
    matrices   of every tensor the smallest type that holds what is stored exactly (`auto`): codes stay codes where a
               type has room for them and its blocks do not cut across groups, else they are written as the floats that
               they stand for, in F16, BF16 or F32, the first that is exact; or the type that is asked for
    vectors    F32

A type that is asked for is that of every matrix whose rows are whole blocks of it; the others are written exactly, and
that is told.  It rounds where it has to (f16, bf16, q8_0, q4_0: as llama.cpp rounds), codes that fit stay as
they are; q2_0 and tq2_0 are for ternary numbers and refuse others by name.  Every tensor is looked at before the first
byte is written, and none may hold NaN or infinity.  Errors: ConfigError, CorruptFileError, WeightlessError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.gguf import MAGIC, TYPES
from weightless.artifact.gguf_writing import OutgoingBlocks, write_gguf
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import atomic_writer
from weightless.base.progress import Ticker, progress
from weightless.export.from_folder import NO_TEXT
from weightless.export.gguf_text import no_text_keys, piece_keys, text_keys
from weightless.export.packed import Packed
from weightless.export.to_folder import expressed_as
from weightless.layers.foreign import Stacked
from weightless.layers.foreign_gguf import ROPE_FREQS, InGguf, order_of, rope_divisors
from weightless.program.tensor import Tensor
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.gguf_blocks import CODED, LARGEST_SCALE, PLAIN_OF, codes_of, fits, lay_codes, rounded
from weightless.tokenizer import Tokenizer
from weightless.tokenizer.opening import open_tokenizer
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

AUTO = "auto"
KINDS = (AUTO, "f32", "f16", "bf16", "q8_0", "q4_0", "q2_0", "tq2_0")
TERNARY = ("Q2_0", "TQ2_0")
LARGEST = {"F16": 65_504.0, "BF16": 3.38e38, "Q8_0": 127 * LARGEST_SCALE, "Q4_0": 8 * LARGEST_SCALE}
"""Numbers that a type can be rounded to."""
BLOCK_NUMBERS = 1 << 22
QUANTISATION_VERSION = 2
SIZE_OF = {kind.name: kind.size for kind in TYPES.values()}
STRETCH, CACHE = "weightless.rope_stretch", "weightless.kv_format"
"""Keys of our own: what llama.cpp's do not say, for importing the file again."""


@dataclass(frozen=True)
class Part:
    """One tensor of theirs: rows `order` (or n from `first` on) of the tensor `ours`, to be stored as `type`."""

    name: str
    ours: Tensor
    first: int
    n: int
    order: np.ndarray | None = None
    type: str = "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n,) if self.ours.shape[0] == 1 else (self.n, self.ours.shape[1])


@dataclass(frozen=True)
class Exported:
    """What was written: the architecture, tensors by type, and what a reader should know."""

    architecture: str
    types: dict[str, int]
    notes: tuple[str, ...]


def export_gguf(
    packed: Packed, path: str | Path, kind: str = AUTO, tokenizer: str = "", show_progress: bool = False
) -> Exported:
    """Write `path`; `kind` is one of KINDS, `tokenizer` a file for a model without its own ("none": ids alone)."""
    path = Path(path)
    if kind not in KINDS:
        raise ConfigError(f"--type {kind!r:.40} is none of {', '.join(KINDS)}")
    _check_place(path, packed)
    room, config = expressed_as(packed, "llama.cpp")
    gguf = room.gguf
    if gguf is None:
        raise ConfigError(f"{packed.artifact.path}: llama.cpp has no architecture like family {packed.family!r}")
    keys = gguf.keys_of(config) | {"general.name": f"weightless {packed.family}", CACHE: config.kv_format}
    text, notes = _text(packed, tokenizer)
    parts = _parts(packed, gguf, config, gguf.stacked(config, room.laid(config).parameters()))
    n_rows = 2 * sum(part.n for part in parts)
    with progress("export", n_rows, "rows") if show_progress else nullcontext(_silent) as tick:
        parts = [_with_type(packed, part, kind, tick) for part in parts]
        tensors = [OutgoingBlocks(p.name, p.type, p.shape, _blocks(packed, p, tick)) for p in parts]
        stretch = getattr(config, "stretch", None)
        if stretch is not None and stretch.factor != 1:
            divisors = rope_divisors(config.d_head, config.rope_theta, stretch)
            tensors.append(OutgoingBlocks(ROPE_FREQS, "F32", divisors.shape, [divisors]))
            keys[STRETCH] = np.array(stretch, np.float32)
        if any(part.type in CODED for part in parts):
            keys["general.quantization_version"] = QUANTISATION_VERSION
        with atomic_writer(path) as file:
            write_gguf(file, keys | text, tensors)
    others = [part for part in parts if kind != AUTO and len(part.shape) > 1 and part.type != kind.upper()]
    if others:
        told = f"have rows of no multiple of {SIZE_OF[kind.upper()]} numbers, the block of {kind.upper()}"
        names = list(dict.fromkeys(part.type for part in others))
        notes.append(f"{len(others)} matrices ({others[0].name} …) {told}: written exactly, in {' and '.join(names)}")
    types = [tensor.type for tensor in tensors]
    return Exported(gguf.architecture, {name: types.count(name) for name in dict.fromkeys(types)}, tuple(notes))


def _silent(amount: float = 1, note: str = "") -> None:
    """Progress that nobody asked for."""


def _check_place(path: Path, packed: Packed) -> None:
    """What lies there already is a GGUF file, or nothing; the model itself is never written over."""
    if not path.is_file():
        return
    if path.resolve() == Path(packed.artifact.path).resolve():
        raise WeightlessError(f"{path} is the model that is exported: name another file with --out")
    with open(path, "rb") as file:
        if file.read(4) not in (MAGIC, b""):
            raise WeightlessError(f"{path} exists and is no GGUF file: name another with --out")


def _text(packed: Packed, named: str) -> tuple[dict[str, Any], list[str]]:
    """(the keys of the tokenizer, notes)."""
    where, n = str(packed.artifact.path), packed.program.vocab_size
    if named == NO_TEXT or not (named or packed.has_tokenizer):
        return no_text_keys(n, packed.imported_ends)
    if named and packed.has_tokenizer:
        raise ConfigError(f"--tokenizer {named}: {where} has a tokenizer of its own; leave it out, or say none")
    found = open_tokenizer(named) if named else packed.tokenizer
    if named and packed.tokenizer_sha256 not in (None, found.sha256):
        raise WeightlessError(f"{where} was trained on ids of another tokenizer than {named}")
    if isinstance(found, SentencePieceTokenizer):
        return piece_keys(found.model, n, named)
    assert isinstance(found, Tokenizer)
    if found.vocab_size != n:
        raise ConfigError(f"{named} has {found.vocab_size} tokens and the model {n}: it belongs to another")
    if found.end_of_text is None:
        raise ConfigError(f"{named} has no token before which a text begins: --tokenizer none exports ids alone")
    imported = packed.notes.get("imported")
    marked = imported.get("add_bos_token") is True if isinstance(imported, dict) else True
    return text_keys(found, packed.imported_ends, marked)


def _parts(packed: Packed, gguf: InGguf, config: Any, rows: Sequence[Stacked]) -> list[Part]:
    found = []
    for row in rows:
        first, turned = 0, row.ours.rpartition(".")[2] in gguf.turned
        for i, (name, n) in enumerate(zip(row.theirs, row.rows, strict=True)):
            order = first + order_of(True, n // config.d_head, config.d_head) if turned and i < 2 else None
            found.append(Part(name, packed.program.by_name[row.ours], first, n, order))
            first += n
    return found


def _stored(packed: Packed, part: Part) -> Iterator[np.ndarray]:
    """The rows of a matrix in our format, in their order, in blocks."""
    stored = packed.artifact.view(part.ours.name)
    step = max(1, BLOCK_NUMBERS // part.ours.shape[1])
    for at in range(part.first, part.first + part.n, step):
        end = min(at + step, part.first + part.n)
        yield stored[at:end] if part.order is None else stored[part.order[at - part.first : end - part.first]]


def _numbers(packed: Packed, part: Part, stored: np.ndarray) -> np.ndarray:
    values = decode_rows(stored, part.ours.format, part.ours.shape[1])
    if not np.isfinite(values).all():
        told = f"{packed.artifact.path}: tensor {part.ours.name!r} holds NaN or infinity"
        raise CorruptFileError(f"{told}: training has diverged, or the file is damaged")
    return values


def _vector(packed: Packed, part: Part) -> np.ndarray:
    values = _numbers(packed, part, packed.artifact.view(part.ours.name))[0]
    return values[part.first : part.first + part.n] if part.order is None else values[part.order]


def _with_type(packed: Packed, part: Part, kind: str, tick: Ticker) -> Part:
    """The part with the type that its numbers are written in, after a look at all of them."""
    if part.ours.shape[0] == 1:
        _vector(packed, part)
        tick(part.n)
        return part
    name, cols = kind.upper(), part.ours.shape[1]
    if kind != AUTO and cols % SIZE_OF[name]:
        name = AUTO.upper()
    able = _able(part.ours, name)
    for stored in _stored(packed, part):
        values = _numbers(packed, part, stored)
        coded = codes_of(stored, part.ours.format, values.shape[1])
        able = [one for one in able if _holds(one, values, coded)]
        if np.abs(values).max(initial=0) > LARGEST.get(name, np.inf):
            raise ConfigError(f"tensor {part.ours.name!r} holds numbers too large for {name}: choose another --type")
        tick(len(stored))
    if name == AUTO.upper():
        return replace(part, type=able[0])
    if name in TERNARY and name not in able:
        told = f"tensor {part.ours.name!r} ({part.ours.format}) is not ternary with a scale per {SIZE_OF[name]} columns"
        raise ConfigError(f"{told}, and {name} holds nothing else: choose another --type, or weightless pack to t2")
    return replace(part, type=name)


def _able(tensor: Tensor, asked: str) -> list[str]:
    """Types that may hold a tensor exactly, the smallest first; of numbers that have no codes, their own."""
    if tensor.format in PLAIN_OF.values():
        return [name for name, fmt in PLAIN_OF.items() if fmt == tensor.format]
    coded = [name for name in CODED if asked in ("AUTO", name)]
    return [*coded, "F16", "BF16", "F32"]


def _holds(name: str, values: np.ndarray, coded: tuple[np.ndarray, np.ndarray] | None) -> bool:
    if name in CODED:
        return coded is not None and fits(name, *coded)
    if name == "F32":
        return True
    try:
        return np.array_equal(decode_rows(encode_rows(values, PLAIN_OF[name]), PLAIN_OF[name], values.shape[1]), values)
    except ConfigError:
        return False


def _blocks(packed: Packed, part: Part, tick: Ticker) -> Iterator[np.ndarray]:
    if part.ours.shape[0] == 1:
        yield _vector(packed, part)
        tick(part.n)
        return
    for stored in _stored(packed, part):
        try:
            yield _as_type(packed, part, stored)
        except ConfigError as error:
            raise ConfigError(f"tensor {part.ours.name!r}: {error}") from None
        tick(len(stored))


def _as_type(packed: Packed, part: Part, stored: np.ndarray) -> np.ndarray:
    if PLAIN_OF.get(part.type) == part.ours.format:
        return np.ascontiguousarray(stored[:, : part.ours.row_bytes])
    if part.type in CODED:
        coded = codes_of(stored, part.ours.format, part.ours.shape[1])
        if coded is not None and fits(part.type, *coded):
            return lay_codes(part.type, *coded)
        return rounded(part.type, _numbers(packed, part, stored))
    return encode_rows(_numbers(packed, part, stored), PLAIN_OF[part.type])
