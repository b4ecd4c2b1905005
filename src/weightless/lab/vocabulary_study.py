"""Which vocabulary, trained: one model per size and kind, all with the same stored bytes and the same held-out text.

    study = load_study("recipes/studies/vocabulary.toml")
    arms = planned(study, folder)          tokenizers and corpora are made, every size is solved; nothing is trained
    run_study(study, folder, command)      FOLDER/runs/ARM is a run of its own (`lab.run`); then vocabulary.json

Equal stored bytes: what is shipped is the artifact and the tokenizer.  A byte-level tokenizer lies inside the artifact;
a SentencePiece model lies beside it and is added.  `lab.fit` turns the dials of the family until

    artifact(vocabulary, width, layers …) + tokenizer <= stored

so that a larger vocabulary pays for its embedding and its merges with width.  What is left over is in the table.  A
family that is counted within a budget of its own (countmix's stored_mb) is given the same bytes; it sees all the text.
Equal training: the same seconds, or (train_megabytes) the same bytes of text: fewer steps where tokens are longer.
Equal text: every arm validates on the same documents, all of them, so that bits per byte have one denominator; they are
excerpts of some kilobytes, drawn from the held-out text evenly, `eval_megabytes` in all.  SentencePiece models keep the
text as it is, too, unless data.normalisation names another rule than identity: then their bytes are those of the text
that is left, which is told.
Errors: ConfigError for what cannot be, before anything is made; WeightlessError for a folder of another study.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from weightless.artifact.sections import align_up
from weightless.base.config import from_dict, load_toml, save_toml, to_dict
from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.files import atomic_write, sha256_file
from weightless.base.folder_lock import folder_lock
from weightless.base.units import human_bytes, parse_bytes
from weightless.data.shards.corpus import Corpus
from weightless.data.shards.prepare import prepare
from weightless.data.text.sources import open_source
from weightless.lab.corpora import prepared
from weightless.lab.fit import Request, fit
from weightless.lab.recipe import LEAST_VOCABULARY, DataRecipe, EvalRecipe, ModelRecipe, Recipe
from weightless.lab.run import run
from weightless.lab.tokenizer_study import sample_of
from weightless.models.catalog import Counted, family, trained
from weightless.tokenizer.piece_text import IDENTITY, RULES, charsmap_of
from weightless.tokenizer.piece_train import PieceOptions, train_pieces
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

KINDS = ("bytes", "sentencepiece")
LEAST = {"bytes": LEAST_VOCABULARY, "sentencepiece": 261}
STUDY, HELD_OUT, MODEL = "study.toml", "heldout.jsonl", "model"
STORED = "stored_mb"
EXCERPT = 8192
LISTED = 1024
"""Bytes of the artifact that say what made it, and where its tokenizer stands; at most, held to the file afterwards."""


@dataclass(frozen=True)
class StudyText:
    """What is learned from, and what is held out whole."""

    source: str = "books_train.txt.xz"
    validation: str = "books_valid.txt.xz"
    field: str = "text"
    normalisation: str = "identity"  # of SentencePiece models; any other one rewrites text, and takes 240 kB


@dataclass(frozen=True)
class StudyModel:
    """The family, the fields of its Config that no dial turns, and those of TrainConfig (train_megabytes apart)."""

    family: str = "dense"
    config: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VocabularyStudy:
    """A study, checked when it is made: ConfigError names what cannot be.

    sizes             tokens of each vocabulary, marks and bytes included
    kinds             bytes (byte-level BPE), sentencepiece
    stored            bytes of artifact and tokenizer together, as 16MB
    train_megabytes   10^6 bytes of text that each model sees; 0: model.train says when training ends
    eval_megabytes    10^6 bytes of held-out text at most
    """

    name: str
    model: StudyModel
    sizes: tuple[int, ...] = (LEAST_VOCABULARY, 512, 1024, 2048, 4096, 8192)
    kinds: tuple[str, ...] = ("bytes",)
    stored: str = "16MB"
    seeds: tuple[int, ...] = (0, 1, 2)
    train_megabytes: float = 0.0
    eval_megabytes: float = 1.0
    data: StudyText = field(default_factory=StudyText)

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise ConfigError(f"kinds: {kind!r}: {nearest(kind, KINDS)}")
        if not self.sizes or not self.kinds or not self.seeds:
            raise ConfigError("a study needs at least one of sizes, kinds and seeds")
        for size in self.sizes:
            for kind in self.kinds:
                if size < LEAST[kind]:
                    raise ConfigError(f"sizes: {size} is too small for {kind}: {LEAST[kind]} is the least")
        if not self.data.validation:
            raise ConfigError("data.validation is empty: all vocabularies are compared on one held-out text; name it")
        ends = [name for name in ("seconds", "num_steps") if name in self.model.train]
        if self.train_megabytes and ends:
            raise ConfigError(f"train_megabytes says when training ends: take {ends[0]} out of model.train")
        if self.is_counted:
            self._check_counted()
        elif self.train_megabytes < 0 or self.eval_megabytes <= 0 or not (self.train_megabytes or ends):
            raise ConfigError("eval_megabytes is above 0, and train_megabytes or model.train.seconds say when it ends")
        if "vocab_size" in self.model.config:
            raise ConfigError("model.config.vocab_size: sizes says it; take it out")
        if self.data.normalisation not in RULES:
            raise ConfigError(f"data.normalisation: {nearest(self.data.normalisation, RULES)}")
        if not self.is_counted:
            trained(self.model.family)
        for arm in self.arms:  # each fits before its tokenizer is known, or never will
            self.recipe(arm, DataRecipe(vocab_size=arm.size), self.solved(arm.size, 0), 1)

    def _check_counted(self) -> None:
        """What is counted has no steps, and its bytes are the study's to say."""
        if self.model.train or self.train_megabytes:
            raise ConfigError(f"{self.model.family} is counted: take out train_megabytes and model.train")
        if STORED in self.model.config:
            raise ConfigError(f"model.config.{STORED}: stored says it; take it out")
        if self.eval_megabytes <= 0:
            raise ConfigError(f"eval_megabytes = {self.eval_megabytes:g} should be above 0")

    @property
    def is_counted(self) -> bool:
        """Whether the family is counted within a budget of stored bytes, instead of trained."""
        found = family(self.model.family)
        return isinstance(found, Counted) and STORED in {f.name for f in fields(found.Config)}

    @property
    def arms(self) -> list[Arm]:
        """Every kind at every size, sizes ascending."""
        return [Arm(kind, size) for kind in dict.fromkeys(self.kinds) for size in sorted(set(self.sizes))]

    @property
    def budget(self) -> int:
        """Stored bytes of each arm."""
        return parse_bytes(self.stored)

    def solved(self, vocab_size: int, n_tokenizer: int) -> Any:
        """The largest Config of the family that leaves room for so many bytes of tokenizer."""
        limit = self.budget - n_tokenizer
        if limit <= 0:
            raise ConfigError(f"stored = {self.stored}: the tokenizer alone takes {human_bytes(n_tokenizer)}")
        fixed = self.model.config
        if self.is_counted:
            own = {**fixed, "vocab_size": vocab_size, STORED: limit / 1e6}
            return from_dict(family(self.model.family).Config, own, "model.config")
        made = from_dict(trained(self.model.family).Config, {**fixed, "vocab_size": vocab_size}, "model.config")
        plain = {name: getattr(made, name) for name in fixed}
        return fit(Request(self.model.family, {"stored": float(limit)}, vocab_size, fixed=plain)).config

    def recipe(self, arm: Arm, data: DataRecipe, config: Any, steps: int) -> Recipe:
        """The run of an arm; `steps` is used under train_megabytes alone."""
        default = to_dict(type(config)())
        own = {k: v for k, v in to_dict(config).items() if v != default[k] and k != "vocab_size"}
        train = {**self.model.train, **({"num_steps": steps} if self.train_megabytes else {})}
        told = f"{arm.size:,} tokens ({arm.kind}) at {self.stored}"
        model = ModelRecipe(MODEL, self.model.family, told, config=own, train=train)
        return Recipe(arm.name, (model,), self.seeds, data, EvalRecipe())


@dataclass(frozen=True)
class Arm:
    """One vocabulary."""

    kind: str
    size: int

    @property
    def name(self) -> str:
        """bytes-1024."""
        return f"{self.kind}-{self.size}"


@dataclass(frozen=True)
class Planned:
    """An arm with its corpus, the recipe that was solved for it, and the bytes of its tokenizer beside the artifact."""

    arm: Arm
    corpus: Corpus
    recipe: Recipe
    tokenizer_bytes: int
    beside: int


def load_study(path: str | Path) -> VocabularyStudy:
    """Read a study's TOML file; every mistake is one line with the file's name."""
    try:
        return from_dict(VocabularyStudy, load_toml(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def planned(study: VocabularyStudy, folder: Path) -> list[Planned]:
    """Make tokenizers and corpora in FOLDER/corpora, and solve every size; what is there already is kept."""
    for text in (study.data.source, study.data.validation):
        open_source(text, study.data.field)  # refuses what is not there before the folder is this study's
    _claim(study, folder)
    hold_out(study, folder / HELD_OUT)
    return [_planned(study, arm, folder) for arm in study.arms]


def run_study(study: VocabularyStudy, folder: Path, arms: Sequence[Planned]) -> None:
    """Train, pack and score what is not finished yet; each arm leaves FOLDER/runs/ARM/summary.json."""
    for planned_arm in arms:
        made = folder / "runs" / planned_arm.arm.name
        if not (made / "recipe.toml").exists():
            made.mkdir(parents=True, exist_ok=True)
        where = made.as_posix()
        run(planned_arm.recipe, made, f"weightless run {where}/recipe.toml --out {where}")


def _claim(study: VocabularyStudy, folder: Path) -> None:
    """Make the folder this study's; WeightlessError when it is another's."""
    path = folder / STUDY
    with folder_lock(folder):
        if path.exists():
            if to_dict(load_study(path)) != to_dict(study):
                raise WeightlessError(f"{folder} holds another study: give --out another folder, or delete that one")
            return
        folder.mkdir(parents=True, exist_ok=True)
        save_toml(path, study)


def hold_out(study: VocabularyStudy, path: Path) -> None:
    """Write the held-out documents that every arm is scored on, evenly drawn."""
    if path.exists():
        return
    most = int(1e6 * study.eval_megabytes)
    source = open_source(study.data.validation, study.data.field)
    sample = sample_of(excerpts(source), most, "the held-out text", show_progress=True)
    rows = [json.dumps({study.data.field: d.decode("utf-8", "replace")}, ensure_ascii=False) for d in sample.documents]
    atomic_write(path, "\n".join(rows) + "\n")


def excerpts(documents: Iterable[bytes], size: int = EXCERPT) -> Iterator[bytes]:
    """Documents cut into pieces of at most `size` bytes, at line ends where there are some, else between characters."""
    for document in documents:
        at = 0
        while at < len(document):
            end = at + size
            if end < len(document):
                line = document.rfind(b"\n", at + size // 2, end) + 1
                while not line and end > at + 1 and document[end] & 0xC0 == 0x80:
                    end -= 1
                end = line or end
            yield document[at:end]
            at = end


def _planned(study: VocabularyStudy, arm: Arm, folder: Path) -> Planned:
    where = folder / "corpora" / arm.name
    corpus = _of_bytes(study, arm, folder, where) if arm.kind == "bytes" else _of_pieces(study, arm, folder, where)
    inside = corpus.tokenizer_json()
    beside = 0 if inside is not None else corpus.tokenizer_path.stat().st_size
    n_tokenizer = beside or len((inside or "").encode())
    config = study.solved(corpus.vocab_size, (beside or align_up(n_tokenizer)) + LISTED)
    data = DataRecipe(where.as_posix(), vocab_size=corpus.vocab_size)
    recipe = study.recipe(arm, data, config, _steps(study, corpus, config))
    return Planned(arm, corpus, recipe, n_tokenizer, beside)


def _steps(study: VocabularyStudy, corpus: Corpus, config: Any) -> int:
    """Optimizer steps in which the model sees train_megabytes of text."""
    train = study.model.train
    tokens = train.get("batch_size", 1) * train.get("grad_accumulation", 1) * train.get("context", config.context)
    return max(1, round(1e6 * study.train_megabytes / (tokens * corpus.n_bytes("train") / corpus.n_tokens("train"))))


def _of_bytes(study: VocabularyStudy, arm: Arm, folder: Path, where: Path) -> Corpus:
    data = study.data
    held_out = (folder / HELD_OUT).as_posix()
    return prepared(DataRecipe(data.source, held_out, data.field, vocab_size=arm.size), where)


def _of_pieces(study: VocabularyStudy, arm: Arm, folder: Path, where: Path) -> Corpus:
    """A corpus whose SentencePiece model is trained on the training text; the model is kept beside the corpora."""
    data = study.data
    source = open_source(data.source, data.field)
    path = folder / "tokenizers" / f"{arm.name}.model"
    if not path.exists():
        rewrites = data.normalisation != IDENTITY
        options = PieceOptions(arm.size, data.normalisation, remove_extra_spaces=rewrites)
        made = train_pieces(source, options, charsmap=charsmap_of(data.normalisation), show_progress=True)
        if made.vocab_size < arm.size:
            raise ConfigError(
                f"the text is too small for {arm.size} pieces: only {made.vocab_size} could be made; ask for at most "
                "so many, or give more text"
            )
        atomic_write(path, made.content)
    held_out = open_source((folder / HELD_OUT).as_posix(), data.field)
    limit = DataRecipe.max_overlap
    return prepare(source, SentencePieceTokenizer.load(path), where, validation=held_out, max_overlap=limit)


def artifact_bytes(folder: Path, entry: dict[str, Any]) -> int:
    """Bytes of the file that a summary's entry names; WeightlessError when it is gone or another one."""
    path = folder / entry["artifact"]["file"]
    if not path.is_file() or sha256_file(path) != entry["artifact"]["sha256"]:
        raise WeightlessError(f"{path} is gone, or is not the artifact that was scored: run the study again")
    return path.stat().st_size
