"""weightless count: bytes touched per next token of a family, a recipe, a model's folder, a run, or an artifact.

    weightless count X              the ledger: T, U, lines; mean, p50, p99, max; per component
    weightless count X --verify     every counter that applies to X, side by side; a disagreement is an error
    weightless count A B            two models, line by line
    weightless count X --text FILE  from an artifact: what the text decides, measured on it

Counting a configuration needs no weights and imports neither PyTorch nor a compiler: every byte follows from the decode
program.  Where the text decides (n-gram probes) that is a bound, and is called so; an artifact that lies in a run is
measured on the run's held-out text instead, so that the figures are those of the run's report.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.cli.count_subjects import Named, named_models, tokens_of
from weightless.cli.parse import parse

if TYPE_CHECKING:
    import numpy as np

    from weightless.audit.counters.verify import Verification
    from weightless.program.cost import Touched


@dataclass(frozen=True)
class Count:
    """Print bytes touched per next token (T, U, lines; mean, p99, max over positions 1..512), per component.

    With --training or --flops it accounts for training instead, and takes --context, --causal, --batch_size,
    --optimizer, --device_memory, --flops_per_second, --mfu and --tokens (weightless count --training --help).
    """

    what: Annotated[str, tyro.conf.Positional]
    """An artifact, a recipe (.toml), the folder of a model or of a run, a Hugging Face folder or hub:OWNER/NAME
    (config.json alone), or a family: `weightless families` lists them."""
    other: Annotated[str, tyro.conf.Positional] = ""
    """A second model: the two are compared line by line."""
    set: tuple[str, ...] = ()
    """Fields of the family's configuration, as NAME=VALUE (with a family or a recipe)."""
    mode: Literal["", "S", "F"] = ""
    """S: score or draw one token. F: all probabilities. The same as --head score and --head full."""
    head: str = ""
    """score or sample (mode S), or full (mode F); score when empty."""
    positions: int = 512
    """Mean over positions 1 to this (or the context, if that is shorter)."""
    text: str = ""
    """With an artifact: measure on this text (a file or folder), from the engine's log."""
    tokens: int = 2048
    """Measure about so many tokens of the text, in windows spread evenly over it; 0 means all."""
    verify: bool = False
    """Run every counter that applies and the poison test, and compare them."""
    picture: str = ""
    """Draw the bytes by component into this file (.svg or .png)."""
    json: bool = False
    """Print JSON instead of tables."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.cli import accounting

    if accounting.asked(arguments):
        return accounting.main(verb, arguments)
    options = parse(Count, verb, arguments)
    check(options)
    if options.verify:
        return _verify(options)
    groups = [
        [(model, counted(model, options)) for model in named_models(what, options.set)]
        for what in (options.what, options.other)
        if what
    ]
    ledgers = {_unique_name(model.name, i, groups): ledger for i, group in enumerate(groups) for model, ledger in group}
    if options.picture:
        _draw(ledgers, Path(options.picture))
    if options.json:
        print(json.dumps(_compared(groups, ledgers) if options.other else ledgers, indent=2))
        return 0
    _print(groups, ledgers, bool(options.other))
    return 0


def head_of(options: Count) -> str:
    """The head that --mode or --head names."""
    return options.head or {"S": "score", "F": "full"}.get(options.mode, "score")


def check(options: Count) -> None:
    """ConfigError for options that contradict each other, or that are no numbers to count with."""
    from weightless.program.program import HEADS

    if head_of(options) not in HEADS:
        raise ConfigError(f"--head {options.head}: {nearest(options.head, HEADS)}")
    if options.mode and options.head and (options.mode == "F") != (options.head == "full"):
        raise ConfigError(f"--mode {options.mode} contradicts --head {options.head}: give one of them")
    if options.positions < 1 or options.tokens < 0:
        raise ConfigError("--positions should be at least 1, and --tokens not negative")
    if options.picture and Path(options.picture).suffix not in (".svg", ".png"):
        raise ConfigError(f"--picture {options.picture}: name a file that ends in .svg or .png")
    if options.verify and (options.other or options.picture or head_of(options) != "score"):
        raise ConfigError("--verify takes one X and neither --picture, --mode F nor --head: it checks scoring (mode S)")


def counted(model: Named, options: Count, given: tuple[np.ndarray, str] | None = None) -> dict[str, Any]:
    """The ledger of one model; `given` are tokens to measure it on and their name, in the place of `options.text`."""
    from weightless.program.cost import flops, is_exact, n_parameters, touched_by_formula

    program, head = model.program, head_of(options)
    touched, measured_on = _measured(model, options, given)
    if touched is None:
        touched = touched_by_formula(program, head, options.positions)
    stored: dict[str, int] = {}
    for tensor in program.stored():
        stored[tensor.component] = stored.get(tensor.component, 0) + tensor.nbytes
    return {
        "head": head,
        "exact": is_exact(program) or bool(measured_on),
        "measured_on": measured_on,
        **touched.to_plain(),
        "parameters": n_parameters(program),
        "stored": {"weights": sum(stored.values()), "components": stored, "is_bound": model.sizes_are_bounds},
        "flops_per_token": flops(program, head, options.positions),
        **model.extra,
    }


def _measured(model: Named, options: Count, given: tuple[np.ndarray, str] | None) -> tuple[Touched | None, str | None]:
    """(what a text costs, the text): of --text, or of the run that an artifact lies in where its bytes need a text."""
    from weightless.program.cost import HEADLINE_POSITIONS, is_exact

    if given is not None:
        packed, (tokens, told) = model.opened("a configuration has no text"), given
    elif options.text:
        packed = model.opened(f"--text needs weights: name an artifact, not {options.what}")
        tokens, told = tokens_of(packed, options.text), options.text
    else:
        found = None if model.packed is None or is_exact(model.program) else model.corpus()
        if found is None:
            return None, None
        packed, told = model.opened(""), "the run's held-out text"
        if head_of(options) == "score" and options.positions == HEADLINE_POSITIONS:
            from weightless.lab.measure import touched_on_held_out
            from weightless.lab.recipe import EvalRecipe, recipe_of_run

            run = recipe_of_run(found.folder)
            return touched_on_held_out(packed, found, run.evaluation if run else EvalRecipe()), told
        tokens = found.tokens("val")
    from weightless.audit.counters.real_text import touched_on_text

    return touched_on_text(packed, tokens, head_of(options), options.tokens, options.positions), told


def _unique_name(name: str, i: int, groups: list[Any]) -> str:
    """Two models of one name are told apart by the side they stand on."""
    same = len(groups) == 2 and any(model.name == name for model, _ in groups[1 - i])
    return f"{name} ({'AB'[i]})" if same else name


def _pair(groups: list[Any], ledgers: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    for group in groups:
        if len(group) != 1:
            names = ", ".join(model.name for model, _ in group)
            raise ConfigError(f"two models can be compared, but one side has {len(group)} ({names}): name one of them")
    return list(ledgers.items())


def _compared(groups: list[Any], ledgers: dict[str, Any]) -> dict[str, Any]:
    from weightless.cli.count_tables import lines_of_two

    first, second = _pair(groups, ledgers)
    return {"a": first[0], "b": second[0], "lines": lines_of_two(first[1], second[1]), "ledgers": ledgers}


def _print(groups: list[Any], ledgers: dict[str, Any], two: bool) -> None:
    from weightless.cli.count_tables import print_ledger, print_two

    if two:
        print_two(*_pair(groups, ledgers))
        return
    for name, ledger in ledgers.items():
        print_ledger(name, ledger)


def _draw(ledgers: dict[str, Any], path: Path) -> None:
    from weightless.base.files import atomic_write
    from weightless.lab.report.breakdown import byte_breakdown_svg
    from weightless.lab.report.breakdown_picture import byte_breakdown_png

    names = {name: name if ledger["exact"] else f"{name}, at most" for name, ledger in ledgers.items()}
    components = {names[name]: ledger["components"] for name, ledger in ledgers.items()}
    if path.suffix == ".svg":
        atomic_write(path, byte_breakdown_svg(components))
    else:
        byte_breakdown_png(components, path)


def _verify(options: Count) -> int:
    from weightless.audit.counters.subjects import of_artifact, of_configuration
    from weightless.audit.counters.verify import verify
    from weightless.cli.count_tables import print_verification

    found: list[Verification] = []
    for model in named_models(options.what, options.set):
        if model.packed is not None:
            subject = of_artifact(model.packed, model.name, model.tokens(options.text))
        elif options.text:
            raise WeightlessError(f"--text needs weights: name an artifact, not {options.what}")
        else:
            subject = of_configuration(model.family, model.config, model.name)
        found.append(verify(subject))
        if not options.json:
            print_verification(found[-1])
    if options.json:
        print(json.dumps([verification.to_plain() for verification in found], indent=2))
    for verification in found:
        verification.raise_if_wrong()
    return 0
