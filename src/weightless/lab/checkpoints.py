"""Pack what a training run left: its model.toml says what it is, its checkpoint holds the numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightless.base.config import from_dict, load_toml, save_toml
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.corpus import Corpus, corpus
from weightless.export.lower import pack
from weightless.models.catalog import family

MODEL = "model.toml"


@dataclass(frozen=True)
class ModelFile:
    """model.toml: the family and its complete configuration."""

    family: str
    config: dict[str, Any] = field(default_factory=dict)


def save_model_file(folder: Path, family_name: str, config: Any) -> None:
    """Write model.toml beside the checkpoint that training is about to make."""
    from weightless.base.config import to_dict

    save_toml(folder / MODEL, ModelFile(family_name, to_dict(config)))


def load_model_file(folder: Path) -> tuple[str, Any]:
    """(family name, its Config); WeightlessError when the folder holds no trained model."""
    if not (folder / MODEL).exists():
        raise WeightlessError(f"{folder} holds no {MODEL}: name the folder that `weightless train` wrote")
    found = from_dict(ModelFile, load_toml(folder / MODEL))
    return found.family, from_dict(family(found.family).Config, found.config, "config")


def pack_checkpoint(folder: Path, data: Path, out: Path, weight_format: str = "") -> Path:
    """Write the artifact of the newest checkpoint in `folder`; `weight_format` overrides that of the matrices."""
    from weightless.train.checkpoint import load_checkpoint
    from weightless.train.divergence import ADVICE, Divergence

    name, config = load_model_file(folder)
    if weight_format:
        if not hasattr(config, "weight_format"):
            raise ConfigError(f"family {name!r} has no weight_format to change")
        config = dataclasses.replace(config, weight_format=weight_format)
    saved = load_checkpoint(folder / "checkpoint")
    if saved is None:
        raise WeightlessError(f"{folder} holds no checkpoint yet: train first")
    asked = saved.state.get("config")
    if not isinstance(asked, dict):
        raise CorruptFileError(f"the checkpoint in {folder} does not say how it was trained: train anew")
    if "diverged" in saved.state:
        told = Divergence.from_plain(saved.state["diverged"]).detail
        raise WeightlessError(f"{folder} {told}: there is no sound model to pack; {ADVICE}, and train anew (--fresh)")
    tokens = corpus(data)
    if tokens.vocab_size != config.vocab_size:
        raise WeightlessError(f"{data} has a vocabulary of {tokens.vocab_size}, the model one of {config.vocab_size}: "
                              "name the data it was trained on with --data")  # fmt: skip
    arrays = {key: tensor.numpy() for key, tensor in {**saved.parameters, **saved.constants}.items()}
    notes = artifact_notes(asked.get("seed"), saved.state.get("next_step"), tokens)
    pack(out, name, config, arrays, tokens.tokenizer_json(), notes)
    return out


def artifact_notes(seed: Any, steps: Any, data: Corpus) -> dict[str, Any]:
    """What an artifact says of its making: nothing that a clock, a folder or a machine decides.

    So whoever repeats the training gets the same file, by `run` as by `train`; the rest is in the run's folder.
    """
    return {"seed": seed, "steps": steps, "corpus_sha256": data.sha256,
            "tokenizer_sha256": data.manifest["tokenizer_sha256"]}  # fmt: skip
