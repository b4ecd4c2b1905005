"""weightless golf build | check | compare | logs: submissions of sixteen megabytes, built, checked, compared."""

from __future__ import annotations

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


def main(verb: str, arguments: list[str]) -> int:
    actions = {
        "build": (_build, "a submission folder from a trained model, under the cap or refused"),
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
