"""Write a packed model as a folder that mlx-lm loads: that of Hugging Face's, its codes as MLX keeps them.

    config.json         with "quantization": {"group_size", "bits", module: {"group_size", "bits"} where it differs}
    model.safetensors   of a matrix with codes NAME.weight (words), NAME.scales, NAME.biases; all else as numbers

Codes and scales are kept exactly (`quant/mlx_affine.py`); a matrix whose groups do not suit MLX's, or whose scales are
not of fp16 (`_s8`), is written as the float32 numbers that it stands for.  GPT-2 is refused: its matrices are stored
turned around there, which codes cannot be.  Errors: ConfigError, CorruptFileError, WeightlessError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.safetensors import Outgoing
from weightless.base.errors import ConfigError
from weightless.export.from_folder import HEAD
from weightless.export.packed import Packed
from weightless.export.to_folder import check_numbers, check_place, expressed, write_folder
from weightless.layers.foreign import Foreign, Stacked
from weightless.program.tensor import Tensor
from weightless.quant.formats import decode_rows
from weightless.quant.layout import format_named
from weightless.quant.mlx_affine import Affine, affine_of, affine_rows

WEIGHT = ".weight"
KEPT = {"f32": ("F32", "<f4"), "f16": ("F16", "<f2"), "bf16": ("BF16", "<u2")}
BLOCK_ROWS = 1024


def export_mlx(packed: Packed, folder: Path) -> str:
    """Write the folder; returns the architecture."""
    foreign, config, parameters = expressed(packed)
    if foreign.transposed:
        raise ConfigError(
            f"a {foreign.model_type} cannot be written for MLX: its matrices are transposed there; use gguf"
        )
    check_place(folder)
    keys = foreign.keys_of(config)
    rows = foreign.stacked(config, parameters)
    check_numbers(packed, rows)
    tensors = [tensor for row in rows for tensor in _outgoing(packed, row, foreign)]
    keys |= {"torch_dtype": "float32", **_quantization(packed, rows, foreign)}
    write_folder(packed, folder, tensors, keys, "mlx")
    return foreign.architecture


def _how(tensor: Tensor) -> Affine | None:
    """Codes of a matrix in MLX's terms; None where it is written as numbers."""
    if tensor.shape[0] == 1 or format_named(tensor.format).parts.scale_bits == 8:
        return None
    return affine_of(tensor.format, tensor.shape[1])


def _quantization(packed: Packed, rows: list[Stacked], foreign: Foreign) -> dict[str, Any]:
    """What config.json says of codes: the most usual way, and every module that differs."""
    ways: dict[str, Affine] = {}
    for row in rows:
        how = _how(packed.program.by_name[row.ours])
        if how is not None:
            ways |= {_name(name, foreign).removesuffix(WEIGHT): how for name in row.theirs}
    if not ways:
        return {}
    usual = Counter(ways.values()).most_common(1)[0][0]
    said: dict[str, Any] = {"group_size": usual.group, "bits": usual.bits}
    said |= {name: {"group_size": how.group, "bits": how.bits} for name, how in ways.items() if how != usual}
    return {"quantization": said, "quantization_config": said}


def _name(name: str, foreign: Foreign) -> str:
    return name if name == HEAD else foreign.prefix + name


def _outgoing(packed: Packed, row: Stacked, foreign: Foreign) -> Iterator[Outgoing]:
    """Their tensors of one of ours."""
    tensor, first = packed.program.by_name[row.ours], 0
    how, cols = _how(tensor), tensor.shape[1]
    for theirs, n in zip(row.theirs, row.rows, strict=True):
        name = _name(theirs, foreign)
        if tensor.shape[0] == 1:
            values = decode_rows(packed.artifact.view(row.ours), tensor.format, cols)[0]
            yield Outgoing(name, "F32", (n,), [values[first : first + n]])
        elif how is None:
            dtype = KEPT.get(tensor.format, KEPT["f32"])[0]
            yield Outgoing(name, dtype, (n, cols), _numbers(packed, tensor, first, n))
        else:
            shapes = ((WEIGHT, "U32", cols * how.bits // 32), (".scales", "F32", cols // how.group))
            for part, (end, dtype, width) in enumerate((*shapes, (".biases", "F32", cols // how.group))):
                blocks = _affine(packed, tensor, first, n, part)
                yield Outgoing(name.removesuffix(WEIGHT) + end, dtype, (n, width), blocks)
        first += n


def _numbers(packed: Packed, tensor: Tensor, first: int, n: int) -> Iterator[np.ndarray]:
    for stored in _stored(packed, tensor, first, n):
        if tensor.format in KEPT:
            yield stored[:, : tensor.row_bytes]
        else:
            yield decode_rows(stored, tensor.format, tensor.shape[1])


def _affine(packed: Packed, tensor: Tensor, first: int, n: int, part: int) -> Iterator[np.ndarray]:
    for stored in _stored(packed, tensor, first, n):
        yield affine_rows(stored, tensor.format, tensor.shape[1])[part]


def _stored(packed: Packed, tensor: Tensor, first: int, n: int) -> Iterator[np.ndarray]:
    stored = packed.artifact.view(tensor.name)
    for at in range(first, first + n, BLOCK_ROWS):
        yield stored[at : min(at + BLOCK_ROWS, first + n)]
