"""A model's folder as Hugging Face's `transformers` keeps it: what it says of itself, and its tensors by name.

    config.json                          what kind of model, and its sizes
    model.safetensors                    its tensors, or in shards:
    model.safetensors.index.json         {"weight_map": {tensor: file}}
    tokenizer.json                       or vocab.json and merges.txt

Describing a folder reads config.json alone.  Everything in it comes from a stranger: sizes are bounded, files that
another one names must lie in the folder itself, pickles are never opened, and a folder that is half downloaded is told
from a whole one.  Errors: ConfigError, CorruptFileError, WeightlessError, one line each, with the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.artifact.safetensors import Safetensors, open_safetensors
from weightless.artifact.strict_json import load_strict
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.layers.foreign import Foreign
from weightless.models.catalog import Trained, families, family
from weightless.program.program import MAX_STATE_BYTES

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
LARGEST_JSON = 64 * 10**6
FORMAT_OF = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
FORMAT_OF_NAME = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
STATE_FOR_CACHES = MAX_STATE_BYTES // 8 * 7
"""The rest is for logits and activations."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][\w.-]{0,200}\.safetensors")
FETCH = "finish the download"


@dataclass(frozen=True)
class Described:
    """What config.json says: the family here, its configuration, and what of theirs that leaves out."""

    name: str
    config: Any
    foreign: Foreign
    given: Mapping[str, Any]
    where: str
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def family(self) -> Trained:
        found = family(self.name)
        assert isinstance(found, Trained)
        return found

    def refuse_what_is_left_out(self) -> None:
        """ConfigError if running it would not give the model's own numbers."""
        if self.left_out:
            raise ConfigError(
                f"{self.where}: {self.left_out[0]} is not supported: the model would run with other angles than it was "
                "trained with; its bytes can be counted (weightless count FOLDER)"
            )


def foreign_families() -> dict[str, tuple[str, Foreign]]:
    """{their model_type: (our family, how it is written)}."""
    return written_elsewhere("foreign", "model_type")


def written_elsewhere(table: str, their_name: str) -> dict[str, tuple[str, Any]]:
    """{what others call it: (our family, its table)} of the families that have such a table."""
    rooms = {name: family(name) for name in families()}
    tables = {name: getattr(room, table) for name, room in rooms.items() if isinstance(room, Trained)}
    return {getattr(found, their_name): (name, found) for name, found in tables.items() if found is not None}


def describe(folder: Path, context: int = 0, **formats: str) -> Described:
    """Read config.json; `formats` (weight_format, kv_format) and a shorter `context` go before what it says."""
    path = folder / CONFIG
    where, given, known = str(path), read_object(path), foreign_families()
    kind = given.get("model_type")
    if not isinstance(kind, str) or kind not in known:
        told = "says no model_type" if kind is None else f"is of a model of type {str(kind)!r:.60}"
        raise ConfigError(f"{where} {told}; supported are {', '.join(sorted(known))} ({nearest(str(kind), known)})")
    name, foreign = known[kind]
    architectures = given.get("architectures") or [foreign.architecture]
    if not isinstance(architectures, list) or foreign.architecture not in architectures:
        raise ConfigError(f"{where}: architectures is {architectures!r:.100}, not {foreign.architecture}: no such head")
    Config = family(name).Config
    dtype = FORMAT_OF_NAME.get(str(given.get("dtype") or given.get("torch_dtype")), "f32")
    formats = {"weight_format": dtype, "kv_format": "bf16" if dtype == "bf16" else "f32", **formats}
    config, left_out = foreign.config_of(Config, given, where, **formats)
    longest, notes = config.context, []
    if context > longest:
        raise ConfigError(f"--context {context} is more than the {longest} positions of {where}: give at most that")
    fits = context_that_fits(config)
    if not context and fits < longest:
        notes.append(f"context {longest} → {fits}: the most whose cache fits {MAX_STATE_BYTES} bytes of state")
    config, left_out = foreign.config_of(Config, given, where, **formats, context=context or min(fits, longest))
    return Described(name, config, foreign, given, where, tuple(left_out), tuple(notes))


def context_that_fits(config: Any) -> int:
    """Positions whose cached keys and values fit the largest state of a program, at least one."""
    width = {"f32": 4, "bf16": 2, "int8": 2}[config.kv_format]
    return max(1, STATE_FOR_CACHES // (2 * config.n_layers * config.n_kv_heads * config.d_head * width))


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object, read strictly and bounded."""
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_JSON + 1)
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    if len(text) > LARGEST_JSON:
        raise CorruptFileError(f"{path} has more than {LARGEST_JSON} bytes, too many to be a configuration")
    try:
        values = load_strict(text)
    except ValueError as error:
        raise CorruptFileError(f"{path} is not valid JSON ({error}): download it again") from None
    if not isinstance(values, dict):
        raise CorruptFileError(f"{path} holds no JSON object: download it again")
    return values


@dataclass(frozen=True)
class Weights:
    """Every tensor of a folder by name, in whichever file it lies."""

    folder: Path
    file_of: Mapping[str, Safetensors]

    def shape(self, name: str) -> tuple[int, ...]:
        return self.file_of[name].entries[name].shape

    def dtype(self, name: str) -> str:
        return self.file_of[name].entries[name].dtype

    def stored(self, name: str) -> np.ndarray:
        """The tensor as it is stored, mapped; bf16 as uint16."""
        kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
        return self.file_of[name].bytes_of(name).view(kinds[self.dtype(name)]).reshape(self.shape(name))

    def numbers(self, name: str, stored: np.ndarray) -> np.ndarray:
        """float32 of a part of `stored(name)`, exactly; CorruptFileError when a number is none."""
        if self.dtype(name) == "BF16":
            values = (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
        else:
            values = stored.astype(np.float32)
        if not np.isfinite(values).all():
            raise CorruptFileError(f"{self.file_of[name].path}: tensor {name!r} holds NaN or infinity: it is damaged")
        return values


def open_weights(folder: Path) -> Weights:
    """Open the headers of its safetensors files; nothing is read of the tensors."""
    for part in (*folder.glob("*.incomplete"), *folder.glob(".cache/huggingface/download/*.incomplete")):
        raise WeightlessError(f"{part} is half a download: {FETCH}, or remove it")
    if (folder / WHOLE).exists():
        file = open_safetensors(folder / WHOLE)
        return Weights(folder, dict.fromkeys(file.entries, file))
    if (folder / INDEX).exists():
        return _sharded(folder)
    pickled = sorted([*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
    if pickled:
        raise WeightlessError(
            f"{folder} holds pickled weights ({pickled[0].name}), which could run code and are never opened: take the "
            "model's safetensors files, or convert it where you trust it"
        )
    raise WeightlessError(f"{folder} holds neither {WHOLE} nor {INDEX}: {FETCH}")


def shards_of(index: Path) -> list[str]:
    """The files that an index names, each of which may lie beside it."""
    names = sorted(set(_table_of(index).values()))
    for name in names:
        if not _PLAIN_NAME.fullmatch(name):
            raise CorruptFileError(f"{index} names a file {name!r:.80} that cannot be a shard in its folder")
    return names


def _table_of(index: Path) -> dict[str, str]:
    table = read_object(index).get("weight_map")
    if not isinstance(table, dict) or not table or any(not isinstance(name, str) for name in table.values()):
        raise CorruptFileError(f"{index} has no weight_map of tensors to files: download it again")
    return table


def _sharded(folder: Path) -> Weights:
    index = folder / INDEX
    table, files = _table_of(index), {}
    for name in shards_of(index):
        if not (folder / name).is_file():
            raise WeightlessError(f"{index} names {name}, which is not in {folder}: {FETCH}")
        files[name] = open_safetensors(folder / name)
    for tensor, name in table.items():
        if tensor not in files[name].entries:
            raise CorruptFileError(f"{index} says that {tensor!r:.80} lies in {name}, which lacks it: download both")
    for name, file in files.items():
        for tensor in file.entries:
            if table.get(tensor) != name:
                raise CorruptFileError(
                    f"{folder / name} holds {tensor!r:.80}, which {INDEX} does not say: download both"
                )
    return Weights(folder, {tensor: files[name] for tensor, name in table.items()})
