"""What `weightless train` leaves in a model's folder, as an entry of a summary: measured as the models of a run are.

FOLDER/trained-on.json   the corpus (path and SHA-256), family, configuration, settings of the loop, seed
FOLDER/metrics.jsonl     the learning curve; after training also drawn, as curve.svg
FOLDER/model.wl          the artifact, from which everything is measured
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.config import to_dict
from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import atomic_write, read_json, sha256_file, write_json
from weightless.data.shards.corpus import MANIFEST, Corpus, corpus
from weightless.export.packed import open_packed
from weightless.lab import measure
from weightless.lab.checkpoints import CHECKPOINT
from weightless.lab.recipe import EvalRecipe, fingerprint
from weightless.lab.report.curves import curves_file
from weightless.lab.stages import ARTIFACT
from weightless.program.cost import n_parameters, training_flops
from weightless.train.checkpoint import read_state
from weightless.train.metrics import read_metrics
from weightless.train.same_run import deciding

RECORD, CURVE = "trained-on.json", "curve.svg"


@dataclass(frozen=True)
class TrainedOn:
    """The record that training leaves; `settings` decide the model together with the seed."""

    data: Path
    corpus_sha256: str
    corpus_name: str
    settings: dict[str, Any]
    seed: int
    parting: dict[str, Any] | None = None
    """Corpus.parting; None in a record from before it was kept."""

    @property
    def fingerprint(self) -> str:
        """Equal for folders that differ in nothing but the seed."""
        return fingerprint(self.settings, self.corpus_sha256)

    def corpus(self) -> Corpus:
        """The corpus, if it is still the one; WeightlessError otherwise."""
        if not os.path.exists(self.data / MANIFEST):
            raise WeightlessError(f"the corpus it was trained with, {self.data}, is gone: name one with --data")
        found = corpus(self.data)
        if found.sha256 != self.corpus_sha256:
            raise WeightlessError(
                f"{self.data} holds another corpus than when it was trained with it: name one with --data"
            )
        if self.parted_otherwise(found):
            raise WeightlessError(
                f"{self.data} splits the text otherwise than when it was trained with it, so that "
                "what validates now may have been learned: name a corpus with --data"
            )
        return found

    def parted_otherwise(self, found: Corpus) -> bool:
        """Whether a corpus is of the same text, but other documents of it validate."""
        return found.sha256 == self.corpus_sha256 and self.parting not in (None, found.parting)


def record_training(folder: Path, data: Corpus, family: str, config: Any, loop: Any, lineage: Any = None) -> None:
    """Write trained-on.json; called when training is about to begin.  `lineage`: what it takes from other models."""
    settings = {"family": family, "config": to_dict(config), "loop": {**deciding(loop), "seed": None}}
    settings |= {"lineage": lineage.to_plain()} if lineage is not None else {}
    write_json(
        folder / RECORD,
        {
            "data": data.folder.resolve().as_posix(),
            "corpus": {"name": data.name, "sha256": data.sha256, "parting": data.parting},
            "settings": settings,
            "seed": loop.seed,
        },
    )


def trained_on(folder: Path) -> TrainedOn | None:
    """The record of a model's folder, if it has one; CorruptFileError when it cannot be understood."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        found = read_json(path)
        return TrainedOn(
            Path(found["data"]),
            str(found["corpus"]["sha256"]),
            str(found["corpus"]["name"]),
            dict(found["settings"]),
            int(found["seed"]),
            found["corpus"].get("parting"),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptFileError(f"{path} is damaged ({error}): train the model again") from error


def draw_curve(folder: Path, data: Corpus, family: str) -> Path | None:
    """Draw the learning curve in the folder as curve.svg; None when no validation loss was finite."""
    train = data.manifest["splits"]["train"]
    bytes_per_token = train["bytes"] / train["tokens"] if train.get("bytes") else None
    markup = curves_file(folder.resolve().name, family, read_metrics(folder / "metrics.jsonl"), bytes_per_token)
    if markup is None:
        return None
    atomic_write(folder / CURVE, markup)
    return folder / CURVE


def trained_entry(folder: Path, record: TrainedOn, evaluation: EvalRecipe) -> dict[str, Any]:
    """The folder's entry of a summary, measured from its artifact."""
    path, data = folder / ARTIFACT, record.corpus()
    packed, curve = open_packed(path), read_metrics(folder / "metrics.jsonl")
    result = measure.score(packed, data, evaluation, f"{folder.name} from artifact")
    ledger = measure.ledger(packed, data, result)
    teacher = (read_state(folder / CHECKPOINT) or {}).get("teacher")
    last = curve[-1] if curve else {"tokens": 0, "seconds": None}
    where = shlex.quote(path.as_posix())
    flags = "".join(f" --{name} {value}" for name, value in to_dict(evaluation).items() if value)
    return {
        "name": folder.resolve().name,
        "family": packed.family,
        "seed": record.seed,
        "description": f"trained in {folder.as_posix()}",
        "train_seconds": last["seconds"],
        "tokens_seen": last["tokens"],
        "n_parameters": n_parameters(packed.program),
        **result.to_plain(),
        **measure.of_ledger(ledger),
        "optimizer_bytes": None,
        "training_flops": training_flops(packed.program) * last["tokens"],
        "curve": curve,
        "sample": None,
        "artifact": {"file": path.as_posix(), "sha256": sha256_file(path)},
        "checks": ledger["checks"],
        **({"teacher": teacher} if teacher else {}),
        "commands": {
            "eval": f"weightless eval {where}{flags}",
            "count": f"weightless count {where}",
            "verify": f"weightless count {where} --verify",
        },
    }
