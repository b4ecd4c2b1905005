"""Import a folder of Hugging Face's: its tensors, in its own precision, become one artifact that the engine runs.

Tensors are read and written one block of rows at a time: beside the files themselves, importing takes the memory of
a few blocks.  What the folder has and the model has not (or the other way round) is an error that names it; nothing is
written before names, shapes and dtypes are known to fit, and what is written becomes visible when it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.export.foreign_folder import FORMAT_OF, Described, Weights, describe, open_weights
from weightless.export.lower import RowSource, pack
from weightless.layers.foreign import Stacked
from weightless.program.program import Program
from weightless.tokenizer import Tokenizer
from weightless.tokenizer.opening import open_tokenizer

HEAD = "lm_head.weight"
POSITIONS = "position"
UNUSED = "<|unused_{}|>"
KEPT_KEYS = ("bos_token_id", "eos_token_id")
MOST_ENDS = 64
NO_TEXT = "none"


@dataclass(frozen=True)
class Imported:
    """What was written: its program, and what a reader should know beside it."""

    family: str
    config: Any
    program: Program
    notes: tuple[str, ...]


def import_folder(
    folder: Path,
    out: Path,
    weight_format: str = "",
    kv_format: str = "",
    context: int = 0,
    tokenizer: str = "",
    source: Mapping[str, str] | None = None,
) -> Imported:
    """Write the artifact `out` of a folder.

    weight_format   of the matrices; empty: that of the file (a mixture of them is kept in f32)
    kv_format       of the cache; empty: f32 for weights in f32 or f16, else bf16
    context         positions; 0: all of the model's, or as many as fit the memory of a program
    tokenizer       a file or folder; empty: the folder's own; "none": the model knows ids and no text
    source          where the folder came from, for the record in the file
    """
    if out.exists() and out.resolve().parent == Path(folder).resolve():
        raise WeightlessError(f"{out} is a file of the folder that is imported: name another with --out")
    plain = describe(folder)
    plain.refuse_what_is_left_out()
    weights = open_weights(folder)
    fmt = weight_format or _precision(weights, _table(plain, weights))
    described = describe(folder, context, weight_format=fmt, kv_format=kv_format or cache_for(fmt))
    table = _table(described, weights)
    notes = [*described.notes, *_check(described, weights, table)]
    text, more = tokenizer_text(folder, tokenizer, described.config.vocab_size)
    arrays = {row.ours: _source(row, weights, shape) for row, shape in table}
    kept = {key: described.given[key] for key in KEPT_KEYS if is_kept(described.given.get(key))}
    record = {"imported": {"architecture": described.foreign.architecture, **kept, **(source or {})}}
    program = pack(out, described.name, described.config, arrays, text, record)
    return Imported(described.name, described.config, program, (*notes, *more))


def is_kept(value: Any) -> bool:
    """An id, or several: instruction models end a text at one of some."""
    each = value if isinstance(value, list) else [value]
    return 0 < len(each) <= MOST_ENDS and all(type(i) is int and 0 <= i < 2**31 for i in each)


def cache_for(weight_format: str) -> str:
    return "f32" if weight_format in ("f32", "f16") else "bf16"


Table = list[tuple[Stacked, tuple[int, ...]]]
"""Rows of the family's table with their own names as they are in this folder, each with the shape of ours."""


def _table(described: Described, weights: Weights) -> Table:
    """Files of the plain model lack the prefix that those with a head have."""
    prefix, parameters = described.foreign.prefix, described.family.laid(described.config).parameters()
    if not any(name.startswith(prefix) for name in weights.file_of):
        prefix = ""
    rows = described.foreign.stacked(described.config, parameters)
    named = [row._replace(theirs=tuple(n if n == HEAD else prefix + n for n in row.theirs)) for row in rows]
    return [(row, p.shape) for row, p in zip(named, parameters, strict=True)]


def _precision(weights: Weights, table: Table) -> str:
    """The one format that all matrices of the folder have, or f32, which holds every other."""
    matrices = [name for row, shape in table if shape[0] > 1 for name in row.theirs if name in weights.file_of]
    formats = {FORMAT_OF.get(weights.dtype(name), "f32") for name in matrices}
    return formats.pop() if len(formats) == 1 else "f32"


def _check(described: Described, weights: Weights, table: Table) -> list[str]:
    """Every tensor there, of the right shape and dtype, and none too many; returns what is skipped, in words."""
    known = set()
    for row, shape in table:
        for name, rows in zip(row.theirs, row.rows, strict=True):
            _check_tensor(weights, name, _their_shape(row, shape, rows), row.ours == POSITIONS)
            known.add(name)
    embed = next(row.theirs[0] for row, _ in table if row.ours == "embed")
    surplus = [name for name in weights.file_of if name not in known]
    skipped = [name for name in surplus if name.endswith(described.foreign.skipped)]
    for name in (name for name in surplus if name not in skipped and name != HEAD):
        raise ConfigError(
            f"{weights.file_of[name].path} has a tensor {name!r:.80} that no {described.name} of its config.json has "
            f"({nearest(name, known)}): nothing is left out in silence"
        )
    if HEAD in surplus:
        _check_tied(weights, embed)
    return [f"{len(skipped)} tensors without weights skipped ({skipped[0]} …)"] if skipped else []


def _their_shape(row: Stacked, shape: tuple[int, ...], rows: int) -> tuple[int, ...]:
    if shape[0] == 1:
        return (rows,)
    return (shape[1], rows) if row.transposed else (rows, shape[1])


def _check_tensor(weights: Weights, name: str, wanted: tuple[int, ...], may_be_longer: bool) -> None:
    if name not in weights.file_of:
        raise ConfigError(
            f"{weights.folder} lacks the tensor {name!r}, which config.json asks for "
            f"({nearest(name, weights.file_of)}): finish the download, or correct config.json"
        )
    have, dtype, path = weights.shape(name), weights.dtype(name), weights.file_of[name].path
    if have != wanted and not (may_be_longer and have[1:] == wanted[1:] and have[0] >= wanted[0]):
        raise ConfigError(f"{path}: tensor {name!r} has shape {list(have)}, config.json asks for {list(wanted)}")
    if dtype not in FORMAT_OF:
        raise ConfigError(
            f"{path}: tensor {name!r} is {dtype}; weights in {', '.join(FORMAT_OF)} can be read: convert it to one"
        )


def _check_tied(weights: Weights, embed: str) -> None:
    """A head that is stored although it is tied is the embedding, bit for bit."""
    same = weights.shape(HEAD) == weights.shape(embed) and weights.dtype(HEAD) == weights.dtype(embed)
    if not same or not np.array_equal(weights.stored(HEAD).view(np.uint8), weights.stored(embed).view(np.uint8)):
        raise ConfigError(
            f"{weights.folder}: config.json ties head and embedding, and {HEAD} is another matrix than {embed}: set "
            "tie_word_embeddings to false in config.json if it is meant"
        )


def _source(row: Stacked, weights: Weights, shape: tuple[int, ...]) -> RowSource | np.ndarray:
    """Our tensor: a vector at once, a matrix by blocks of rows."""
    if shape[0] == 1:
        parts = [weights.numbers(name, weights.stored(name)) for name in row.theirs]
        return np.concatenate(parts).reshape(1, -1)

    def blocks(step: int) -> Iterator[np.ndarray]:
        for name, n in zip(row.theirs, row.rows, strict=True):
            stored = weights.stored(name)
            rows = stored.T if row.transposed else stored[:n]
            for first in range(0, n, step):
                yield weights.numbers(name, rows[first : first + step])

    return RowSource((shape[0], shape[1]), blocks)


REMEDY = "; --tokenizer FILE names another, --tokenizer none imports the model for ids alone"


def tokenizer_text(folder: Path, named: str, vocab_size: int) -> tuple[str | None, list[str]]:
    """(the tokenizer in our form, notes); ids behind its last one get names that stand for no text."""
    if named == NO_TEXT:
        return None, ["without a tokenizer: the model knows ids and no text"]
    try:
        found = open_tokenizer(named or folder)
    except WeightlessError as error:
        raise type(error)(f"{error}{REMEDY}") from None
    if not isinstance(found, Tokenizer):
        raise ConfigError(f"{named or folder}: a SentencePiece model cannot travel in an artifact{REMEDY}")
    return fitted_text(found, named or str(folder), vocab_size)


def fitted_text(found: Tokenizer, where: str, vocab_size: int) -> tuple[str, list[str]]:
    """The same of a tokenizer that was read from `where`."""
    if found.end_of_text is None:
        told = "no token <|endoftext|>, before which a text begins here, and no template that names another"
        raise ConfigError(f"{where}: {told}{REMEDY}")
    n = found.vocab_size
    if n > vocab_size:
        raise ConfigError(f"{where} has {n} tokens and the model {vocab_size}: it belongs to another{REMEDY}")
    if n == vocab_size:
        return found.to_json(), []
    names = {UNUSED.format(i): i for i in range(n, vocab_size)}
    vocab = {**found.vocab, **{i: name.encode() for name, i in names.items()}}
    padded = Tokenizer(vocab, found.merges, {**found.special_tokens, **names}, found.pattern, found.rules)
    note = f"ids {n} to {vocab_size - 1} have no text in the tokenizer: they are special tokens {UNUSED.format(n)} …"
    return padded.to_json(), [note]
