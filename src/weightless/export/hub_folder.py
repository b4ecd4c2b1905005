"""A model on the Hugging Face hub as a folder: hub:OWNER/NAME[@REVISION], at the one commit that the revision is.

    config_of(name) -> OnHub        config.json and nothing else, which is all that counting asks for
    model_of(name) -> OnHub         what importing reads, in this order: config.json, the tokenizer, the weights

What will be refused is refused before the weights are fetched.  Files lie in the cache of huggingface_hub, whole and
checked against the hub's SHA-256 (where it has one), beside the others of their commit; what a cut connection left is
continued, and asking again fetches nothing twice.  Pickled weights are never fetched.  Environment, patience and
messages: data/text/hub.py.  Errors: ConfigError, WeightlessError, CorruptFileError in one line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.units import human_bytes
from weightless.data.text import hub
from weightless.export.foreign_folder import CONFIG, INDEX, WHOLE, describe, shards_of
from weightless.export.from_folder import NO_TEXT, tokenizer_text

TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",))
TOLD_FROM = 10**7
"""Bytes from which on fetching a file is announced."""


@dataclass(frozen=True)
class OnHub:
    """A folder in the cache, and what it is of."""

    folder: Path
    repository: str
    commit: str

    @property
    def name(self) -> str:
        return self.repository.split("/")[1]


def is_on_hub(text: str) -> bool:
    """Whether a name on the command line means the hub."""
    return text.startswith(hub.PREFIX)


def config_of(text: str) -> OnHub:
    """The folder with its config.json."""
    found = _repository(text)
    return OnHub(_fetched(found, (CONFIG,)), found.name.repo, found.commit)


def model_of(text: str, tokenizer: str = "") -> OnHub:
    """The folder with all that importing reads; `tokenizer` as import takes it: named, its own is not fetched."""
    found = _repository(text)
    folder = _fetched(found, (CONFIG,))
    described = describe(folder)
    described.refuse_what_is_left_out()
    if not tokenizer:
        own = next((names for names in TOKENIZERS if all(name in found.files for name in names)), None)
        if own is None:
            raise WeightlessError(f"{found.name} holds no tokenizer: --tokenizer FILE names one, or none")
        _fetched(found, own)
    if tokenizer != NO_TEXT:
        tokenizer_text(folder, tokenizer, described.config.vocab_size)
    if WHOLE in found.files:
        _fetched(found, (WHOLE,))
    elif INDEX in found.files:
        _fetched(found, shards_of(_fetched(found, (INDEX,)) / INDEX))
    else:
        raise WeightlessError(
            f"{found.name} holds neither {WHOLE} nor {INDEX} (it has {len(found.files)} other files): pickled weights "
            "are never fetched; take another revision or repository of the model that has safetensors"
        )
    return OnHub(folder, found.name.repo, found.commit)


def _repository(text: str) -> hub.HubRepository:
    try:
        name = hub.parse(text)
    except ConfigError:
        told = "is no name of a model: write hub:OWNER/NAME or hub:OWNER/NAME@REVISION"
        raise ConfigError(f"{text!r:.100} {told}") from None
    if name.config or name.split:
        raise ConfigError(f"{text!r:.100}: a model has no configurations and splits: write hub:OWNER/NAME@REVISION")
    download = f"hf download {name.repo} --local-dir DIR"
    return hub.repository(
        name, "model", f"without a network, fetch its files where there is one ({download}) and name DIR instead"
    )


def _fetched(found: hub.HubRepository, names: Iterable[str]) -> Path:
    """Fetch these files; the folder that they lie in."""
    folder = Path()
    for name in names:
        if name not in found.files:
            raise WeightlessError(f"{found.name} holds no {name}: it is no model's repository, or an unfinished one")
        size, _ = found.files[name]
        if size >= TOLD_FROM:
            print(f"fetching {name}, {human_bytes(size)}", file=sys.stderr, flush=True)
        folder = found.fetch(name).parent
    return folder
