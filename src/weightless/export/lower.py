"""Lower a model to its artifact: every tensor of its decode program, rounded to its format, in one file.

The file's data region is laid out exactly as the program's arena expects it, so the engine runs from the memory map.
The tokenizer travels as one more section: text in, text out, from a single file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.file import StoredTensor, write_artifact
from weightless.base.config import to_dict
from weightless.base.errors import ConfigError, nearest
from weightless.base.format_names import parse_format
from weightless.models.catalog import family
from weightless.program.program import Program
from weightless.program.tensor import Tensor
from weightless.quant.formats import decode_rows, encode_rows

TOKENIZER = "tokenizer"
BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class RowSource:
    """A tensor that is read while it is written: `blocks(n)` gives its rows in order, about n at a time."""

    shape: tuple[int, int]
    blocks: Callable[[int], Iterator[np.ndarray]]


@dataclass(frozen=True)
class StoredRows:
    """Rows that are stored already, in the format that they have: uint8 [rows, row_bytes] or wider; taken as they are.

    Codes and scales are the master copy: numbers made of them and rounded again need not give the same codes.
    """

    format: str
    shape: tuple[int, int]
    rows: np.ndarray


@dataclass(frozen=True)
class StoredBlocks:
    """The same, made while they are written: `blocks(n)` gives the rows in order, about n at a time."""

    format: str
    shape: tuple[int, int]
    blocks: Callable[[int], Iterator[np.ndarray]]


Source = np.ndarray | RowSource | StoredRows | StoredBlocks


def pack(
    path: str | Path,
    family_name: str,
    config: Any,
    arrays: Mapping[str, Source],
    tokenizer_json: str | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Program:
    """Write the artifact of `config` with `arrays` by tensor name; returns its program.

    `notes` (plain JSON values) are kept in the file, which depends on nothing else than these arguments.  Rows are
    rounded block by block while they are written.  Raises ConfigError when an array is missing, left over or of the
    wrong shape, and what a source of rows raises; nothing is written then.
    """
    program = family(family_name).decode_program(config)
    _check_arrays(program, arrays)
    tensors = [_stored(tensor, arrays[tensor.name]) for tensor in program.stored()]
    if tokenizer_json is not None:
        text = np.frombuffer(tokenizer_json.encode(), dtype=np.uint8)
        tensors.append(StoredTensor(TOKENIZER, "u8", (1, len(text)), len(text), len(text), text))
    meta = {
        "kind": "weightless model",
        "family": family_name,
        "config": to_dict(config),
        "program": program.to_plain(),
        "notes": dict(notes or {}),
    }
    write_artifact(path, meta, tensors)
    return program


def _check_arrays(program: Program, arrays: Mapping[str, Source]) -> None:
    wanted = {tensor.name: tensor for tensor in program.stored()}
    for name in arrays:
        if name not in wanted:
            raise ConfigError(f"the model has a tensor {name!r} that its program does not: {nearest(name, wanted)}")
    for name, tensor in wanted.items():
        if name not in arrays:
            raise ConfigError(f"the model lacks the tensor {name!r} of its program")
        array = arrays[name]
        shape = _matrix(array).shape if isinstance(array, np.ndarray) else array.shape
        if shape != tensor.shape:
            raise ConfigError(f"tensor {name!r} has shape {shape}, its program wants {tensor.shape}")


def _blocks(array: np.ndarray, step: int) -> Iterator[np.ndarray]:
    for first in range(0, len(array), step):
        yield array[first : first + step]


def _matrix(array: np.ndarray) -> np.ndarray:
    """Columns of ids come as one-dimensional arrays."""
    return array.reshape(len(array), -1) if array.ndim == 1 else array


def _stored(tensor: Tensor, array: Source) -> StoredTensor:
    blocks = _encoded(tensor, array)
    return StoredTensor(tensor.name, tensor.format, tensor.shape, tensor.row_bytes, tensor.row_stride, blocks)


def _encoded(tensor: Tensor, array: Source) -> Iterator[np.ndarray]:
    """Rows with their alignment padding, in blocks that keep temporaries small."""
    step = max(1, BLOCK_BYTES // max(1, 4 * tensor.shape[1]))
    for block in array.blocks(step) if isinstance(array, RowSource | StoredBlocks) else _blocks(_rows(array), step):
        rows = _in_format(block, array, tensor)
        if tensor.row_stride != tensor.row_bytes:
            rows = np.pad(rows, ((0, 0), (0, tensor.row_stride - tensor.row_bytes)))
        yield rows


def _rows(array: np.ndarray | StoredRows) -> np.ndarray:
    return array.rows if isinstance(array, StoredRows) else _matrix(array)


def _in_format(block: np.ndarray, array: Source, tensor: Tensor) -> np.ndarray:
    """Rows as the tensor stores them: as they are where they have its format, else rounded to it, naming the tensor."""
    if isinstance(array, StoredRows | StoredBlocks):
        if is_same_storage(array.format, tensor.format):
            return block[:, : tensor.row_bytes]
        block = decode_rows(block, array.format, tensor.shape[1])
    try:
        return encode_rows(block, tensor.format)
    except ConfigError as error:
        raise ConfigError(f"tensor {tensor.name!r}: {error}") from None


def is_same_storage(one: str, other: str) -> bool:
    """Whether rows of both formats are stored in the same way; how their scales were chosen does not matter."""
    return parse_format(one).storage == parse_format(other).storage
