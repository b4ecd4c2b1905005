"""weightless golf build | check | compare | logs: submissions of sixteen megabytes, built, checked, compared."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from weightless.base.errors import ConfigError
from weightless.cli.parse import parse, pick


@dataclass(frozen=True)
class Build:
    """Make a submission folder from a trained model: README.md, submission.json, train.log, one script, the compressed
    artifact."""

    folders: Annotated[tuple[str, ...], tyro.conf.Positional]
    """A folder of weightless train, several of them that differ in nothing but the seed (the first one's artifact is
    submitted), or the folder of a run."""
    out: str = ""
    """The folder to make; it must not hold anything yet."""
    model: str = ""
    """Which model of a run's folder."""
    data: str = ""
    """The prepared corpus; the one it was trained with when empty."""
    author: str = ""
    """Who made it."""
    github_id: str = ""
    """Their name on GitHub."""
    name: str = ""
    """What the submission is called; family and folder when empty."""
    blurb: str = ""
    """What it is, in a sentence or two."""
    decode_only: bool = False
    """The script decodes and scores, and leaves training out."""
    allow_over: bool = False
    """Build it although it is over the cap of 16,000,000 bytes."""
    tokens: int = 0
    """Score about so many targets, in windows spread evenly over the validation text; 0: all."""
    stride: int = 0
    """Windows start every so many tokens and score only their last part; 0: side by side."""
    whole_windows: bool = False
    """Cut the stream to a whole number of windows, as Parameter Golf does."""
    threads: int = 0
    """Threads that share the windows; 0: every core."""


@dataclass(frozen=True)
class Check:
    """Check a submission folder: files, sizes, record, network, and its artifact scored again.

    Exit code 0: nothing wrong; 1: faults; 2: it could not be checked whole."""

    folder: Annotated[str, tyro.conf.Positional]
    """A folder that golf build made, or one of Parameter Golf's, which is checked as far as it goes and never run."""
    data: str = ""
    """The prepared corpus that it was scored on."""
    train_data: str = ""
    """The text it was trained on, a file, folder or corpus; the corpus's own training part when empty."""
    tokens: int = 65_536
    """Score about so many targets again, in windows spread evenly; 0: all."""
    threads: int = 0
    """Threads that share the windows; 0: every core."""
    json: bool = False
    """Print JSON instead of lines."""


@dataclass(frozen=True)
class Compare:
    """Is A better than B, by their scores per seed: one-sided Welch test, with a bar to clear."""

    a: Annotated[str, tyro.conf.Positional]
    """The submission that is to be better: a folder, or a log."""
    b: Annotated[str, tyro.conf.Positional]
    """The one to beat."""
    p: float = 0.01
    """The level below which A counts as better."""
    bar: float = 0.005
    """What A has to gain, in nats per token; 0: anything."""
    json: bool = False
    """Print JSON instead of lines."""


@dataclass(frozen=True)
class Logs:
    """Training logs of many dialects in one table, with what is odd about each."""

    folders: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Logs, folders of submissions, or folders that hold such folders."""
    json: bool = False
    """Print JSON instead of a table."""


def main(verb: str, arguments: list[str]) -> int:
    actions = {
        "build": (_build, "a submission folder from a trained model, under the cap or refused"),
        "check": (_check, "look at files, sizes, record and network of a folder, and score its artifact again"),
        "compare": (_compare, "is one folder better than another: Welch's test over seeds, with a bar"),
        "logs": (_logs, "training logs of many dialects in one table, with flags"),
    }
    action, rest = pick(verb, arguments, actions)
    return action(rest)


def _build(arguments: list[str]) -> int:
    from weightless.golf.build import Wanted, build
    from weightless.golf.scoring import Asked
    from weightless.golf.subject import subjects

    options = parse(Build, "golf build", arguments)
    if not options.folders or not options.out:
        raise ConfigError("say what to build and where: weightless golf build MODEL_FOLDER --out DIR")
    asked = Asked(options.tokens, options.stride, options.whole_windows, options.threads)
    wanted = Wanted(
        options.author,
        options.github_id,
        options.name,
        options.blurb,
        options.decode_only,
        options.allow_over,
        asked,
    )
    data = Path(options.data) if options.data else None
    found = subjects([Path(folder) for folder in options.folders], options.model, data)
    made = build(found, Path(options.out), wanted)
    print(*made.scored.lines(), *made.sizes.lines(), sep="\n")
    print(f"{made.folder}: built; `weightless golf check {made.folder} --data {found[0].data.folder}` checks it")
    return 0


def _check(arguments: list[str]) -> int:
    from weightless.golf.check import Asked, check, exit_code
    from weightless.golf.findings import FAULT, OK, UNCHECKED
    from weightless.golf.schema import FORMAT, is_ours

    options = parse(Check, "golf check", arguments)
    data, train = (Path(path) if path else None for path in (options.data, options.train_data))
    found = check(Path(options.folder), Asked(data, train, options.tokens, options.threads))
    ours = is_ours({"format": FORMAT}) and any(f.name == "artifact" for f in found)
    code = exit_code(found, ours)
    if options.json:
        print(json.dumps({"exit": code, "findings": [f.to_plain() for f in found]}, indent=1, ensure_ascii=False))
        return code
    print(*(finding.line() for finding in found), sep="\n")
    counts = {verdict: sum(f.verdict == verdict for f in found) for verdict in (OK, FAULT, UNCHECKED)}
    told = f"{counts[OK]} checks passed, {counts[FAULT]} faults found, {counts[UNCHECKED]} checks could not be made"
    verdict = {0: "passes" if ours else "passes as far as it goes", 1: "FAILS", 2: "is not checked whole"}[code]
    print(f"{options.folder} {verdict}: {told}")
    return code


def _compare(arguments: list[str]) -> int:
    from weightless.golf.compare import compare
    from weightless.golf.scores import scores_of

    options = parse(Compare, "golf compare", arguments)
    if not 0 < options.p < 1:
        raise ConfigError(f"--p {options.p}: a level lies between 0 and 1, for example 0.01")
    a, b = scores_of(Path(options.a)), scores_of(Path(options.b))
    found = compare(a, b, options.bar)
    better = found.is_better(options.p)
    if options.json:
        print(json.dumps({**dataclasses.asdict(found), "p_level": options.p, "better": better}, indent=1))
        return 0 if better else 1
    for name, scores, values in (("A", a, found.a), ("B", b, found.b)):
        told = ", ".join(f"{value:.6f}" for value in values)
        print(f"{name} {scores.folder} ({scores.source}): {told} {found.unit}")
    bits = f" = {found.bar_bits:.5f} bits per byte" if found.bar_bits is not None else ""
    print(f"bar: {found.bar_nats:g} nats per token{bits}")
    for what, test in (("gains more than the bar", found.over_bar), ("gains anything", found.over_zero)):
        print(f"A {what}: t = {test.t:.4f}, df = {test.df:.3f}, one-sided p = {test.p:.3g}")
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"A is {'' if better else 'not '}shown to be better by the bar at p < {options.p:g}: "
        f"mean gain {found.over_zero.difference:.6f} {found.unit}"
    )
    return 0 if better else 1


def _logs(arguments: list[str]) -> int:
    from weightless.golf.log_table import rows

    options = parse(Logs, "golf logs", arguments)
    if not options.folders:
        raise ConfigError("no folder given: weightless golf logs FOLDER …")
    found = rows([Path(folder) for folder in options.folders])
    if options.json:
        print(json.dumps([row.to_plain() for row in found], indent=1))
        return 0
    from weightless.cli.golf_tables import print_logs

    print_logs(found)
    return 0
