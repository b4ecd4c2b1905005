"""Other models that a training takes something from: a teacher, or the weights to begin with.

    MODEL.wl            an artifact: its numbers as they are stored
    FOLDER              of a model that was trained: as a teacher its model.wl, to begin with the checkpoint's numbers
    FOLDER              of Hugging Face's (config.json): what `weightless import` makes of it, in its own precision

A trained family teaches in PyTorch, a batch at a time; any other, and one with a window cache, in the engine.  Teacher
and student read the same tokens: the SHA-256 of the tokenizers are compared before anything is trained.  Rows that a
folder has beyond its tokenizer (`import` gives them names) are left out of what it teaches.
Errors: ConfigError and WeightlessError in one line.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightless.audit.counters.subjects import of_artifact, same_program
from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import sha256_file
from weightless.data.shards.corpus import Corpus
from weightless.export.foreign_folder import CONFIG
from weightless.export.from_folder import import_folder
from weightless.export.packed import Packed, open_packed
from weightless.lab.checkpoints import ARTIFACT, CHECKPOINT, MODEL
from weightless.program.cost import flops
from weightless.tokenizer.opening import open_tokenizer
from weightless.train.checkpoint import load_checkpoint
from weightless.train.distil import Distil
from weightless.train.distilling import Lineage, Start
from weightless.train.same_run import ORIGIN
from weightless.train.teacher_cache import Teacher

ANSWERS = ".teachers"
"""The folder beside a model's checkpoint, or among the models of a run (none can have this name), that keeps what
teachers have answered.  It may be deleted at any time."""


@dataclass(frozen=True)
class TorchTeacher:
    """A trained model in PyTorch with the numbers that are stored, over the first `vocab_size` tokens."""

    name: str
    sha256: str
    flops_per_token: float
    model: Any
    parameters: dict[str, torch.Tensor]
    vocab_size: int

    @torch.no_grad()
    def log_probs(self, tokens_BT: np.ndarray, document_BT: np.ndarray | None) -> torch.Tensor:
        tokens, documents = (
            None if array is None else torch.from_numpy(np.asarray(array, np.int64))
            for array in (tokens_BT, document_BT)
        )
        return self.model.log_probs(self.parameters, tokens, documents)[..., : self.vocab_size]


@dataclass(frozen=True)
class EngineTeacher:
    """Any packed model, token by token in the compiled engine."""

    name: str
    sha256: str
    flops_per_token: float
    packed: Packed

    def log_probs(self, tokens_BT: np.ndarray, document_BT: np.ndarray | None) -> torch.Tensor:
        if document_BT is not None:
            raise ConfigError(
                f"{self.name} runs in the engine, which reads across documents: leave document_mask out, or name a "
                "teacher of a trained family without a window cache"
            )
        engine, (B, T) = self.packed.engine(), tokens_BT.shape
        p_BTV = np.empty((B, T, self.packed.program.vocab_size), np.float32)
        for b in range(B):
            engine.reset()
            for t in range(T):
                engine.feed(int(tokens_BT[b, t]))
                p_BTV[b, t] = engine.distribution()
        return torch.from_numpy(p_BTV).log_()


def lineage(distil: Distil | None, init_from: str, data: Corpus, context: int, folder: Path) -> Lineage:
    """Open what is named, and check that it suits the tokens of `data` and windows of `context`.

    The teacher's answers are kept in `folder`, each kind in a folder of its own.
    """
    start = start_of(init_from, data) if init_from else None
    if distil is None:
        return Lineage(start, init_from=init_from)
    teacher = teacher_of(distil.teacher, data, context)
    if distil.top_k > data.vocab_size:
        raise ConfigError(f"distil.top_k = {distil.top_k} is more than the {data.vocab_size} tokens of {data.name}")
    return Lineage(start, distil, teacher, folder, init_from)


def teacher_of(named: str, data: Corpus, context: int) -> Teacher:
    """The model of this path as a teacher for the tokens of `data`."""
    path = _named(named, "teacher")
    if (path / CONFIG).is_file():
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / ARTIFACT
            import_folder(path, made)
            return _teacher(open_packed(made), named, data, context, _folder_tokenizer(path))
    return _teacher(open_packed(_artifact_of(path, "teacher")), named, data, context)


def start_of(named: str, data: Corpus) -> Start:
    """The numbers of the model of this path, for a training on the tokens of `data`."""
    path = _named(named, "init_from")
    if (path / CONFIG).is_file():
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / ARTIFACT
            import_folder(path, made, weight_format="f32")
            return _start(open_packed(made), named, data)
    saved = load_checkpoint(path / CHECKPOINT) if path.is_dir() else None
    if saved is None:
        return _start(open_packed(_artifact_of(path, "init_from")), named, data)
    if "diverged" in saved.state:
        raise WeightlessError(f"init_from {named} diverged: there is nothing to begin with")
    corpus = (saved.state.get(ORIGIN) or {}).get("corpus") or {}
    _check_tokenizer(f"init_from {named}", corpus.get("tokenizer_sha256"), data)
    constants = {name: tensor.numpy() for name, tensor in saved.constants.items()}
    return Start(_short(named), str(saved.state["tensors_sha256"]), saved.parameters, constants)


def _named(named: str, what: str) -> Path:
    path = Path(named)
    if not path.exists():
        raise WeightlessError(f"{what} {named}: no such file or folder")
    if (path / "models").is_dir() and not (path / ARTIFACT).exists():
        raise WeightlessError(f"{what} {named} is a run of several models: name one of them, {path / 'models'}/NAME")
    return path


def _artifact_of(path: Path, what: str) -> Path:
    """The artifact itself, or that of a model's folder."""
    if not path.is_dir():
        return path
    if (path / ARTIFACT).is_file():
        return path / ARTIFACT
    if (path / MODEL).exists():
        raise WeightlessError(f"{what} {path} holds no {ARTIFACT} yet: finish its training, or `weightless pack` it")
    raise WeightlessError(f"{what} {path} holds no {ARTIFACT}, no checkpoint and no {CONFIG}: it is no model")


def _teacher(packed: Packed, named: str, data: Corpus, context: int, own_tokenizer: str | None = None) -> Teacher:
    n_rows, sha256 = packed.program.vocab_size, sha256_file(packed.artifact.path)
    is_cut = own_tokenizer is not None and own_tokenizer == data.manifest["tokenizer_sha256"]
    if not is_cut:
        _check_tokenizer(f"teacher {named}", packed.tokenizer_sha256, data)
    if n_rows < data.vocab_size or (n_rows > data.vocab_size and not is_cut):
        raise ConfigError(f"teacher {named} knows {n_rows} tokens, and {data.folder} has {data.vocab_size}")
    if packed.program.context < context:
        raise ConfigError(
            f"teacher {named} sees {packed.program.context} tokens, and the training has windows of {context}: give "
            "--context (train.context) of at most that"
        )
    per_token = flops(packed.program, "full", context)
    subject = of_artifact(packed, named)
    if subject.has_torch_model and not subject.config.window_cache and same_program(subject):
        from weightless.models.catalog import trained

        model = trained(packed.family).Model(subject.config)
        return TorchTeacher(_short(named), sha256, per_token, model, subject.parameters(), data.vocab_size)
    return EngineTeacher(_short(named), sha256, per_token, packed)


def _start(packed: Packed, named: str, data: Corpus) -> Start:
    _check_tokenizer(f"init_from {named}", packed.tokenizer_sha256, data)
    subject = of_artifact(packed, named)
    if not subject.has_torch_model:
        raise ConfigError(f"init_from {named} is of family {packed.family}, which has no weights that could be trained")
    kinds = {tensor.name: tensor.kind for tensor in packed.program.stored()}
    numbers = subject.parameters()
    constants = {name: t.numpy() for name, t in numbers.items() if kinds[name] == "constant"}
    parameters = {name: t for name, t in numbers.items() if kinds[name] != "constant"}
    return Start(_short(named), sha256_file(packed.artifact.path), parameters, constants)


def _folder_tokenizer(path: Path) -> str | None:
    """SHA-256 of the tokenizer in a folder of Hugging Face's, as a corpus that was prepared with it knows it."""
    return getattr(open_tokenizer(path), "sha256", None)


def _check_tokenizer(who: str, theirs: str | None, data: Corpus) -> None:
    """ConfigError unless both read the same tokens."""
    ours = data.manifest["tokenizer_sha256"]
    if theirs is None or ours is None:
        whose = "its tokenizer" if theirs is None else f"the tokenizer of {data.folder}"
        raise ConfigError(f"{who}: {whose} is unknown, and ids of two tokenizers cannot be compared")
    if theirs != ours:
        raise ConfigError(
            f"{who} has another tokenizer ({theirs[:12]}) than {data.folder} ({ours[:12]}): prepare the text with its "
            "tokenizer (weightless data prepare --tokenizer)"
        )


def _short(named: str) -> str:
    """The name of a model for people: that of its folder, or of a file that is called otherwise than model.wl."""
    path = Path(named)
    return (path.resolve().parent if path.name == ARTIFACT else path).name


def contents(named: str) -> dict[str, str]:
    """{file: SHA-256} of what a path stands for, so that a model made with another content is not taken for this."""
    path = _named(named, "model")
    if (path / CONFIG).is_file():
        files = [path / CONFIG, *sorted(path.glob("*.safetensors"))]
    else:
        files = [_artifact_of(path, "model")]
    return {file.name: sha256_file(file) for file in files}
