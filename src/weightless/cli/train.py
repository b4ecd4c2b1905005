"""weightless train [FAMILY]: one model on prepared data, with the flags of the field (`--batch_size --max_lr …`).

The flags are the fields of the family's configuration and of the training loop's; the family comes first, or as
`--family`.  What batches are made of: --packing documents, --document_mask, --order length, --pacing buckets …
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightless.base.config import to_dict
from weightless.base.errors import ConfigError
from weightless.base.files import sha256_file
from weightless.cli.conflicts import given
from weightless.cli.flags import HELP, help_of
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.data.shards.corpus import Corpus
    from weightless.program.program import Program
    from weightless.train.config import TrainConfig
    from weightless.train.loop import TrainResult

DIVERGED = 3
"""The exit code of a training that diverged: it is done and recorded, and there is no model."""
DEFAULT_STEPS = 1000
DEFAULT_BATCH = 16


@dataclass(frozen=True)
class TrainOptions:
    """Where to read and write; the rest of the flags belong to the model and to the loop."""

    family: str = "dense"
    """dense, experts, feather …; the first word after train says the same."""
    data: str = "runs/docs-data"
    """A prepared corpus (weightless data prepare); if the folder does not exist, it is prepared from --text."""
    text: str = "docs"
    """For a corpus that is not there yet: docs, fables, a file or a folder (text, JSON, parquet, .gz .xz .zst)."""
    vocab_size: int = 4096
    """Tokens of the vocabulary for a corpus that is not there yet."""
    out: str = ""
    """The model's folder; runs/FAMILY when empty.  A checkpoint there is continued."""
    fresh: bool = False
    """Begin anew, even if there is a checkpoint."""
    pack: bool = True
    """Write model.wl when training is done."""
    init_from: str = ""
    """Begin with the numbers of another model of the same shape: an artifact (.wl), or the folder of one that was
    trained, or of Hugging Face's."""
    teacher: str = ""
    """Learn from the distributions of this model, too, named in the same ways; it has the corpus's tokenizer."""
    distil_weight: float = 0.5
    """Share (0 to 1) of the divergence from the teacher in the loss; the rest is the usual one."""
    distil_temperature: float = 1.0
    """By which the logits of both are divided for it; above 1 the unlikely tokens count for more."""
    distil_top_k: int = 64
    """The teacher's likeliest tokens that are kept (on disk) of every position; all others are one outcome."""
    no_wandb: bool = False
    """Keep Weights & Biases out of it (it is used, offline, only if it is installed)."""
    track: str = ""
    """Dashboards that get the metrics, with commas: wandb, tensorboard, trackio, mlflow; or none.  Empty: as --no_wandb
    says."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.base.folder_lock import folder_lock
    from weightless.lab.dashboards import names_of
    from weightless.models.catalog import Trained, family
    from weightless.train.config import TrainConfig
    from weightless.train.device import check_device

    if arguments and not arguments[0].startswith("-"):
        arguments = ["--family", *arguments]
    name = _family_of(arguments)
    room = family(name)
    if not isinstance(room, Trained):
        raise ConfigError(f"family {name!r} is counted, not trained: put it into a recipe (weightless run)")
    flags = _flags(name, room.Config, TrainConfig)
    options = parse(flags, f"{verb} [FAMILY]", arguments)
    values = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    own = TrainOptions(**{f.name: values[f.name] for f in dataclasses.fields(TrainOptions)})
    loop_values = _part(TrainConfig, values)
    if loop_values["num_steps"] is None and loop_values["seconds"] is None:
        loop_values["num_steps"] = DEFAULT_STEPS
    loop, out = TrainConfig(**loop_values), Path(own.out or f"runs/{name}")
    check_device(loop.device)
    names_of(own.track)
    with folder_lock(out):
        config, data = _prepared(own, given(arguments), room, _part(room.Config, values))
        return _train(own, out, data, name, config, loop)


def _family_of(arguments: list[str]) -> str:
    """The value of --family, looked up before the flags that depend on it are known."""
    for i, argument in enumerate(arguments):
        if argument == "--family" and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith("--family="):
            return argument.split("=", 1)[1]
    return "dense"


def _flags(name: str, config_class: type, train_class: type) -> type:
    """One flat dataclass of every flag; what both parts have (context, seed) is one flag."""
    fields: dict[str, Any] = {}
    texts = {**help_of(config_class), **help_of(train_class), **help_of(TrainOptions)}
    for cls in (train_class, config_class, TrainOptions):
        hints = _hints(cls)
        for f in dataclasses.fields(cls):
            default = f.default if f.default is not dataclasses.MISSING else None
            default = {"batch_size": DEFAULT_BATCH, "family": name}.get(f.name, default)
            given: dict[str, Any] = {"default": default}
            if f.default_factory is not dataclasses.MISSING:
                given = {"default_factory": f.default_factory}
            fields[f.name] = (f.name, hints[f.name], field(**given, metadata={HELP: texts.get(f.name, "")}))
    return dataclasses.make_dataclass(
        "Train", list(fields.values()), frozen=True, namespace={"__doc__": "Train one model, and pack it."}
    )


def _hints(cls: type) -> dict[str, Any]:
    import typing

    return typing.get_type_hints(cls)


def _part(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    return {f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values}


def _corpus(options: TrainOptions, on_line: set[str]) -> Corpus:
    """The prepared corpus; --text and --vocab_size make it, and one that is there already has to be of both."""
    from weightless.data.shards.corpus import corpus
    from weightless.lab.corpora import STAMP, prepared
    from weightless.lab.recipe import DataRecipe

    folder = Path(options.data)
    if not (folder / "manifest.json").exists():
        return prepared(DataRecipe(options.text, vocab_size=options.vocab_size), folder)
    data = corpus(folder)
    if "vocab_size" in on_line and options.vocab_size != data.vocab_size:
        raise ConfigError(
            f"--vocab_size {options.vocab_size} does nothing with --data {folder}, whose vocabulary is "
            f"{data.vocab_size}: leave it out, or name a folder that is not there yet"
        )
    if "text" not in on_line:
        return data
    if not (folder / STAMP).exists():
        raise ConfigError(
            f"--text {options.text} does nothing with --data {folder}, which was not made from it: leave "
            "it out, or name a folder that is not there yet"
        )
    return prepared(DataRecipe(options.text, vocab_size=data.vocab_size), folder)


def _prepared(options: TrainOptions, on_line: set[str], room: Any, model_values: dict[str, Any]) -> tuple[Any, Corpus]:
    """The family's Config and the corpus; nothing is prepared for a model that cannot be."""
    from weightless.lab.checks import check_memory

    if not (Path(options.data) / "manifest.json").exists():
        room.decode_program(room.Config(**model_values))
        check_memory(options.family, room.Config(**model_values))
    data = _corpus(options, on_line)
    config = room.Config(**{**model_values, "vocab_size": data.vocab_size})
    check_memory(options.family, config)
    return config, data


def _train(options: TrainOptions, out: Path, data: Corpus, name: str, config: Any, loop: TrainConfig) -> int:
    from weightless.data.text.split import overlap_warning
    from weightless.lab.checkpoints import ARTIFACT, pack_checkpoint
    from weightless.lab.dashboards import dashboards
    from weightless.lab.trained import draw_curve, record_training
    from weightless.lab.training import train_model
    from weightless.models.catalog import family
    from weightless.train.distilling import DISTILLATION, START
    from weightless.train.divergence import ADVICE
    from weightless.train.settling import CACHE_SETTLED, SETTLED
    from weightless.train.usage import load_told

    folder, taken = Path(options.data), _taken(options, data, loop, out)
    told = {"family": name, **to_dict(config), **to_dict(loop)}
    with dashboards(out, options.track, not options.no_wandb, told) as log:
        result = train_model(
            name,
            config,
            loop,
            data,
            out,
            out.name,
            fresh=options.fresh,
            on_metrics=log,
            on_begin=lambda: record_training(out, data, name, config, loop, taken),
            lineage=taken,
        )
        if log is not None:
            log.summarise(_figures(family(name).decode_program(config), result))
    if result.diverged is not None:
        print(
            f"weightless train: {out} {result.diverged.detail}; recorded, and nothing is packed: {ADVICE}, and begin "
            "anew with --fresh",
            file=sys.stderr,
        )
        return DIVERGED
    losses = [line["val_loss"] for line in result.curve if line["val_loss"] is not None]
    print(
        f"{out}: {result.steps:,} steps, {result.tokens_seen:,} tokens, {result.wasted_share:.2%} of the positions "
        f"padding, validation loss {losses[-1]:.4f} nats per token"
    )
    if doubt := overlap_warning(data.manifest):
        print(f"{data.name}: WARNING: {doubt}", file=sys.stderr)
    print(f"{out}: trained for {result.observed['training time counted']['detail']}")
    for line in load_told(result.used):
        print(f"{out}: {line}")
    beside = ("average of the weights", "learned clips", "autocast", "compiled", "processes")
    for fitted in (START, DISTILLATION, SETTLED, CACHE_SETTLED, *beside):
        if fitted in result.observed:
            print(f"{out}: {fitted}: {result.observed[fitted]['detail']}")
    if "document mask" in result.observed:
        print(f"{out}: {result.observed['document mask']['detail']}")
    if (picture := draw_curve(out, data, name)) is not None:
        print(f"{picture}: the learning curve")
    if options.pack:
        path = pack_checkpoint(out, folder, out / ARTIFACT)
        scored = shlex.join(["weightless", "eval", path.as_posix(), "--data", folder.as_posix()])
        print(f"{path}: {path.stat().st_size:,} bytes; `{scored}` scores it")
        print(f"{path}: SHA-256 {sha256_file(path)}")
    return 0


def _taken(options: TrainOptions, data: Corpus, loop: TrainConfig, out: Path) -> Any:
    """What is taken from other models, opened and checked against the corpus."""
    from weightless.train.distil import Distil

    if not (options.teacher or options.init_from):
        return None
    from weightless.lab.lineage import ANSWERS, lineage

    asked = (options.teacher, options.distil_weight, options.distil_temperature, options.distil_top_k)
    distil = Distil(*asked) if options.teacher else None
    return lineage(distil, options.init_from, data, loop.context, out / ANSWERS)


def _figures(program: Program, result: TrainResult) -> dict[str, Any]:
    """What a dashboard's overview shows of a finished training."""
    from weightless.program.cost import touched_by_formula

    val_losses = [line["val_loss"] for line in result.curve if line["val_loss"] is not None]
    return {
        "bytes_touched_per_token": touched_by_formula(program).T.mean,
        "stored_weight_bytes": sum(tensor.nbytes for tensor in program.stored()),
        "final_val_loss": val_losses[-1] if val_losses else None,
        "final_train_loss": result.curve[-1]["train_loss"] if result.curve else None,
        "tokens_seen": result.tokens_seen,
        "diverged": result.diverged is not None,
    }
