"""Several folders side by side: runs, and models as `weightless train` leaves them, in one summary and one page.

Losses are comparable when they are of the same text, so every folder must have learned from the same corpus (by its
SHA-256, split alike) and be scored on the same share of it; whatever differs is refused by name.  Folders that differ
in nothing but the seed are one model over seeds, and models that share seeds are compared pair by pair.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import write_json
from weightless.base.folder_lock import folder_lock
from weightless.lab.checkpoints import MODEL
from weightless.lab.environment import commit, machine
from weightless.lab.recipe import EvalRecipe, load_recipe
from weightless.lab.report import read_summary, write_report
from weightless.lab.run import corpus_entry
from weightless.lab.stages import ARTIFACT
from weightless.lab.trained import TrainedOn, trained_entry, trained_on

RECIPE, SUMMARY = "recipe.toml", "summary.json"


@dataclass(frozen=True)
class Compared:
    """One folder: a run with its summary and protocol, or a trained model with its record."""

    folder: Path
    summary: dict[str, Any] | None
    evaluation: EvalRecipe | None
    record: TrainedOn | None

    @property
    def corpus(self) -> tuple[str, str]:
        """(SHA-256, name)."""
        if self.record is not None:
            return self.record.corpus_sha256, self.record.corpus_name
        assert self.summary is not None
        return str(self.summary["corpus"].get("sha256")), self.summary["corpus"]["name"]

    @property
    def corpus_entry(self) -> dict[str, Any]:
        """What a summary says of the text."""
        if self.record is not None:
            return corpus_entry(self.record.corpus())
        assert self.summary is not None
        return self.summary["corpus"]


def is_run(folder: Path) -> bool:
    """Whether the folder is a run with a summary."""
    return (folder / SUMMARY).exists()


def compare(folders: Sequence[Path], out: Path, command: str) -> Path:
    """Measure what is not measured, write OUT/summary.json and OUT/report.html; returns the page's path."""
    if (out / RECIPE).exists() or (out / MODEL).exists():
        raise WeightlessError(f"{out} holds a run or a model: give --out another folder for the comparison")
    found, evaluation = comparable(folders)
    with folder_lock(out):
        entries = [entries_of(one, evaluation) for one in found]
        told = [one.summary for one in found if one.summary is not None]
        records = [one.record for one in found if one.record is not None]
        write_json(
            out / SUMMARY,
            {
                "name": out.name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "folder": out.as_posix(),
                "command": command,
                "commit": commit(),
                "wall_seconds": None,
                "machine": machine(),
                "corpus": told[0]["corpus"] if told else corpus_entry(records[0].corpus()),
                "models": named(found, entries),
            },
        )
        return write_report(out)


def comparable(folders: Sequence[Path]) -> tuple[list[Compared], EvalRecipe]:
    """The folders, each once, and what all of them score; WeightlessError naming what differs in text or protocol."""
    found = [opened(folder) for folder in dict.fromkeys(folders)]
    return found, one_protocol(found)


def opened(folder: Path) -> Compared:
    """A run or a trained model; WeightlessError for a folder that is neither."""
    if is_run(folder):
        recipe = load_recipe(folder / RECIPE).targets if (folder / RECIPE).exists() else None
        return Compared(folder, read_summary(folder), recipe, None)
    if not (folder / MODEL).exists():
        raise WeightlessError(f"{folder} holds neither a finished run (summary.json) nor a trained model ({MODEL})")
    record = trained_on(folder)
    if record is None:
        raise WeightlessError(
            f"{folder} does not say what it was trained on (an older training): train it again, or "
            "score it with `weightless eval --data`"
        )
    if not (folder / ARTIFACT).exists():
        raise WeightlessError(f"{folder} holds no {ARTIFACT}: finish its training, or `weightless pack` it")
    return Compared(folder, None, None, record)


def _one_corpus(found: Sequence[Compared]) -> None:
    corpora: dict[str, list[str]] = {}
    for one in found:
        sha256, name = one.corpus
        corpora.setdefault(f"{name} ({sha256[:12]})", []).append(one.folder.as_posix())
    if len(corpora) > 1:
        told = "; ".join(f"{', '.join(folders)} from {corpus}" for corpus, folders in corpora.items())
        raise WeightlessError(f"losses of different corpora cannot be compared: {told}; name folders of one corpus")


def _one_split(found: Sequence[Compared]) -> None:
    """By the numbers of documents and bytes, and by how they were chosen (older runs do not say it)."""
    splits: dict[Any, str] = {}
    methods: dict[Any, str] = {}
    for one in found:
        told = one.corpus_entry
        counted = tuple(told.get(f"{split}_{what}") for split in ("train", "val") for what in ("documents", "bytes"))
        splits.setdefault(
            counted, f"{one.folder.as_posix()}: {told['val_documents']} documents, {told['val_bytes']} bytes"
        )
        if (method := (told.get("parting") or {}).get("method")) is not None:
            methods.setdefault(method, f"{one.folder.as_posix()}: by the method {method!r}")
    if len(differing := splits if len(splits) > 1 else methods) > 1:
        raise WeightlessError(
            f"losses on different held-out documents cannot be compared, though the text is the same "
            f"({'; '.join(differing.values())}): name folders of one split"
        )


def one_protocol(found: Sequence[Compared]) -> EvalRecipe:
    """What all score, the trained models too; WeightlessError naming what differs in text or protocol."""
    _one_corpus(found)
    _one_split(found)
    protocols: dict[EvalRecipe, str] = {}
    for one in found:
        if one.evaluation is not None:
            protocols.setdefault(one.evaluation, one.folder.as_posix())
    if len(protocols) > 1:
        told = "; ".join(
            f"{folder}: tokens = {p.tokens}, stride = {p.stride}, stretch = {p.stretch}"
            for p, folder in protocols.items()
        )
        raise WeightlessError(f"the runs score different targets ({told}): give them one [eval]")
    return next(iter(protocols), EvalRecipe())


def entries_of(one: Compared, evaluation: EvalRecipe) -> list[dict[str, Any]]:
    """The models of one folder as entries of a summary; a trained model is measured where it has not been."""
    if one.record is not None:
        return [trained_entry(one.folder, one.record, evaluation)]
    assert one.summary is not None
    return one.summary["models"]


def named(found: Sequence[Compared], entries: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The entries under names that no two models share: NAME-sSEED for seeds of one model, FOLDER/NAME for a run's."""
    groups: dict[tuple[str, int], list[int]] = {}
    for i, one in enumerate(found):
        if one.record is not None:
            same = (
                key
                for key in ((one.record.fingerprint, n) for n in range(len(found)))
                if one.record.seed not in [_seed(found[j]) for j in groups.get(key, ())]
            )
            groups.setdefault(next(same), []).append(i)
    names: dict[int, str] = {}
    for members in groups.values():
        shared = _shared_name([found[i].folder.resolve().name for i in members])
        names |= {i: shared if len(members) == 1 else f"{shared}-s{_seed(found[i])}" for i in members}
    taken = [entry["name"] for i, part in enumerate(entries) for entry in part if i not in names] + list(names.values())
    out = []
    for i, part in enumerate(entries):
        for entry in part:
            name = names.get(i, entry["name"])
            out.append({**entry, "name": f"{found[i].folder.as_posix()}/{name}" if taken.count(name) > 1 else name})
    return out


def _seed(one: Compared) -> int | None:
    return one.record.seed if one.record is not None else None


def _shared_name(names: Sequence[str]) -> str:
    """What the names of seeds begin with: feather for feather-s0 and feather-s1; the first where they share nothing."""
    if len(names) == 1:
        return names[0]
    shared = re.sub(r"[-_. ]*(seed|s)?[-_]?$", "", os.path.commonprefix(list(names)))
    return shared or names[0]
