"""weightless count: the ledger of a recipe, a family's configuration, a trained model's folder, or an artifact.

No weights are needed, and PyTorch is not imported: every byte follows from the decode program.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from weightless.base.config import from_dict
from weightless.base.errors import WeightlessError
from weightless.cli.parse import parse, settings

SET_HELP = "Fields of the family's configuration, as NAME=VALUE"


@dataclass(frozen=True)
class Count:
    """Print bytes touched per next token (T, U, lines; mean, p99, max over positions 1..512), per component.

    With --training or --flops: parameters, FLOPs, memory and time instead (see weightless count --training --help).
    """

    what: Annotated[str, tyro.conf.Positional]
    """An artifact, a recipe (.toml), the folder of a trained model, or a family: dense, feather, ngram."""
    set: tuple[str, ...] = ()
    """Fields of the family's configuration, as NAME=VALUE (with a family or a recipe)."""
    head: str = "score"
    """score or sample (mode S), or full (mode F: all probabilities)."""
    positions: int = 512
    """Mean over positions 1 to this (or the context, if that is shorter)."""
    json: bool = False


def main(verb: str, arguments: list[str]) -> int:
    from weightless.base.errors import ConfigError, nearest
    from weightless.cli import accounting
    from weightless.program.program import HEADS

    if accounting.asked(arguments):
        return accounting.main(verb, arguments)
    options = parse(Count, verb, arguments)
    if options.head not in HEADS:
        raise ConfigError(f"--head {options.head}: {nearest(options.head, HEADS)}")
    ledgers = [(name, counted(program, options, extra)) for name, program, extra in _subjects(options)]
    if options.json:
        print(json.dumps(dict(ledgers), indent=2))
        return 0
    for name, ledger in ledgers:
        _print(name, ledger)
    return 0


def counted(program: Any, options: Count, extra: dict[str, Any]) -> dict[str, Any]:
    """The ledger of one program."""
    from weightless.program.cost import flops, is_exact, touched_by_formula

    touched = touched_by_formula(program, options.head, options.positions)
    stored: dict[str, int] = {}
    for tensor in program.stored():
        stored[tensor.component] = stored.get(tensor.component, 0) + tensor.nbytes
    return {
        "head": options.head,
        "exact": is_exact(program),
        **touched.to_plain(),
        "parameters": sum(t.shape[0] * t.shape[1] for t in program.stored() if t.kind == "weight"),
        "stored": {"weights": sum(stored.values()), "components": stored},
        "flops_per_token": flops(program, options.head, options.positions),
        **extra,
    }


def _subjects(options: Count) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    from weightless.models.catalog import families, family

    path = Path(options.what)
    if options.what in families() and not path.exists():
        room = family(options.what)
        config = from_dict(room.Config, settings(room.Config, options.set), options.what)
        yield options.what, room.decode_program(config), {}
    elif path.suffix == ".toml":
        yield from _of_recipe(path, options)
    elif path.is_dir():
        from weightless.lab.checkpoints import load_model_file

        name, config = load_model_file(path)
        yield path.name, family(name).decode_program(config), {}
    else:
        yield _of_artifact(path, options)


def _of_recipe(path: Path, options: Count) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    from weightless.lab.recipe import load_recipe
    from weightless.models.catalog import family

    recipe = load_recipe(path)
    for model in recipe.model:
        room = family(model.family)
        config = model.build_config(recipe.data.vocab_size)
        if options.set:
            config = dataclasses.replace(config, **settings(room.Config, options.set))
        yield model.name, room.decode_program(config), {}


def _of_artifact(path: Path, options: Count) -> tuple[str, Any, dict[str, Any]]:
    from weightless.export.packed import open_packed

    if options.set:
        raise WeightlessError(f"{path} is an artifact: its configuration is fixed; leave out --set")
    packed = open_packed(path)
    return str(path), packed.program, {"file": packed.stored_bytes()}


def _print(name: str, ledger: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from weightless.base.units import human_bytes

    kind = "" if ledger["exact"] else "  (structural maximum: what the text decides is counted from an artifact)"
    table = Table(
        title=f"{name}: bytes touched per next token, {ledger['n_steps']} positions{kind}", title_justify="left"
    )
    for column in ("component", "T", "U", "64-byte lines", "share of T", "stored"):
        table.add_column(column, justify="left" if column == "component" else "right")
    T = ledger["touched"]["T"]
    for part in sorted(ledger["components"], key=lambda part: -part["T"]):
        stored = ledger["stored"]["components"].get(part["name"], 0)
        cells = [f"{part[key]:,.1f}" for key in ("T", "U", "T64")]
        table.add_row(part["name"], *cells, f"{100 * part['T'] / T['mean']:.1f} %", f"{stored:,}" if stored else "")
    means = [f"{ledger['touched'][key]['mean']:,.1f}" for key in ("T", "U", "T64")]
    table.add_section()
    table.add_row("mean", *means, "100 %", f"{ledger['stored']['weights']:,}", style="bold")
    for row in ("p50", "p99", "max"):
        table.add_row(row, *(f"{ledger['touched'][key][row]:,.0f}" for key in ("T", "U", "T64")), "", "")
    console = Console()
    console.print(table)
    console.print(f"{human_bytes(T['mean'])} per token (MB = 10^6 bytes), {ledger['parameters']:,} parameters, "
                  f"{ledger['flops_per_token']:,.0f} FLOPs per token\n", highlight=False)  # fmt: skip
