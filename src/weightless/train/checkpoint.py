"""Checkpoints: whole or not there at all, and never pickled.

    FOLDER/latest.json                          {"generation": "step_000000123"}, switched by rename
    FOLDER/step_000000123/tensors.safetensors   parameter/NAME, optimizer/NAME/..., constant/NAME
    FOLDER/step_000000123/state.json            next step, counters, configuration, code version, SHA-256 of the tensors

A new generation is written beside the old one under a temporary name, renamed, and only then pointed at; the older is
deleted last.  So a kill, a full disk or a power cut leaves the previous checkpoint whole.
Errors: WeightlessError when it cannot be written, CorruptFileError when what is read contradicts itself or the model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file

from weightless import __version__
from weightless.base.config import is_text
from weightless.base.errors import CorruptFileError, NewerFileError, WeightlessError
from weightless.base.files import read_json, sha256_file, write_json

FORMAT, VERSION = "weightless-checkpoint", 1
TENSORS, STATE, LATEST = "tensors.safetensors", "state.json", "latest.json"
KINDS = ("parameter", "optimizer", "constant")
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: three families of tensors by name, and the JSON state."""

    parameters: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    constants: dict[str, torch.Tensor]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, next_step: int, parameters: Tensors, optimizer: Tensors, constants: Tensors, state: dict[str, Any]
) -> None:
    """Make this the latest generation of `folder`; saving the same step twice changes nothing."""
    name = f"step_{next_step:09d}"
    if _latest(folder) == name:
        return
    part = folder / f".{name}.part"
    families = zip(KINDS, (parameters, optimizer, constants), strict=True)
    tensors = _apart({f"{kind}/{key}": t.detach().contiguous() for kind, held in families for key, t in held.items()})
    try:
        for stale in (part, folder / name):
            shutil.rmtree(stale, ignore_errors=True)
        part.mkdir(parents=True)
        save_file(tensors, part / TENSORS)
        _sync(part / TENSORS)
        header = {"format": FORMAT, "version": VERSION, "code_version": __version__, "next_step": next_step}
        write_json(part / STATE, {**header, "tensors_sha256": sha256_file(part / TENSORS), **state})
        os.rename(part, folder / name)
        write_json(folder / LATEST, {"generation": name})
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise WeightlessError(f"cannot save a checkpoint in {folder}: {error}; the previous one is intact") from error
    except WeightlessError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    _delete_others(folder, name)


def _apart(tensors: Tensors) -> dict[str, Any]:
    """The same values; what shares memory with an earlier tensor is copied, since a file holds each by itself."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart


def amend_checkpoint(folder: Path, more: dict[str, Any]) -> None:
    """Add to the state of the latest generation, atomically; its tensors stay."""
    name = _latest(folder)
    if name is None:
        raise WeightlessError(f"{folder} holds no checkpoint to add anything to")
    write_json(folder / name / STATE, {**_state(folder, name), **more})


def forget_checkpoint(folder: Path) -> None:
    """Remove what is there, the pointer first: half a checkpoint never looks whole."""
    try:
        (folder / LATEST).unlink(missing_ok=True)
    except OSError as error:
        raise WeightlessError(f"cannot begin anew in {folder}: {error.strerror}") from error
    shutil.rmtree(folder, ignore_errors=True)


def read_state(folder: Path) -> dict[str, Any] | None:
    """The JSON state of the latest generation, without its tensors; None when there is none."""
    name = _latest(folder)
    return None if name is None else _state(folder, name)


def _state(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    state = read_json(path / STATE)
    version = state.get("version") if isinstance(state, dict) else None
    if type(version) is int and version > VERSION and state.get("format") == FORMAT:
        raise NewerFileError(
            f"{path / STATE} is a checkpoint of version {version}, and this version of weightless reads {VERSION}: "
            "continue with the version that wrote it, or update"
        )
    if not isinstance(state, dict) or (state.get("format"), state.get("version")) != (FORMAT, VERSION):
        raise CorruptFileError(
            f"{path / STATE} is not a checkpoint of version {VERSION}; delete {folder} to start anew"
        )
    return state


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The latest generation, its hash checked; None when there is none."""
    name = _latest(folder)
    if name is None:
        return None
    path, state = folder / name, _state(folder, name)
    try:
        if sha256_file(path / TENSORS) != state.get("tensors_sha256"):
            raise CorruptFileError(f"{path / TENSORS} is damaged or not the pair of {STATE}: its SHA-256 differs")
        tensors = _read(path / TENSORS)
    except (OSError, SafetensorError) as error:
        raise CorruptFileError(f"{path / TENSORS} is not a safetensors file: {error}") from error
    families: dict[str, dict[str, torch.Tensor]] = {kind: {} for kind in KINDS}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition("/")
        if kind not in families:
            raise CorruptFileError(f"{path / TENSORS} holds {key!r}, which is none of {', '.join(KINDS)}")
        families[kind][rest] = tensor
    return Checkpoint(*(families[kind] for kind in KINDS), state=state)


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file; safetensors opens none whose name is no UTF-8, and is given its bytes."""
    return load_file(path) if is_text(str(path)) else load(path.read_bytes())


@torch.no_grad()
def copy_into(live: Tensors, saved: Tensors, what: str) -> None:
    """Copy saved tensors into live ones; CorruptFileError unless names, shapes and types are the same."""
    missing, extra = sorted(set(live) - set(saved)), sorted(set(saved) - set(live))
    if missing or extra:
        raise CorruptFileError(
            f"the checkpoint's {what} tensors are others: missing {missing[:4]}, unknown {extra[:4]}"
        )
    for name, tensor in live.items():
        theirs = saved[name]
        if tensor.shape != theirs.shape or tensor.dtype != theirs.dtype:
            kinds = f"{tuple(theirs.shape)} {theirs.dtype}, the model has {tuple(tensor.shape)} {tensor.dtype}"
            raise CorruptFileError(f"{what} tensor {name!r} of the checkpoint is {kinds}")
        tensor.copy_(theirs)


def _latest(folder: Path) -> str | None:
    pointer = folder / LATEST
    if not pointer.exists():
        return None
    value = read_json(pointer)
    name = value.get("generation") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name.startswith("step_") or not (name.isascii() and name[5:].isdigit()):
        raise CorruptFileError(f"{pointer} does not name a generation; delete {folder} to start anew")
    return name


def _delete_others(folder: Path, keep: str) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.name != keep and path.name.lstrip(".").startswith("step_"):
            shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
