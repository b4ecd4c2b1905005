"""Is a checkpoint of the training that is asked for?  If not, every difference is named, with both values.

A result is decided by its origin (the family, every field of its Config, the text and the tokenizer of the corpus), by
every field of TrainConfig but RESUMABLE_CHANGES, by what it takes from other models (distilling.py), by the parameters,
and by the tokens and scores that are read.  All of that is kept in the checkpoint itself, so that no file beside it can
speak for another training.
Errors: ConfigError in one line; CorruptFileError when a checkpoint does not say what it is of.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.config import from_dict, to_dict
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.models.catalog import family
from weightless.program.tensor import Parameter
from weightless.train.config import RESUMABLE_CHANGES, TrainConfig

ORIGIN, LINEAGE = "origin", "lineage"
END_TOKENS = 65_536
REMEDY = "choose another folder (--out), or begin anew (--fresh), which puts this training in the place of that one"
Pairs = dict[str, tuple[Any, Any]]  # name: (there, asked for)


def origin(family_name: str, config: Any, corpus: Any) -> dict[str, Any]:
    """What a model is of, in plain values: {"family", "config", "corpus": {"name", "sha256", "tokenizer_sha256"}}."""
    hashes = {"sha256": corpus.sha256, "tokenizer_sha256": corpus.manifest["tokenizer_sha256"]}
    return {"family": family_name, "config": to_dict(config), "corpus": {"name": corpus.name, **hashes}}


def identity(
    config: TrainConfig,
    specs: Sequence[Parameter],
    tokens: Any,
    scores_sha256: str,
    of: Mapping[str, Any] | None,
    lineage: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that decides the result, as the checkpoint keeps it; `lineage` is what it takes from other models."""
    return {
        "config": deciding(config),
        "data": fingerprint(tokens, scores_sha256),
        "parameters": [[s.name, list(s.shape), s.format, s.group] for s in specs],
        **({} if of is None else {ORIGIN: dict(of)}),
        **({LINEAGE: dict(lineage)} if lineage else {}),
    }


def deciding(config: TrainConfig) -> dict[str, Any]:
    """The fields of the loop that decide its result, in plain values."""
    return {key: value for key, value in to_dict(config).items() if key not in RESUMABLE_CHANGES}


def check_same(state: Mapping[str, Any], ours: Mapping[str, Any], folder: Path) -> None:
    """ConfigError unless the checkpoint of `folder` has our identity; an origin that one side lacks is not compared."""
    there, here = (from_dict(TrainConfig, s.get("config", {}), "checkpoint") for s in (state, ours))
    pairs: Pairs = {}
    if ORIGIN in state and ORIGIN in ours:
        pairs |= differing_origins(state[ORIGIN], ours[ORIGIN], folder)
    pairs |= _differing(there, here, set(RESUMABLE_CHANGES))
    taken = [side.get(LINEAGE) or {} for side in (state, ours)]
    if not all(isinstance(side, dict) for side in taken):
        raise CorruptFileError(f"the checkpoint in {folder} does not say whom it learned from: begin anew (--fresh)")
    keys = [key for key in taken[0] | taken[1] if taken[0].get(key) != taken[1].get(key)]
    pairs |= {key: (taken[0].get(key), taken[1].get(key)) for key in keys}
    refuse(pairs, folder)
    if state.get("parameters") != ours["parameters"]:
        raise ConfigError(f"{folder} holds the checkpoint of a model with other parameters: {REMEDY}")
    if state.get("data") != ours["data"]:
        raise ConfigError(f"{folder} holds the checkpoint of a training on other tokens or scores: {REMEDY}")


def refuse(pairs: Pairs, folder: Path, remedy: str = REMEDY) -> None:
    """ConfigError naming each difference, if there is one."""
    if pairs:
        told = ", ".join(f"{name} {_shown(there)} (now {_shown(here)})" for name, (there, here) in pairs.items())
        raise ConfigError(f"{folder} holds the checkpoint of another training: {told}; {remedy}")


def differing_origins(there: Any, here: Mapping[str, Any], folder: Path) -> Pairs:
    """The family; or the fields of its Config, and the corpus, where both are known."""
    try:
        names = there["family"], here["family"]
        if names[0] != names[1]:
            return {"family": names}
        configs = [from_dict(family(names[0]).Config, side["config"], "config") for side in (there, here)]
        pairs = _differing(configs[0], configs[1])
        for key, name in (("sha256", "text"), ("tokenizer_sha256", "tokenizer")):
            both = [side["corpus"][key] for side in (there, here) if "corpus" in side]
            if len(both) == 2 and both[0] != both[1]:
                pairs[name] = _named_corpus(there["corpus"], key), _named_corpus(here["corpus"], key)
    except (KeyError, TypeError, AttributeError):
        raise CorruptFileError(f"the checkpoint in {folder} does not say what it is of: begin anew (--fresh)") from None
    return pairs


def fingerprint(tokens: Any, scores_sha256: str = "") -> dict[str, Any]:
    """Enough of the data to notice that it is another: its length, a hash of its two ends, and that of its scores."""
    digest = hashlib.sha256()
    for end in (slice(0, END_TOKENS), slice(max(0, len(tokens) - END_TOKENS), len(tokens))):
        digest.update(np.asarray(tokens[end]).astype("<u4").tobytes())
    scores = {"scores_sha256": scores_sha256} if scores_sha256 else {}
    return {"tokens": len(tokens), "sha256_of_ends": digest.hexdigest(), **scores}


def _differing(there: Any, here: Any, but: set[str] = frozenset()) -> Pairs:  # type: ignore[assignment]
    """Fields of two configurations of one class."""
    both = {f.name: (getattr(there, f.name), getattr(here, f.name)) for f in dataclasses.fields(here)}
    return {name: pair for name, pair in both.items() if name not in but and pair[0] != pair[1]}


def _named_corpus(corpus: Mapping[str, Any], key: str) -> str:
    short = str(corpus[key])[:12]
    return f"{corpus['name']} {short}" if key == "sha256" else short


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)[:200]
