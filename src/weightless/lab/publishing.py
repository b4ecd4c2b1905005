"""Put a packed model on the Hugging Face hub with a card that tells what it costs: weightless push.

    prepared(artifact, repository, …) -> Parcel     artifact opened and hashed, run found, card written: no network
    pushed(parcel, …) -> Pushed                     one commit; what is there of other people is kept

The run is the one named, or the nearest folder above the artifact that has a summary.json.  Its scores are taken only
when its summary lists this very file by SHA-256.  A README.md that weightless did not write is kept, and so are files
of our names beside it, unless they are to be replaced.  Errors: WeightlessError, ConfigError, CorruptFileError.
This file stands on floor 8.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless import __version__
from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import atomic_write, sha256_file
from weightless.base.units import human_bytes
from weightless.export import hub_upload
from weightless.export.hub_artifact import ENDINGS
from weightless.export.packed import Packed, open_packed
from weightless.lab.model_card import Facts, Scored, is_ours, written
from weightless.lab.report import frontier_png, read_summary
from weightless.lab.report.groups import gather
from weightless.lab.report.sections import failures, warning
from weightless.program.cost import flops, is_exact, n_parameters, touched_by_formula

ARTIFACT, CARD, RECIPE, SUMMARY, PICTURE = "model.wl", "README.md", "recipe.toml", "summary.json", "frontier.png"
MOST_BYTES = 50 * 10**9
"""The most that one file of the hub may have."""
FOLDERS_ABOVE = 3
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_WORD = re.compile(r"[\w.-]{1,120}", re.ASCII)
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{1,63}")


@dataclass(frozen=True)
class Parcel:
    """What is to be uploaded: files by their name in the repository, the card among them."""

    repository: str
    artifact: str
    sha256: str
    files: dict[str, Path | bytes]
    notes: tuple[str, ...] = ()

    @property
    def card(self) -> str:
        card = self.files[CARD]
        return card.decode() if isinstance(card, bytes) else card.read_text()


@dataclass(frozen=True)
class Pushed:
    """Where it is, and what was left as it was."""

    url: str
    commit: str
    kept: tuple[str, ...]
    uploaded: tuple[str, ...]


def prepared(artifact: Path, repository: str, run: Path | None = None, license: str = "") -> Parcel:
    """Everything checked that can be without a network."""
    _check_names(repository, license)
    file = artifact / ARTIFACT if artifact.is_dir() else artifact
    if file.suffix not in ENDINGS:
        raise ConfigError(f"{file}: push takes one packed model (.wl or .wlz), as train, run and pack leave it")
    if not _WORD.fullmatch(file.name):
        raise ConfigError(f"{file.name!r:.120}: on the hub a file is called by letters, digits, _ . and -: rename it")
    packed = open_packed(file)
    if (size := file.stat().st_size) > MOST_BYTES:
        raise WeightlessError(
            f"{file} has {human_bytes(size)}; a file of the hub has at most {human_bytes(MOST_BYTES)}"
        )
    sha256 = sha256_file(file)
    folder = run or _run_above(file)
    scored, notes = (None, ("no run lies around the file: the card claims no scores",))
    if folder is not None:
        scored, notes = _scored(folder, sha256, file, is_named=run is not None)
    beside = _beside(folder) if folder is not None and scored is not None else {}
    notes += tuple(f"{name} names folders of this machine: read it before it is public" for name in _local(beside))
    facts = _facts(packed, repository, file.name, sha256, scored, license, tuple(beside))
    return Parcel(repository, file.name, sha256, {file.name: file, CARD: written(facts).encode(), **beside}, notes)


def pushed(parcel: Parcel, private: bool = False, message: str = "", replace_card: bool = False) -> Pushed:
    """Upload in one commit; WeightlessError before anything is sent when it cannot be."""
    hub_upload.require_token()
    there = hub_upload.look(parcel.repository)
    if private and there.commit and not there.private:
        raise WeightlessError(
            f"{parcel.repository} exists and everybody can read it, so --private cannot be: make it private in its "
            "settings first, or push to another name"
        )
    kept = _kept(there, parcel, replace_card)
    files = {name: file for name, file in parcel.files.items() if name not in kept}
    made = hub_upload.upload(there, files, message or f"Upload {parcel.artifact} with weightless", private)
    return Pushed(made.url, made.commit, kept, tuple(files))


def write_parcel(parcel: Parcel, folder: Path) -> None:
    """The card, and what stands beside it, into a folder; the artifact stays where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in parcel.files.items():
        if name != parcel.artifact:
            atomic_write(folder / name, file if isinstance(file, bytes) else file.read_bytes())


def _check_names(repository: str, license: str) -> None:
    if not _REPOSITORY.fullmatch(repository) or ".." in repository or repository.endswith(".git"):
        raise ConfigError(f"{repository!r:.120} is no name of a repository on the hub: write USER/NAME")
    if license and not _LICENSE.fullmatch(license):
        raise ConfigError(
            f"--license {license!r:.80}: write the hub's name of it, for example mit, apache-2.0 or other"
        )


def _run_above(file: Path) -> Path | None:
    return next((folder for folder in file.resolve().parents[:FOLDERS_ABOVE] if (folder / SUMMARY).is_file()), None)


def _scored(folder: Path, sha256: str, file: Path, is_named: bool) -> tuple[Scored | None, tuple[str, ...]]:
    """What the run says of this very file, and what a person should hear about it."""
    summary = read_summary(folder)
    for group in gather(summary):
        for entry in group.members:
            if (entry.get("artifact") or {}).get("sha256") == sha256:
                failed = [check for model, _, check, _ in failures(summary) if model == entry["name"]]
                doubt = [warning(summary), f"Checks of the run that failed: {', '.join(failed)}." if failed else ""]
                told = " ".join(part for part in doubt if part)
                return Scored(summary["name"], entry, group, summary["corpus"], told), ()
    if is_named:
        raise WeightlessError(f"{folder}/{SUMMARY} lists no model with the bytes of {file}: name the run that made it")
    return None, (f"{folder}/{SUMMARY} does not list these bytes: the card claims no scores",)


def _beside(folder: Path) -> dict[str, Path | bytes]:
    """Recipe, summary and picture of a run."""
    found: dict[str, Path | bytes] = {n: folder / n for n in (RECIPE, SUMMARY) if (folder / n).is_file()}
    summary = read_summary(folder)
    if sum(group.drawable for group in gather(summary)) > 1:
        with tempfile.TemporaryDirectory() as drawn:
            found[PICTURE] = frontier_png(summary, Path(drawn) / PICTURE).read_bytes()
    return found


def _local(beside: Mapping[str, Path | bytes]) -> list[str]:
    """Files whose text names the home, the working folder or the run's by a whole path."""
    texts = {name: file.read_text(errors="replace") for name, file in beside.items() if isinstance(file, Path)}
    folders = {str(file.resolve().parent.parent) for file in beside.values() if isinstance(file, Path)}
    folders |= {str(Path.home()), str(Path.cwd())}
    return [name for name, text in texts.items() if any(len(f) > 1 and f in text for f in folders)]


def _facts(
    packed: Packed,
    repository: str,
    file: str,
    sha256: str,
    scored: Scored | None,
    license: str,
    beside: tuple[str, ...],
) -> Facts:
    program, config = packed.program, packed.artifact.meta.get("config")
    return Facts(
        repository=repository,
        file=file,
        sha256=sha256,
        family=packed.family if _WORD.fullmatch(packed.family) else "unknown",
        config=config if isinstance(config, dict) else {},
        ledger=_ledger(packed, scored),
        is_exact=is_exact(program) or scored is not None,
        parameters=n_parameters(program),
        context=program.context,
        vocab_size=program.vocab_size,
        has_tokenizer=packed.has_tokenizer,
        license=license,
        scored=scored,
        beside=beside,
        version=__version__,
    )


def _ledger(packed: Packed, scored: Scored | None) -> dict[str, Any]:
    """The run's own, measured where the text decides; without a run, what the program says."""
    components = [{"name": name, "bytes": n} for name, n in packed.stored_components().items()]
    stored = {**packed.stored_bytes(), "components": components}
    if scored is not None:
        return {**scored.entry, "stored": stored}
    touched = touched_by_formula(packed.program).to_plain()
    return {**touched, "stored": stored, "flops_per_token": flops(packed.program)}


def _kept(there: hub_upload.There, parcel: Parcel, replace: bool) -> tuple[str, ...]:
    """Names of ours that are somebody else's there: a card without our mark, and then what stands beside it."""
    taken = [name for name in parcel.files if name in there.paths and name != parcel.artifact]
    if replace or not taken or (CARD in there.paths and is_ours(there.text(CARD))):
        return ()
    return tuple(taken)
