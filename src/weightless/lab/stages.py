"""The stages of one model: make, pack, measure.  Each leaves a file that says it is done, and for what.

models/NAME/model.wl        the artifact, which no clock has touched: the same recipe makes the same bytes again
models/NAME/training.json   tokens, seconds, optimizer bytes, curve, assertions
models/NAME/packed.json     the artifact's hash, and what it was made of: who is stopped now has only to measure
models/NAME/ledger.json     bytes
models/NAME/eval.json       loss
models/NAME/done.json       everything the summary needs, and the fingerprint of what was asked for
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weightless.base.config import to_dict
from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import read_json, sha256_file, write_json
from weightless.base.folder_lock import folder_lock
from weightless.data.shards.corpus import Corpus
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.lab import measure
from weightless.lab.checkpoints import artifact_notes
from weightless.lab.making import TRAINING, forget_counted, make
from weightless.lab.recipe import EvalRecipe, ModelRecipe, Recipe, fingerprint
from weightless.lab.report.summary import check_entry
from weightless.lab.taking import named_by
from weightless.program.cost import n_parameters, training_flops

ARTIFACT, DONE, PACKED = "model.wl", "done.json", "packed.json"
LATER_SETTINGS = ("train_tokens", "rounded_from", "gptq", "init_from", "distil")
RECORDED = {"steps", "observed", "train_seconds", "train_tokens", "tokens_seen", "wasted_share", "n_parameters"}
RECORDED |= {"optimizer_bytes", "curve"}
"""What the record of a making holds at least."""
_NO_SPREAD = {"mean": None, "p99": None, "max": None}
UNMEASURED: Mapping[str, Any] = MappingProxyType(
    {
        "nats_per_token": None,
        "bits_per_byte": None,
        "touched": {"T": _NO_SPREAD, "U": _NO_SPREAD, "T64": _NO_SPREAD},
        "components": [],
        "stored": {"file": None, "weights": None},
        "flops_per_token": None,
        "training_flops": None,
        "decode_tokens_per_second": None,
        "sample": None,
        "artifact": None,
        "checks": [],
    }
)
"""What there is to say of a model that diverged, in the keys of an entry."""


def run_model(recipe: Recipe, model: ModelRecipe, seed: int, corpus: Corpus, folder: Path) -> dict[str, Any]:
    """The model's entry of summary.json; what is done already, and still there, is not done again."""
    asked = fingerprint(
        wanted(model),
        _scored(recipe.evaluation),
        to_dict(recipe.sample),
        seed,
        corpus.sha256,
        corpus.manifest["tokenizer_sha256"],
        *_paths(recipe, model),
    )
    if (folder / DONE).exists():
        done = read_done(folder)
        if done["asked"] != asked:
            raise WeightlessError(
                f"{folder} holds a model made from another recipe: choose another run name, or delete it"
            )
        if _is_whole(folder, done["entry"]):
            return done["entry"]
        print(f"{folder / ARTIFACT} is gone, or is not the one that was measured: it is made again", file=sys.stderr)
    with folder_lock(folder):
        entry = _made(recipe, model, seed, corpus, folder)
        write_json(folder / DONE, {"asked": asked, "entry": entry})
    return entry


def _made(recipe: Recipe, model: ModelRecipe, seed: int, corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Make and pack, unless that was done before, and measure."""
    label, text = folder.name, (corpus.sha256, corpus.manifest["tokenizer_sha256"])
    made_of = fingerprint(wanted(model), seed, *text, *_paths(recipe, model))
    record = _packed_before(folder, made_of)
    if record is None:
        made = make(model, seed, corpus, folder, label, [arm.name for arm in recipe.model])
        record = made.record
        if "diverged" in record:
            print(f"{label}: {record['diverged']['detail']}; recorded, and nothing is packed", file=sys.stderr)
            return {**_head(recipe, model, seed, record), **UNMEASURED, "diverged": record["diverged"]}
        write_json(folder / TRAINING, record)
        notes = artifact_notes(seed, record["steps"], corpus)
        pack(folder / ARTIFACT, model.family, made.config, made.arrays, corpus.tokenizer_json(), notes)
        write_json(folder / PACKED, {"made_of": made_of, "sha256": sha256_file(folder / ARTIFACT)})
    forget_counted(folder)
    return _measured(recipe, model, seed, corpus, folder, record)


def _packed_before(folder: Path, made_of: str) -> dict[str, Any] | None:
    """What is known of the making of an artifact that was packed in an earlier session, if it lies there unchanged."""
    try:
        said, record = read_json(folder / PACKED), read_json(folder / TRAINING)
        whole = said == {"made_of": made_of, "sha256": sha256_file(folder / ARTIFACT)}
    except (OSError, WeightlessError):
        return None
    return record if whole and isinstance(record, dict) and record.keys() >= RECORDED else None


def read_done(folder: Path) -> dict[str, Any]:
    """What a finished model left; CorruptFileError when it is not that, with every key that a summary needs."""
    path = folder / DONE
    try:
        done = read_json(path, finite=True)
        if not isinstance(done, dict) or type(done.get("asked")) is not str:
            raise CorruptFileError(f"{path}: the key asked is missing or no text")
        check_entry(done.get("entry"), str(path))
    except CorruptFileError as error:
        told = str(error).removeprefix(str(path)).lstrip(": ").partition(";")[0]
        raise CorruptFileError(f"{path} is damaged: delete it, and the model is measured again ({told})") from None
    return done


def _is_whole(folder: Path, entry: dict[str, Any]) -> bool:
    """Whether the artifact of a finished model is the one that its hash names; one that diverged has none."""
    known = entry.get("artifact")
    return not known or ((folder / ARTIFACT).is_file() and sha256_file(folder / ARTIFACT) == known.get("sha256"))


def _scored(evaluation: EvalRecipe) -> dict[str, Any]:
    """What decides the targets; as for `wanted`."""
    return {key: value for key, value in to_dict(evaluation).items() if value or key != "stretch"}


def _paths(recipe: Recipe, model: ModelRecipe) -> list[dict[str, str]]:
    """What the files hold that a model takes something from, where they are none of the recipe's own models."""
    others = [name for name in named_by(model).values() if name not in {arm.name for arm in recipe.model}]
    if not others:
        return []
    from weightless.lab.lineage import contents

    return [contents(name) for name in others]


def wanted(model: ModelRecipe) -> dict[str, Any]:
    """What decides the model; a setting that is not used does not, so that models made before it existed stay valid."""
    return {key: value for key, value in to_dict(model).items() if value or key not in LATER_SETTINGS}


def _measured(
    recipe: Recipe, model: ModelRecipe, seed: int, corpus: Corpus, folder: Path, record: dict[str, Any]
) -> dict[str, Any]:
    """Open the artifact as a stranger would, and let only what it does count."""
    path = folder / ARTIFACT
    packed = open_packed(path)
    result = measure.score(packed, corpus, recipe.evaluation, f"{folder.name} from artifact")
    ledger = measure.ledger(packed, corpus, result)
    write_json(folder / "eval.json", result.to_plain())
    write_json(
        folder / "ledger.json",
        {
            **ledger,
            "loss": result.nats_per_token,
            "tokens": record["tokens_seen"],
            "optimizer": record["optimizer_bytes"],
            "seed": seed,
        },
    )
    observed = [{"name": n, "ok": o["ok"], "detail": o["detail"]} for n, o in record["observed"].items()]
    once = {
        "name": "every target scored once",
        "ok": result.n_tokens == len(result.positions),
        "detail": f"{result.n_tokens:,} targets, {result.n_bytes:,} bytes of text",
    }
    return {
        **_head(recipe, model, seed, record),
        "n_parameters": n_parameters(packed.program),
        **result.to_plain(),
        **measure.of_ledger(ledger),
        "training_flops": training_flops(packed.program) * record["tokens_seen"] if record["steps"] else 0.0,
        "sample": measure.sample(packed, recipe.sample, folder),
        "artifact": {"file": f"models/{folder.name}/{ARTIFACT}", "sha256": sha256_file(path)},
        "checks": [*ledger["checks"], once, *observed],
    }


def _head(recipe: Recipe, model: ModelRecipe, seed: int, record: dict[str, Any]) -> dict[str, Any]:
    """The part of an entry that is known before anything is packed."""
    return {
        "name": model.name if len(recipe.seeds) == 1 else f"{model.name}-s{seed}",
        "family": model.family,
        "seed": seed,
        "description": model.description,
        **{
            key: record[key]
            for key in (
                "train_seconds",
                "train_tokens",
                "tokens_seen",
                "wasted_share",
                "n_parameters",
                "optimizer_bytes",
                "curve",
            )
        },
        **{key: record[key] for key in ("used", "teacher") if record.get(key)},
    }
