"""Pack what a training run left: its checkpoint holds the numbers and says what they are of.

model.toml says so too, for whoever reads the folder; where the two contradict each other, nothing is packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from weightless.base.config import from_dict, load_toml, save_toml, to_dict
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.folder_lock import folder_lock
from weightless.data.shards.corpus import Corpus, corpus
from weightless.export.clipped import clipped_rows
from weightless.export.lower import StoredRows, pack
from weightless.export.repack import with_formats
from weightless.models.catalog import family, trained
from weightless.quant.layout import is_quantised

MODEL, CHECKPOINT = "model.toml", "checkpoint"
ARTIFACT, PREVIOUS = "model.wl", "model.previous.wl"
CALIBRATION_CONTEXT = 512
"""Longest windows of text that GPTQ looks at."""


@dataclass(frozen=True)
class ModelFile:
    """model.toml: the family and its complete configuration."""

    family: str
    config: dict[str, Any] = field(default_factory=dict)


def save_model_file(folder: Path, family_name: str, config: Any) -> None:
    """Write model.toml beside the checkpoint that training is about to make."""
    save_toml(folder / MODEL, ModelFile(family_name, to_dict(config)))


def load_model_file(folder: Path) -> tuple[str, Any]:
    """(family name, its Config); WeightlessError when the folder holds no trained model."""
    if not (folder / MODEL).exists():
        raise WeightlessError(f"{folder} holds no {MODEL}: name the folder that `weightless train` wrote")
    found = from_dict(ModelFile, load_toml(folder / MODEL))
    return found.family, from_dict(family(found.family).Config, found.config, "config")


class Rounding(NamedTuple):
    """How else than its configuration says a checkpoint is packed: `export.repack.with_formats`, and the tokens of the
    training text for whose inputs GPTQ rounds (0: to nearest)."""

    weight_format: str = ""
    plan: dict[str, str] | None = None
    gptq: int = 0


AS_TRAINED = Rounding()


def pack_checkpoint(folder: Path, data: Path, out: Path, rounding: Rounding = AS_TRAINED) -> Path:
    """Write the artifact of the newest checkpoint in `folder`; its numbers rounded otherwise if asked.

    `data` is the corpus that the model was trained on, which is asked for the tokenizer; any other is refused.
    WeightlessError while somebody else trains in `folder`, or writes into the folder of `out`.
    """
    load_model_file(folder)  # a folder that holds no model is told so, not locked
    with folder_lock(folder), folder_lock(out.parent, out.name):
        return _pack_locked(folder, data, out, rounding)


def _pack_locked(folder: Path, data: Path, out: Path, rounding: Rounding) -> Path:
    from weightless.train.checkpoint import load_checkpoint
    from weightless.train.divergence import ADVICE, Divergence

    name, before = load_model_file(folder)
    config = with_formats(name, before, rounding.weight_format, rounding.plan)
    saved = load_checkpoint(folder / CHECKPOINT)
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
        raise WeightlessError(
            f"{data} has a vocabulary of {tokens.vocab_size}, the model one of {config.vocab_size}: "
            "name the data it was trained on with --data"
        )
    _check_origin(folder, saved.state, name, before, tokens)
    arrays = {key: tensor.numpy() for key, tensor in {**saved.parameters, **saved.constants}.items()}
    notes = artifact_notes(asked.get("seed"), saved.state.get("next_step"), tokens)
    rows: dict[str, Any] = clipped(name, before, config, arrays, saved.optimizer)
    if rounding.gptq:
        rows, notes = calibrated(name, config, arrays, tokens, rounding.gptq), {**notes, "gptq_tokens": rounding.gptq}
    pack(out, name, config, {**arrays, **rows}, tokens.tokenizer_json(), notes)
    return out


def clipped(
    name: str, before: Any, config: Any, arrays: Mapping[str, Any], optimizer_state: Mapping[str, Any]
) -> dict[str, StoredRows]:
    """Stored rows [R, bytes] of what was trained with learned clips and has the same format in `config` as `before`.

    Tensors of other formats are not among them: their scales come from the rule of the format.
    """
    from weightless.train.learned_clips import clips_in

    if not (clips := clips_in(optimizer_state)):
        return {}
    trained_in = {spec.name: spec.format for spec in trained(name).Model(before).tensors()}
    specs = trained(name).Model(config).tensors()
    return clipped_rows((spec for spec in specs if spec.format == trained_in[spec.name]), arrays, clips)


def calibrated(name: str, config: Any, arrays: Mapping[str, Any], data: Corpus, n_tokens: int) -> dict[str, StoredRows]:
    """The trained tensors that have codes, rounded by GPTQ for the inputs that n_tokens of the training text give.

    ConfigError when no format has codes, or the text is shorter than a window.
    """
    from weightless.export.calibrate import compressed, spread_windows

    model = trained(name).Model(config)
    if not any(is_quantised(spec.format) for spec in model.tensors()):
        raise ConfigError(
            "GPTQ rounds to codes, and no tensor is stored in a format that has them: give --weight_format"
        )
    windows = spread_windows(data.tokens("train"), n_tokens, min(config.context, CALIBRATION_CONTEXT))
    return compressed(model, arrays, windows, show_progress=True)


def artifact_notes(seed: Any, steps: Any, data: Corpus) -> dict[str, Any]:
    """What an artifact says of its making: nothing that a clock, a folder or a machine decides.

    So whoever repeats the training gets the same file, by `run` as by `train`; the rest is in the run's folder.
    """
    return {
        "seed": seed,
        "steps": steps,
        "corpus_sha256": data.sha256,
        "tokenizer_sha256": data.manifest["tokenizer_sha256"],
    }


def _check_origin(folder: Path, state: dict[str, Any], name: str, config: Any, found: Corpus) -> None:
    """ConfigError when `found` is not the corpus of the training, or model.toml was changed since.

    Older checkpoints do not know the hashes of text and tokenizer; they are held to the tokens themselves.
    """
    from weightless.train.same_run import ORIGIN, differing_origins, fingerprint, origin, refuse

    with_data = "name the data it was trained on with --data"
    if ORIGIN in state:
        pairs = differing_origins(state[ORIGIN], origin(name, config, found), folder)
        refuse({key: pair for key, pair in pairs.items() if key in ("text", "tokenizer")}, folder, with_data)
        refuse(pairs, folder, f"{folder / MODEL} was changed since: put back what it was trained with")
        return
    data = state.get("data")
    known = data if isinstance(data, dict) else {}
    n_tokens = known.get("tokens")
    here = fingerprint(found.tokens("train")[: n_tokens if type(n_tokens) is int else 0])
    if any(known.get(key) != value for key, value in here.items()):
        raise ConfigError(f"{folder} was trained on other tokens than those of {found.folder}: {with_data}")
