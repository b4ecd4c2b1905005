"""Write a packed model as a folder that Hugging Face's `transformers` loads: the import, read backwards.

    model.safetensors   matrices in the precision that all of them are stored in (codes, and formats that differ, as
                        the float32 numbers they stand for); vectors in that of the matrices where it holds them
                        exactly, else in float32
    tokenizer.json      if the artifact holds a tokenizer; and tokenizer_config.json, without which transformers puts
                        the pattern that models of this kind usually have in the place of the file's
    config.json         written last: a folder without it is no model

Families that have no name there are written as one that says the same, or refused by the field that it cannot say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.safetensors import Outgoing, write_safetensors
from weightless.base.config import from_dict
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import atomic_writer, write_json
from weightless.export.foreign_folder import CONFIG, WHOLE, foreign_families
from weightless.export.from_folder import HEAD, KEPT_KEYS, UNUSED, is_kept
from weightless.export.packed import Packed
from weightless.layers.foreign import Foreign, Stacked
from weightless.models.catalog import Trained, family
from weightless.quant.formats import decode_rows, encode_rows
from weightless.tokenizer import Tokenizer
from weightless.tokenizer.interchange import save_hf
from weightless.tokenizer.patterns import END_OF_TEXT

DTYPE_OF = {"f32": ("F32", "float32"), "bf16": ("BF16", "bfloat16"), "f16": ("F16", "float16")}
BLOCK_ROWS = 4096


def export_folder(packed: Packed, folder: Path) -> str:
    """Write the folder; returns the architecture.  ConfigError for a model that cannot be expressed."""
    foreign, config, parameters = expressed(packed)
    check_place(folder)
    keys = foreign.keys_of(config)
    rows = foreign.stacked(config, parameters)
    check_numbers(packed, rows)
    stored = [packed.program.by_name[row.ours] for row in rows]
    formats = {tensor.format for tensor in stored if tensor.shape[0] > 1}
    dtype, dtype_name = DTYPE_OF.get(formats.pop() if len(formats) == 1 else "f32", DTYPE_OF["f32"])
    tensors = [tensor for row in rows for tensor in _outgoing(packed, row, dtype, foreign.prefix)]
    write_folder(packed, folder, tensors, {**keys, "torch_dtype": dtype_name})
    return foreign.architecture


def check_place(folder: Path) -> None:
    """WeightlessError where a model lies already."""
    if any((folder / name).exists() for name in (CONFIG, WHOLE)):
        raise WeightlessError(f"{folder} holds a model already: name another folder")


def write_folder(
    packed: Packed, folder: Path, tensors: Sequence[Outgoing], keys: Mapping[str, Any], program: str = "pt"
) -> None:
    """Write weights, tokenizer and config.json, in this order."""
    with atomic_writer(folder / WHOLE) as file:
        write_safetensors(file, tensors, program)
    if packed.has_tokenizer:
        save_hf(_without_unused(packed.tokenizer), folder / "tokenizer.json")
        write_json(folder / "tokenizer_config.json", _said_of_tokenizer(packed))
    kept = packed.notes.get("imported")
    kept = {key: kept[key] for key in KEPT_KEYS if is_kept(kept.get(key))} if isinstance(kept, dict) else {}
    write_json(folder / CONFIG, {**keys, **kept})


def expressed(packed: Packed) -> tuple[Foreign, Any, list[Any]]:
    """How the model is written elsewhere: (the tables, a configuration of that family, its parameters)."""
    room, config = expressed_as(packed, "transformers")
    assert room.foreign is not None
    return room.foreign, config, room.laid(config).parameters()


def expressed_as(packed: Packed, program: str) -> tuple[Trained, Any]:
    """A family that other people's `program` has, too, and the model's configuration in it."""
    where, values = packed.artifact.path, packed.artifact.meta.get("config")
    room = family(packed.family)
    if not isinstance(room, Trained) or (room.foreign is None and room.elsewhere is None):
        known = ", ".join(name for name, _ in foreign_families().values())
        raise ConfigError(
            f"{where}: a model of family {packed.family!r} has no form in {program} (those of {known} have)"
        )
    try:
        config = from_dict(room.Config, values if isinstance(values, dict) else {}, str(where))
        same = room.decode_program(config).to_plain() == packed.program.to_plain()
    except ConfigError as error:
        raise CorruptFileError(f"{where} has a configuration that cannot be: {error}") from error
    if not same:
        raise CorruptFileError(f"{where} holds another program than its configuration asks for: pack it again")
    if room.foreign is not None:
        return room, config
    assert room.elsewhere is not None
    name, fields = room.elsewhere(config)
    other = family(name)
    assert isinstance(other, Trained)
    return other, other.Config(**fields)


def check_numbers(packed: Packed, rows: Sequence[Stacked]) -> None:
    """CorruptFileError naming a tensor that holds NaN or infinity."""
    for row in rows:
        tensor = packed.program.by_name[row.ours]
        stored = packed.artifact.view(row.ours)
        for at in range(0, len(stored), BLOCK_ROWS):
            if not np.isfinite(decode_rows(stored[at : at + BLOCK_ROWS], tensor.format, tensor.shape[1])).all():
                told = f"{packed.artifact.path}: tensor {row.ours!r} holds NaN or infinity"
                raise CorruptFileError(f"{told}: training has diverged, or the file is damaged")


def _outgoing(packed: Packed, row: Stacked, dtype: str, prefix: str) -> Iterator[Outgoing]:
    """Their tensors of one of ours."""
    tensor = packed.program.by_name[row.ours]
    first, is_vector = 0, tensor.shape[0] == 1
    for name, n in zip(row.theirs, row.rows, strict=True):
        name = name if name == HEAD else prefix + name
        if is_vector:
            values = decode_rows(packed.artifact.view(row.ours), tensor.format, tensor.shape[1])[:, first : first + n]
            kind = dtype if np.array_equal(_decoded(_encoded(values, dtype), dtype, n), values) else "F32"
            yield Outgoing(name, kind, (n,), [_encoded(values, kind)])
        else:
            shape = (tensor.shape[1], n) if row.transposed else (n, tensor.shape[1])
            yield Outgoing(name, dtype, shape, _blocks(packed, row, first, n, dtype))
        first += n


def _blocks(packed: Packed, row: Stacked, first: int, n: int, dtype: str) -> Iterator[np.ndarray]:
    tensor = packed.program.by_name[row.ours]
    stored, cols = packed.artifact.view(row.ours)[first : first + n], tensor.shape[1]
    if row.transposed:
        yield _encoded(np.ascontiguousarray(decode_rows(stored, tensor.format, cols).T), dtype)
        return
    for at in range(0, n, BLOCK_ROWS):
        yield _encoded(decode_rows(stored[at : at + BLOCK_ROWS], tensor.format, cols), dtype)


def _encoded(values: np.ndarray, dtype: str) -> np.ndarray:
    return encode_rows(values, {"F32": "f32", "BF16": "bf16", "F16": "f16"}[dtype])


def _decoded(stored: np.ndarray, dtype: str, cols: int) -> np.ndarray:
    return decode_rows(stored, {"F32": "f32", "BF16": "bf16", "F16": "f16"}[dtype], cols)


def _said_of_tokenizer(packed: Packed) -> dict[str, Any]:
    """What transformers asks beside tokenizer.json: to read it as it stands, and which tokens begin and end a text."""
    names = {i: name for name, i in packed.tokenizer.special_tokens.items()}
    mark = packed.tokenizer.rules.mark
    ends = [names[i] for i in packed.imported_ends if i in names]
    ends += [name for name in (END_OF_TEXT,) if name in packed.tokenizer.special_tokens]
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    return said | ({"bos_token": mark} if mark else {}) | ({"eos_token": ends[0]} if ends else {})


def _without_unused(tokenizer: Tokenizer) -> Tokenizer:
    """Without the names that importing gave to ids without text."""
    n, special = tokenizer.vocab_size, dict(tokenizer.special_tokens)
    while special.pop(UNUSED.format(n - 1), None) == n - 1:
        n -= 1
    vocab = dict(enumerate(tokenizer.token_bytes[:n]))
    return Tokenizer(vocab, tokenizer.merges, special, tokenizer.pattern, tokenizer.rules)
