"""weightless explain: what a model of count mixing went by when it predicted one token of a text."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from weightless.base.errors import ConfigError
from weightless.base.files import atomic_write
from weightless.cli.parse import parse
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.export.packed import Packed

MOST_NAMED = 2


@dataclass(frozen=True)
class Explain:
    """What every input of a countmix model said about one token: step by step on its path through the tree."""

    artifact: Annotated[str, tyro.conf.Positional]
    """A packed model (.wl) of family countmix."""
    text: str
    """A text; its last token is the one that is explained, what stands before fills the window."""
    at: int = -1
    """Another token of the text, counted from 0; -1 is the last."""
    out: str = ""
    """A folder for two pictures: path.svg (the steps) and said.svg (who said what, and who was believed)."""
    json: bool = False
    """Print all of it as JSON."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.export.packed import open_packed
    from weightless.lab.overheard import overheard

    options = parse(Explain, verb, arguments)
    packed = open_packed(options.artifact)
    tokens, at = _chosen(packed, options)
    told = overheard(packed, tokens, at)
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        _print(told)
    if options.out:
        for path in _draw(told, Path(options.out)):
            print(f"picture: {path}", file=sys.stderr)
    return 0


def _chosen(packed: Packed, options: Explain) -> tuple[np.ndarray, int]:
    """(a window of tokens, behind the token that ends texts; the place of the one to explain)."""
    ids = packed.tokenizer.encode(options.text)
    if not ids:
        raise ConfigError("--text is empty: give a text whose last token is to be explained")
    if not -1 <= options.at < len(ids):
        raise ConfigError(f"--at {options.at}: the text has the tokens 0..{len(ids) - 1}")
    end = packed.tokenizer.end_of_text
    tokens = np.asarray([*([] if end is None else [end]), *ids], np.int64)
    at = len(tokens) - 1 if options.at == -1 else options.at + len(tokens) - len(ids)
    first = max(0, at - packed.program.context)
    return tokens[first : at + 1], at - first


def _draw(told: dict[str, Any], folder: Path) -> list[Path]:
    from weightless.lab.report.overheard import overheard_svg
    from weightless.lab.report.token_tree import path_svg

    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in (("path.svg", path_svg), ("said.svg", overheard_svg)):
        atomic_write(folder / name, draw(told))
    return [folder / "path.svg", folder / "said.svg"]


def _print(told: dict[str, Any]) -> None:
    """A line per step: the side, its probability, what was possible, and who pushed most."""
    from rich.table import Table
    from rich.text import Text

    from weightless.lab.report.overheard import percent, shown

    p = math.exp(-told["nats"])
    print(f"P({shown(told['token'])}) = {p:.4f}, {told['nats'] / math.log(2):.2f} bits, in {len(told['steps'])} steps")
    table = Table()
    for name, how in (("possible", "right"), ("side", "left"), ("P", "right"), ("towards", "left"), ("away", "left")):
        table.add_column(name, justify=how)  # type: ignore[arg-type]
    for step in told["steps"]:
        right = step["right"]
        side = "right" if right else "left"
        likely = "  ".join(shown(piece) for piece in step["sides"][right]["examples"][:3])
        cells = [f"{sum(s['tokens'] for s in step['sides']):,}", f"{side}: {likely}"]
        cells += [percent(step["p_right"] if right else 1 - step["p_right"]), *_loudest(told["inputs"], step)]
        table.add_row(*(Text(cell) for cell in cells))
    print_table(table)


def _loudest(inputs: list[list[str]], step: dict[str, Any]) -> tuple[str, str]:
    """The inputs that pushed most towards the side taken, and those that pushed most away, in logits."""
    sign = 1 if step["right"] else -1
    pushes = [(sign * x * w, name) for x, w, (name, _) in zip(step["logits"], step["weights"], inputs, strict=True)]
    most = sorted(pushes, reverse=True)
    towards = [f"{name} {push:+.2f}" for push, name in most if push > 0.005]
    away = [f"{name} {push:+.2f}" for push, name in reversed(most) if push < -0.005]
    return "  ".join(towards[:MOST_NAMED]), "  ".join(away[:MOST_NAMED])
