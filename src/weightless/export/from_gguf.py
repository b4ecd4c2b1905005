"""Import a GGUF file: its tensors, with the very codes and scales that it holds, become one artifact.

Types F32, F16, BF16, Q8_0, Q4_0, Q2_0 and TQ2_0 are read; others are refused by name.  Numbers stay what they are, to
the bit: F16 and BF16 as they stand, codes in the smallest format of ours with room for them (Q8_0 in int8, Q4_0 in int4
or, where a code is -8, in int5; ternary ones in t2) and the widest groups whose scales are all one.  Parts of one
matrix here (q, k and v; gate and up) that have different types there come together in a format that holds them all.

Tensors are read and written one block of rows at a time.  What the file has and the model has not (or the other way
round) is an error that names it; nothing is written before names, shapes, types and numbers are known to fit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.gguf import Gguf, open_gguf
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.export.foreign_folder import context_that_fits, written_elsewhere
from weightless.export.from_folder import NO_TEXT, POSITIONS, Imported, cache_for, fitted_text, is_kept, tokenizer_text
from weightless.export.gguf_text import BEGIN, ENDS, tokenizer_of
from weightless.export.lower import RowSource, Source, StoredBlocks, pack
from weightless.export.to_gguf import CACHE, STRETCH
from weightless.layers.foreign import Stacked
from weightless.layers.foreign_gguf import ARCHITECTURE, ROPE_FREQS, InGguf, order_of, shortest, stretch_of
from weightless.models.catalog import Trained, family
from weightless.ops.rope import UNSTRETCHED, Stretch
from weightless.program.program import MAX_STATE_BYTES
from weightless.quant.formats import decode_rows
from weightless.quant.gguf_blocks import CODED, PLAIN_OF, Found, laid_as, read_codes
from weightless.quant.layout import row_bytes

READABLE = (*PLAIN_OF, *CODED)
BLOCK_NUMBERS = 1 << 22
SPLIT = "split.count"


@dataclass(frozen=True)
class Read:
    """One tensor of ours as the file has it: parts above each other, and the format that holds them all."""

    row: Stacked
    shape: tuple[int, int]
    orders: tuple[np.ndarray | None, ...]
    format: str = "f32"
    found: Found | None = None


def gguf_families() -> dict[str, tuple[str, InGguf]]:
    """{llama.cpp's architecture: (our family, how it is written)}."""
    return written_elsewhere("gguf", "architecture")


def import_gguf(
    path: str | Path, out: Path, weight_format: str = "", kv_format: str = "", context: int = 0, tokenizer: str = ""
) -> Imported:
    """Write the artifact `out` of a GGUF file; the arguments are those of `import_folder`.

    kv_format   of the cache; empty: what the file says if we wrote it, else f32 for weights in f32 or f16, else bf16
    """
    file = open_gguf(path)
    where = str(file.path)
    if out.exists() and out.resolve() == file.path.resolve():
        raise WeightlessError(f"{out} is the file that is imported: name another with --out")
    name, gguf = _family(file)
    room = family(name)
    assert isinstance(room, Trained)
    config, notes = _config(file, room, gguf, context)
    tensors = _alike([_looked_at(file, one) for one in _tensors(file, room, gguf, config)])
    text, more = _text(file, tokenizer, config.vocab_size)
    config = replace(config, **_formats(file, tensors, weight_format, kv_format))
    arrays: dict[str, Source] = {one.row.ours: _source(file, one) for one in tensors}
    kept = {key: file.keys.get(BEGIN + key) for key in ("bos_token_id", "eos_token_id")}
    kept["eos_token_id"] = np.atleast_1d(file.keys.get(ENDS, kept["eos_token_id"])).tolist()
    kept = {key: value for key, value in kept.items() if is_kept(value)}
    marked = bool(file.keys.get(BEGIN + "add_bos_token"))
    record = {"imported": {"architecture": gguf.architecture, "format": "gguf", "add_bos_token": marked, **kept}}
    try:
        program = pack(out, name, config, arrays, text, record)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return Imported(name, config, program, (*notes, *more))


def _family(file: Gguf) -> tuple[str, InGguf]:
    known, kind = gguf_families(), file.keys.get(ARCHITECTURE)
    if kind not in known:
        told = "says no architecture" if kind is None else f"is of architecture {str(kind)!r:.60}"
        hint = nearest(str(kind), known)
        raise ConfigError(f"{file.path} {told}; supported are {', '.join(sorted(known))} ({hint})")
    parts = file.keys.get(SPLIT, 1)
    if parts not in (0, 1):
        raise ConfigError(f"{file.path} is one of {parts} parts of a model: join them (llama.cpp's gguf-split --merge)")
    return known[str(kind)]


def _config(file: Gguf, room: Trained, gguf: InGguf, context: int) -> tuple[Any, list[str]]:
    """Our configuration, in formats that are chosen later, and what a reader should know."""
    where, shapes = str(file.path), {name: entry.shape for name, entry in file.entries.items()}
    config = gguf.config_of(room.Config, file.keys, shapes, where, weight_format="f32", kv_format="bf16")
    longest, notes = config.context, []
    if context > longest:
        raise ConfigError(f"--context {context} is more than the {longest} positions of {where}: give at most that")
    fits = context_that_fits(config)
    if not context and fits < longest:
        notes.append(f"context {longest} → {fits}: the most whose cache fits {MAX_STATE_BYTES} bytes of state")
    config = replace(config, context=context or min(fits, longest))
    return _stretched(file, config), notes


def _stretched(file: Gguf, config: Any) -> Any:
    """The configuration with the stretch of rotary positions that the file's divisors say."""
    entry = file.entries.get(ROPE_FREQS)
    if entry is None:
        return config
    where = f"{file.path}: {ROPE_FREQS}"
    if entry.type != "F32" or len(entry.shape) != 1:
        raise ConfigError(f"{where} is {entry.type} of shape {list(entry.shape)}, not a row of F32")
    divisors = file.rows(ROPE_FREQS).view("<f4")[0]
    hints = _hint(file.keys.get(STRETCH))
    found = stretch_of(divisors, getattr(config, "d_head", 0), getattr(config, "rope_theta", 2.0), hints)
    if found is None or (found != UNSTRETCHED and not hasattr(config, "rope_stretch")):
        raise ConfigError(f"{where} holds a scaling of rotary positions that is not supported")
    if found == UNSTRETCHED:
        return config
    return replace(config, **dict(zip(("rope_stretch", "rope_low", "rope_high", "rope_learned"), found)))


def _hint(said: Any) -> list[Stretch]:
    """What a file of ours says of its stretch, in single precision; nothing where it says what cannot be."""
    if not isinstance(said, np.ndarray) or said.dtype != np.dtype("<f4") or said.shape != (4,):
        return []
    factor, low, high, learned = (shortest(value) for value in said.tolist())
    try:
        stretch = Stretch(factor, low, high, int(learned))
        stretch.check()
    except (ConfigError, ValueError, OverflowError):
        return []
    return [stretch]


def _tensors(file: Gguf, room: Trained, gguf: InGguf, config: Any) -> list[Read]:
    """Every tensor there, of the right shape and of a type that is read, and none too many."""
    parameters = room.laid(config).parameters()
    found, known = [], {ROPE_FREQS}
    for row, p in zip(gguf.stacked(config, parameters), parameters, strict=True):
        orders: list[np.ndarray | None] = []
        for i, (name, n) in enumerate(zip(row.theirs, row.rows, strict=True)):
            shape = (n,) if p.shape[0] == 1 else (n, p.shape[1])
            _check_tensor(file, name, shape, row.ours == POSITIONS)
            turned = row.ours.rpartition(".")[2] in gguf.turned and i < 2
            orders.append(order_of(False, n // config.d_head, config.d_head) if turned else None)
            known.add(name)
        found.append(Read(row, (p.shape[0], p.shape[1]), tuple(orders)))
    for name in file.entries:
        if name not in known:
            raise ConfigError(
                f"{file.path} has a tensor {name!r:.80} that no {gguf.architecture} of its sizes has "
                f"({nearest(name, known)}): nothing is left out in silence"
            )
    return found


def _check_tensor(file: Gguf, name: str, wanted: tuple[int, ...], may_be_longer: bool) -> None:
    if name not in file.entries:
        raise ConfigError(
            f"{file.path} lacks the tensor {name!r}, which its sizes ask for ({nearest(name, file.entries)})"
        )
    entry = file.entries[name]
    if entry.shape != wanted and not (may_be_longer and entry.shape[1:] == wanted[1:] and entry.shape[0] >= wanted[0]):
        raise ConfigError(
            f"{file.path}: tensor {name!r} has shape {list(entry.shape)}, its sizes ask for {list(wanted)}"
        )
    if entry.type not in (READABLE if len(wanted) > 1 else PLAIN_OF):
        readable = ", ".join(READABLE if len(wanted) > 1 else PLAIN_OF)
        raise ConfigError(f"{file.path}: tensor {name!r} is {entry.type}; {readable} can be read: convert it to one")


def _stored(file: Gguf, one: Read, step: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """(type, stored rows) of all parts in our order, about `step` rows at a time."""
    step = step or max(1, BLOCK_NUMBERS // one.shape[1])
    for name, n, order in zip(one.row.theirs, one.row.rows, one.orders, strict=True):
        rows = file.rows(name)
        for at in range(0, n, step):
            end = min(at + step, n)
            yield file.entries[name].type, rows[at:end] if order is None else rows[order[at:end]]


def _numbers(file: Gguf, one: Read, kind: str, stored: np.ndarray) -> np.ndarray:
    if kind in CODED:
        q, s = _codes(file, one, kind, stored)
        return (q.reshape(*s.shape, -1) * s[:, :, None]).reshape(q.shape)
    fmt = PLAIN_OF[kind]
    values = decode_rows(stored, fmt, stored.shape[1] // (4 if fmt == "f32" else 2))
    if not np.isfinite(values).all():
        raise CorruptFileError(f"{file.path}: {_told(one)} holds NaN or infinity: it is damaged")
    return values


def _codes(file: Gguf, one: Read, kind: str, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_codes(kind, stored)
    except CorruptFileError as error:
        raise CorruptFileError(f"{file.path}: {_told(one)}: {error}: it is damaged") from None


def _told(one: Read) -> str:
    return f"tensor {' or '.join(map(repr, one.row.theirs))}"


def _looked_at(file: Gguf, one: Read) -> Read:
    """The tensor with the format that holds all of its numbers, after a look at them."""
    if one.shape[0] == 1:
        _vector(file, one)
        return one
    kinds = {file.entries[name].type for name in one.row.theirs}
    if kinds <= set(CODED):
        found = Found()
        for kind, stored in _stored(file, one):
            found = found.among(*_codes(file, one, kind, stored))
        return replace(one, format=found.format(), found=found)
    for kind, stored in _stored(file, one):
        _numbers(file, one, kind, stored)
    return replace(one, format=PLAIN_OF[kinds.pop()] if len(kinds) == 1 else "f32")


def _alike(tensors: list[Read]) -> list[Read]:
    """Of formats that take the same bytes (a row of 64 columns, as one group or as a group of 64) the one that suits
    all tensors, so that a model that was stored in one format is so again."""
    groups = [one.found.groups for one in tensors if one.found is not None]
    common = frozenset.intersection(*groups) if groups else frozenset()
    out = []
    for one in tensors:
        if one.found is not None:
            other, cols = one.found.format(common), one.shape[1]
            one = replace(one, format=other) if row_bytes(other, cols) == row_bytes(one.format, cols) else one
        out.append(one)
    return out


def _vector(file: Gguf, one: Read) -> np.ndarray:
    parts = []
    for name, order in zip(one.row.theirs, one.orders, strict=True):
        values = _numbers(file, one, file.entries[name].type, file.rows(name))[0]
        parts.append(values if order is None else values[order])
    return np.concatenate(parts).reshape(1, -1)


def _source(file: Gguf, one: Read) -> Source:
    """Our tensor, made while it is written."""
    if one.shape[0] == 1:
        return _vector(file, one)
    kinds = {file.entries[name].type for name in one.row.theirs}
    if kinds <= set(CODED):

        def coded(step: int) -> Iterator[np.ndarray]:
            for kind, stored in _stored(file, one, step):
                yield laid_as(one.format, *_codes(file, one, kind, stored))

        return StoredBlocks(one.format, one.shape, coded)
    if len(kinds) == 1:
        return StoredBlocks(one.format, one.shape, lambda step: (rows for _, rows in _stored(file, one, step)))
    return RowSource(one.shape, lambda step: (_numbers(file, one, *found) for found in _stored(file, one, step)))


def _formats(file: Gguf, tensors: list[Read], weight_format: str, kv_format: str) -> dict[str, Any]:
    """weight_format of most matrices, a plan for the others, kv_format."""
    of = {one.row.ours: one.format for one in tensors if one.shape[0] > 1}
    most = weight_format or Counter(of.values()).most_common(1)[0][0]
    plan = {} if weight_format else {name: fmt for name, fmt in of.items() if fmt != most}
    own = file.keys.get(CACHE)
    cache = kv_format or (own if own in ("f32", "bf16", "int8") else cache_for(most))
    return {"weight_format": most, "plan": plan, "kv_format": cache}


def _text(file: Gguf, named: str, vocab_size: int) -> tuple[str | None, list[str]]:
    if named:
        return tokenizer_text(file.path, named, vocab_size)
    found = tokenizer_of(file.keys, str(file.path))
    if found is None:
        return tokenizer_text(file.path, NO_TEXT, vocab_size)
    return fitted_text(found, str(file.path), vocab_size)
