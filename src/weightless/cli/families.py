"""weightless families [FAMILY]: what there is to choose from, each with what it costs; or the fields of one family.

Sizes are those of the family's own dial, `Config.at(size)`; bytes are the formula's, so nothing is trained or counted
and PyTorch is not loaded.  Where a text decides (counted families), they are bounds and are called so.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.cli.flags import help_of
from weightless.cli.parse import parse
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.models.catalog import Family

SIZES = (1, 2, 4)
LONGEST_GROUP = 8
"""Layers of a block at most, when repeated blocks are told as one."""


@dataclass(frozen=True)
class Families:
    """Every family: kind, layers, and at three sizes its parameters, bytes touched per token and bytes stored.

    With a name: the fields of that family's configuration, which --set, a recipe and `train` take.
    """

    family: Annotated[str, tyro.conf.Positional] = ""
    """dense, experts, feather, ngram …: list its fields; empty lists all families."""
    json: bool = False
    """Print JSON instead of a table."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.models.catalog import families, family

    options = parse(Families, verb, arguments)
    if options.family:
        found = fields_of(family(options.family).Config)
        show = _print_fields
    else:
        found = [described(name, family(name)) for name in families()]
        show = _print_families
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        show(options.family, found)
    return 0


def described(name: str, found: Family) -> dict[str, Any]:
    """One family as plain values; the sizes are those of Config.at."""
    from weightless.models.catalog import Trained

    return {
        "family": name,
        "kind": type(found).__name__.lower(),
        "about": (sys.modules[found.Config.__module__].__doc__ or "").partition("\n")[0],
        "layers": layers_of(found),
        "bounds": not isinstance(found, Trained),
        "sizes": [_size(found, size) for size in SIZES],
    }


def layers_of(found: Family) -> str:
    """Layers of the default configuration; of a counted family its operators, of a composed one the parts."""
    from weightless.models.catalog import Composed, Trained

    config = found.Config()
    if isinstance(found, Trained):
        return grouped([named(part) for part in found.laid(config).parts])
    if isinstance(found, Composed):
        return f"{config.neural} + {config.counted}"
    program = found.decode_program(config)
    return grouped([type(op).__name__ for op in program.operators("score")])


def named(layer: Any) -> str:
    """Its name, and behind one that holds layers theirs: Repeat(Attention, FeedForward)."""
    held = [named(inner) for field in dataclasses.fields(layer) for inner in _layers_in(getattr(layer, field.name))]
    return f"{type(layer).__name__}({grouped(held)})" if held else type(layer).__name__


def _layers_in(value: Any) -> list[Any]:
    """The layers of a field: itself, or those of a tuple, however deep."""
    from weightless.layers.layer import Layer

    if isinstance(value, tuple):
        return [layer for part in value for layer in _layers_in(part)]
    return [value] if Layer in type(value).__mro__ else []


def grouped(names: Sequence[str]) -> str:
    """Names in order, what repeats told once: A, B, C, B, C, D is "A, 2 × (B, C), D"."""
    told, i = [], 0
    while i < len(names):
        repeats = [(_repeats(names, i, width), width) for width in range(1, LONGEST_GROUP + 1)]
        times, width = max(repeats, key=lambda found: (found[0] * found[1] if found[0] > 1 else 0, -found[1]))
        group = ", ".join(names[i : i + width])
        told.append(group if times == 1 else f"{times} × ({group})" if width > 1 else f"{times} × {group}")
        i += times * width
    return ", ".join(told)


def _repeats(names: Sequence[str], first: int, width: int) -> int:
    """How often the `width` names from `first` on come in a row."""
    times, group = 1, names[first : first + width]
    while len(group) == width and names[first + times * width : first + (times + 1) * width] == group:
        times += 1
    return times


def _size(found: Family, size: int) -> dict[str, Any]:
    from weightless.program.cost import n_parameters, touched_by_formula

    program = found.decode_program(found.Config.at(size))
    return {
        "size": size,
        "parameters": n_parameters(program),
        "touched": touched_by_formula(program).T.mean,
        "stored": sum(tensor.nbytes for tensor in program.stored()),
    }


def fields_of(config_class: Any) -> list[dict[str, str]]:
    """Name, type, default and help of every field of a Config."""
    hints, texts = typing.get_type_hints(config_class), help_of(config_class)
    return [
        {
            "field": f.name,
            "type": _type(hints[f.name]),
            "default": _default(f),
            "help": texts.get(f.name, ""),
        }
        for f in dataclasses.fields(config_class)
    ]


def _type(hint: Any) -> str:
    """A type as one writes it in a recipe: choices by name, None for what may be left out."""
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return str(hint).replace("typing.", "").replace(" | None", " or none")


def _default(field: dataclasses.Field[Any]) -> str:
    """As TOML writes it; "none" is a field that is left out."""
    made = field.default_factory is not dataclasses.MISSING
    value = field.default_factory() if made else field.default  # type: ignore[misc]
    return "none" if value is None else json.dumps(value)


def _print_families(_: str, found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(title="families, at three sizes of their dial (Config.at)", title_justify="left", show_lines=True)
    for column in ("family", "kind", "layers (of the default)"):
        table.add_column(column)
    for column in ("size", "parameters", "bytes touched per token", "bytes stored"):
        table.add_column(column, justify="right")
    for one in found:
        bound = "at most " if one["bounds"] else ""
        rows = [
            (str(s["size"]), *(f"{bound}{s[key]:,.0f}" for key in ("parameters", "touched", "stored")))
            for s in one["sizes"]
        ]
        table.add_row(one["family"], one["kind"], one["layers"], *("\n".join(cells) for cells in zip(*rows)))
    print_table(table)
    print(
        "touched: mean T over positions 1 to 512, mode S, by the formula; at most: the text decides, up to max_tokens"
    )
    print(
        "weightless families FAMILY lists a family's fields; weightless count FAMILY --set NAME=VALUE costs a variant"
    )


def _print_fields(name: str, found: list[dict[str, str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{name}: fields of its Config (--set NAME=VALUE)", title_justify="left")
    for column in ("field", "type", "default", "help"):
        table.add_column(column)
    for one in found:
        table.add_row(*(escape(text) for text in one.values()))
    print_table(table)
