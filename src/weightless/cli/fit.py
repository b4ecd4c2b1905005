"""weightless fit FAMILY --touched 1MB: work backwards from a budget to the largest configuration that keeps it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from weightless.base.errors import ConfigError, nearest
from weightless.cli.parse import parse, settings
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.lab.fit import Coded, Fitted


@dataclass(frozen=True)
class Fit:
    """The largest configuration of a family within all budgets given, with the margin of each."""

    family: Annotated[str, tyro.conf.Positional]
    """dense, feather, ngram …"""
    touched: str = ""
    """Budget of bytes touched per next token (mean T, mode S): 1MB."""
    stored: str = ""
    """Budget of the artifact's file, without the tokenizer: 16MB."""
    optimizer_bytes: str = ""
    """Budget of optimizer state: 100MB."""
    optimizer: str = "adamw"
    """adamw, muon, sgd or rowwise_adagrad."""
    vocab: int = 4096
    """Size of the vocabulary."""
    set: tuple[str, ...] = ()
    """Fields of the family's configuration to hold fixed, as NAME=VALUE."""
    golf: bool = False
    """A budget of code and squeezed weights together, the tokenizer's included: --cap."""
    cap: str = "16000000"
    """With --golf: the most bytes, decimal."""
    code: str = ""
    """With --golf: the script that is submitted, whose bytes count."""
    like: str = ""
    """With --golf: an artifact (.wl, .wlz) that tells what a number of every format takes once it is coded; what it
    does not hold, and everything when empty, is expected to take what normal numbers do."""
    positions: int = 512
    """Mean over positions 1 to this (or the context, if that is shorter)."""
    json: bool = False
    """Print JSON instead of text and a table."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.lab.fit import Request, fit
    from weightless.ledger.memory import OPTIMIZERS
    from weightless.models.catalog import family

    options = parse(Fit, verb, arguments)
    if options.optimizer not in OPTIMIZERS:
        raise ConfigError(f"--optimizer {options.optimizer}: {nearest(options.optimizer, OPTIMIZERS)}")
    if options.positions < 1:
        raise ConfigError(f"--positions {options.positions}: the mean is over positions 1 to at least 1")
    fixed = settings(family(options.family).Config, options.set)
    vocab_size = fixed.pop("vocab_size", options.vocab)
    limits, coded = _limits(options), _coded(options)
    fitted = fit(Request(options.family, limits, vocab_size, options.optimizer, fixed, options.positions, coded))
    result = _plain(fitted, options)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        _print(fitted, result)
    return 0


def _limits(options: Fit) -> dict[str, float]:
    from weightless.base.units import parse_bytes

    asked = {"touched": options.touched, "stored": options.stored, "optimizer": options.optimizer_bytes}
    limits = {name: float(parse_bytes(text)) for name, text in asked.items() if text}
    if options.golf:
        limits["golf"] = float(parse_bytes(options.cap))
    if not limits:
        raise ConfigError("give at least one budget: --touched 1MB, --stored 16MB, --optimizer_bytes 100MB or --golf")
    return limits


def _coded(options: Fit) -> Coded | None:
    """What coding is expected to take, where that is a budget."""
    if not options.golf:
        return None
    from weightless.golf.cap import code_bytes
    from weightless.golf.expected import expected

    code = code_bytes(Path(options.code)) if options.code else 0
    return expected(Path(options.like) if options.like else None, code)


def _plain(fitted: Fitted, options: Fit) -> dict[str, Any]:
    from weightless.base.config import to_dict

    config = to_dict(fitted.config)
    return {
        "family": options.family,
        "config": config,
        "dials": [
            {"name": dial.name, "turned": dial.value, "next_exceeds": list(dial.stopped_by), **_sizes(at)}
            for dial, at in fitted.turned
        ],
        "budgets": {
            name: {"limit": limit, "amount": sum(fitted.costs[name].values()), "margin": fitted.margins[name]}
            for name, limit in fitted.request.limits.items()
        },
        "components": {part: {b: fitted.costs[b].get(part, 0) for b in fitted.costs} for part in fitted.components},
        "command": _command(fitted, options),
        **_bits(fitted),
    }


def _bits(fitted: Fitted) -> dict[str, Any]:
    """Bits that a number of every format of the model is expected to take once it is coded."""
    from weightless.models.catalog import family

    if (coded := fitted.request.coded) is None:
        return {}
    program = family(fitted.request.family).decode_program(fitted.config)
    formats = sorted({tensor.format for tensor in program.stored()})
    return {"coded_bits": {fmt: coded.bits(fmt) for fmt in formats}}


def _command(fitted: Fitted, options: Fit) -> str:
    """The command line that counts what was found; a shell gives every word of it back as it is."""
    from weightless.base.config import to_dict

    config, default = to_dict(fitted.config), to_dict(type(fitted.config)())
    changed = [
        f"{name}={value if isinstance(value, str) else _toml(value)}"
        for name, value in config.items()
        if value != default[name]
    ]
    words = ["weightless", "count", options.family, *(["--set", *changed] if changed else [])]
    return shlex.join(
        [*words, *(["--positions", str(options.positions)] if options.positions != Fit.positions else [])]
    )


def _toml(value: Any) -> str:
    """A value on one line, as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _sizes(config: Any) -> dict[str, int]:
    """The fields that the dials turn."""
    names = [f.name for f in dataclasses.fields(config) if f.name in ("d_model", "n_layers", "d_ff", "order")]
    names += [f.name for f in dataclasses.fields(config) if f.name.startswith("rows_")]
    sizes = {name: getattr(config, name) for name in names}
    if sizes.get("d_ff") == 0:
        sizes["d_ff"] = getattr(config, "hidden", 0)
    return sizes


def _print(fitted: Fitted, result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from weightless.base.units import human_bytes

    console = Console()
    limits = ", ".join(f"{name} at most {human_bytes(limit)}" for name, limit in fitted.request.limits.items())
    console.print(f"[bold]{result['family']}[/bold] with {limits}", highlight=False, soft_wrap=True)
    for dial in result["dials"]:
        sizes = ", ".join(f"{name} {dial[name]:,}" for name in _sizes(fitted.config))
        why = f"one more exceeds {' and '.join(dial['next_exceeds'])}" if dial["next_exceeds"] else "as far as it goes"
        if not dial["turned"] and not dial["next_exceeds"]:
            why = "not turned: it moves none of the budgets, or has no room below the next size"
        console.print(f"  {dial['name']:<9} +{dial['turned']:<4} {sizes}   ({why})", highlight=False, soft_wrap=True)
    held = ", ".join(f"{name}={value}" for name, value in fitted.request.fixed.items())
    held = f"vocab_size={fitted.request.vocab_size}" + (f", {held}" if held else "")
    console.print(f"  held: {held}; all else as Config.at gives it", highlight=False, soft_wrap=True)
    for name, budget in result["budgets"].items():
        console.print(
            f"  {name}: {budget['amount']:,.0f} bytes, margin {budget['margin']:,.0f} "
            f"({100 * budget['margin'] / max(1, budget['limit']):.2f} %)",
            highlight=False,
            soft_wrap=True,
        )
    table = Table("component")
    for name in fitted.costs:
        table.add_column(name, justify="right")
    for part, amounts in result["components"].items():
        table.add_row(part, *(f"{amount:,.0f}" if amount else "" for amount in amounts.values()))
    table.add_section()
    table.add_row("sum", *(f"{sum(parts.values()):,.0f}" for parts in fitted.costs.values()), style="bold")
    print_table(table)
    for fmt, bits in result.get("coded_bits", {}).items():
        print(f"a number of {fmt} is expected to take {bits:.3f} bits once it is coded")
    print(result["command"])
