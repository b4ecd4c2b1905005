"""weightless count X --training, --flops: parameters, FLOPs, memory and time of training X, before anything is trained.

X is a family (with --set), a recipe, the folder of a trained model, an artifact, or a published model by name
(gpt2-xl, tinystories-10k, parameter-golf-baseline, public-starter …).  Conventions: docs/accounting.md.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import tyro

from weightless.base.errors import ConfigError, nearest
from weightless.cli.parse import parse, settings
from weightless.cli.recipe_files import found_recipe
from weightless.ledger.presets import presets

if TYPE_CHECKING:
    from weightless.ledger.accounting import Subject
    from weightless.ledger.shape import Weight

SHOWN_FORMATS = ("f32", "bf16", "int8", "int4")


@dataclass(frozen=True)
class Accounting:
    """Parameters, FLOPs, memory and time of training a model; nothing is built and PyTorch is not loaded."""

    what: Annotated[str, tyro.conf.Positional]
    """A family, a recipe (.toml), a model's folder, an artifact, or a published model: gpt2-xl, public-starter …"""
    set: tuple[str, ...] = ()
    """Fields of the family's configuration (or of a published model's shape), as NAME=VALUE."""
    training: bool = False
    """Memory and time of training."""
    flops: bool = False
    """Forward and training FLOPs by component."""
    context: int = 0
    """Tokens per sequence; 0 means the model's own context."""
    causal: bool = False
    """Charge attention for the T (T + 1) / 2 pairs that a causal model needs, instead of T x T."""
    batch_size: int = 0
    """Sequences per step; 0 means the recipe's, or 1."""
    optimizer: str = ""
    """adamw, muon, sgd or rowwise_adagrad; empty means the recipe's, or adamw."""
    device_memory: str = ""
    """Memory of the device, for the largest batch: 80GB."""
    flops_per_second: float = 0.0
    """Peak of the device in floating-point operations per second, for the time: 495e12."""
    mfu: float = 0.5
    """Share of the peak (0 to 1) that training reaches (model FLOPs utilisation)."""
    tokens: float = 0.0
    """Training tokens, for the time: 1.3e9."""
    activations: Literal["", "gated", "plain"] = ""
    """Published models: the activation list of this feed-forward instead of the shape's own."""
    json: bool = False
    """Print JSON instead of tables."""


class Named(NamedTuple):
    """Something to account for: weights, FLOPs and activations at T tokens, and what its recipe says of training."""

    name: str
    about: str
    context: int
    weights: list[Weight]
    subject: Callable[[int, bool], Subject]
    train: dict[str, Any]
    shipped: int | None = None
    kept: int | None = None


def asked(arguments: list[str]) -> bool:
    """Whether `weightless count` was asked for an account of training."""
    flags = {argument.replace("-", "_").strip("_") for argument in arguments if argument.startswith("--")}
    return bool({"training", "flops"} & flags) or any(argument in presets() for argument in arguments)


def main(verb: str, arguments: list[str]) -> int:
    options = parse(Accounting, "count --training", arguments)
    found = [(named, accounted(named, options)) for named in subjects(options)]
    if options.json:
        print(json.dumps({named.name: result for named, result in found}, indent=2))
        return 0
    from weightless.cli.accounting_tables import show

    everything = not (options.training or options.flops)
    for named, result in found:
        show(named.name, named.about, result, options.flops or everything, options.training or everything)
    return 0


def accounted(named: Named, options: Accounting) -> dict[str, Any]:
    """The account of one model under the command line's plan."""
    from weightless.base.units import parse_bytes
    from weightless.ledger.accounting import Plan, account
    from weightless.ledger.memory import OPTIMIZERS

    if not 0 <= options.tokens < 2**63:
        raise ConfigError(f"--tokens {options.tokens} is no number of training tokens")
    optimizer = options.optimizer or named.train.get("optimizer", "adamw")
    if optimizer not in OPTIMIZERS:
        raise ConfigError(f"--optimizer {optimizer}: {nearest(optimizer, OPTIMIZERS)}")
    context = options.context or named.train.get("context") or named.context
    plan = Plan(
        context,
        options.batch_size or named.train.get("batch_size", 1),
        optimizer,
        parse_bytes(options.device_memory) if options.device_memory else 0,
        options.flops_per_second,
        options.mfu,
        round(options.tokens),
    )
    result = account(named.subject(context, options.causal), plan)
    stored = {"formats": _stored(named.weights), "kept": named.kept, "shipped": named.shipped}
    return {"optimizer": optimizer, "causal": options.causal, **result, "stored": stored}


def _stored(weights: list[Weight]) -> dict[str, int | None]:
    """Bytes by format, scales included; None where a width does not fit the format."""
    from functools import partial

    from weightless.ledger.memory import stored_bytes
    from weightless.quant.layout import row_bytes

    out: dict[str, int | None] = {}
    for fmt in SHOWN_FORMATS:
        odd = fmt == "int4" and any(weight.cols % 2 for weight in weights if weight.group != "vector")
        out[fmt] = None if odd else stored_bytes(weights, partial(row_bytes, fmt))
    return out


def subjects(options: Accounting) -> Iterator[Named]:
    """What one word on the command line stands for, ready to be accounted for."""
    from weightless.models.catalog import families, family

    path = Path(options.what)
    if options.what in presets():
        yield _preset(options)
    elif options.what in families() and not path.exists():
        room = family(options.what)
        yield _of_family(options.what, options.what, room.Config(**settings(room.Config, options.set)), {})
    elif (recipe := found_recipe(options.what)) and not path.is_dir():
        yield from _of_recipe(recipe, options)
    elif path.is_dir():
        from weightless.lab.checkpoints import load_model_file

        _fixed(options, path)
        yield _of_family(path.name, *load_model_file(path), {})
    elif path.exists() or options.what.startswith("hf://"):
        yield _of_artifact(path, options)
    else:
        known = [*families(), *presets()]
        raise ConfigError(
            f"{options.what!r} is no file, no family and no published model: {nearest(options.what, known)}"
        )


def _preset(options: Accounting) -> Named:
    from weightless.ledger.accounting import Subject
    from weightless.ledger.flops import forward_flops
    from weightless.ledger.memory import textbook_activations
    from weightless.ledger.presets import preset

    entry = preset(options.what)
    changes = settings(None, options.set)
    entry = entry.changed(changes)
    shape = entry.shape

    def subject(T: int, causal: bool) -> Subject:
        activations = textbook_activations(shape, T, options.activations)
        return Subject(shape.weights(), forward_flops(shape, T, causal), activations)

    shipped = None if changes else entry.shipped_bytes()
    about = f"{entry.about}, with {', '.join(options.set)}" if changes else entry.about
    return Named(options.what, about, shape.context, shape.weights(), subject, {}, shipped, entry.kept_bytes())


def _of_family(name: str, family_name: str, config: Any, train: dict[str, Any]) -> Named:
    from weightless.lab.accounting import family_model
    from weightless.ledger.accounting import Subject

    model = family_model(family_name, config)

    def subject(T: int, causal: bool) -> Subject:
        return Subject(model.weights, model.forward_flops(T, causal), model.activations(T))

    return Named(name, f"family {family_name}", model.context, list(model.weights), subject, train)


def _of_recipe(path: Path, options: Accounting) -> Iterator[Named]:
    from weightless.lab.recipe import load_recipe
    from weightless.models.catalog import Trained, family

    recipe = load_recipe(path)
    for model in recipe.model:
        room = family(model.family)
        if not isinstance(room, Trained):
            continue
        config = model.build_config(recipe.data.vocab_size)
        if options.set:
            config = dataclasses.replace(config, **settings(room.Config, options.set))
        yield _of_family(model.name, model.family, config, {"optimizer": "muon", **model.train})


def _of_artifact(path: Path, options: Accounting) -> Named:
    from weightless.base.config import from_dict
    from weightless.export.packed import open_packed
    from weightless.models.catalog import family

    _fixed(options, path)
    packed = open_packed(path)
    config = from_dict(family(packed.family).Config, dict(packed.artifact.meta.get("config", {})), str(path))
    return _of_family(str(path), packed.family, config, {})._replace(shipped=packed.stored_bytes()["file"])


def _fixed(options: Accounting, path: Path) -> None:
    if options.set:
        raise ConfigError(f"the configuration of {path} is fixed: leave out --set")
