"""weightless push: a packed model goes to the Hugging Face hub, with a card that says what it costs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.units import human_bytes
from weightless.cli.parse import parse

TERMINAL = "-"


@dataclass(frozen=True)
class Push:
    """Upload a packed model to the Hugging Face hub in one commit: the file, its card, its recipe and record."""

    artifact: Annotated[str, tyro.conf.Positional]
    """A packed model (.wl or .wlz), or the folder that has a model.wl."""
    repository: Annotated[str, tyro.conf.Positional]
    """USER/NAME on the hub; made when there is none.  HF_TOKEN must be a token that may write there."""
    private: bool = False
    """Make the repository private; refused where it exists and is public."""
    run: str = ""
    """The run folder whose scores, recipe and record go along; when empty, the run that the file lies in."""
    license: str = ""
    """Its licence as the hub calls it (mit, apache-2.0, …); none is claimed when empty."""
    message: str = ""
    """What the commit says."""
    replace_card: bool = False
    """Replace a README.md (and recipe.toml, summary.json, frontier.png beside it) that weightless did not write."""
    dry_run: str = ""
    """Upload nothing: write the card and what goes with it into this folder, or to the terminal with -."""
    json: bool = False
    """Print JSON instead of sentences."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.export.hub_artifact import is_artifact_on_hub
    from weightless.export.hub_upload import require_token
    from weightless.lab.publishing import prepared, pushed, write_parcel

    options = parse(Push, verb, arguments)
    if is_artifact_on_hub(options.artifact):
        raise ConfigError(f"{options.artifact} is on the hub already: push takes a file of this machine")
    if options.run and not Path(options.run).is_dir():
        raise WeightlessError(f"--run {options.run} is no folder: name the run that made the model")
    if not options.dry_run:
        require_token()
    run = Path(options.run) if options.run else None
    parcel = prepared(Path(options.artifact), options.repository, run, options.license)
    for note in parcel.notes:
        print(note, file=sys.stderr)
    if options.dry_run == TERMINAL:
        print(parcel.card, end="")
        return 0
    if options.dry_run:
        write_parcel(parcel, Path(options.dry_run))
        names = ", ".join(name for name in parcel.files if name != parcel.artifact)
        print(f"{options.dry_run}: {names}; nothing was uploaded")
        return 0
    size = sum(len(file) if isinstance(file, bytes) else file.stat().st_size for file in parcel.files.values())
    print(
        f"pushing {human_bytes(size)} in {len(parcel.files)} files to {parcel.repository}", file=sys.stderr, flush=True
    )
    made = pushed(parcel, options.private, options.message, options.replace_card)
    for name in made.kept:
        print(f"kept {name} as it is there: weightless did not write it (--replace_card replaces it)", file=sys.stderr)
    if options.json:
        told = {"url": made.url, "commit": made.commit, "sha256": parcel.sha256}
        print(json.dumps({**told, "uploaded": made.uploaded, "kept": made.kept}))
        return 0
    print(f"{made.url}  commit {made.commit}")
    print(f"{parcel.artifact}: the hub has our SHA-256 {parcel.sha256}")
    print(f"open it: weightless generate hf://{parcel.repository}/{parcel.artifact} --prompt TEXT")
    return 0
