"""A packed model on the Hugging Face hub: hf://USER/NAME[@REVISION][/FILE.wl], as a file in the cache.

    is_artifact_on_hub(path) -> bool        costs nothing: neither the network nor huggingface_hub
    name_in_cache(path) -> str              what a file of the cache is called: NAME
    local_path(path) -> Path                the file, fetched once and checked against the hub's SHA-256

Without /FILE the repository must hold exactly one file that ends in .wl or .wlz.  Nothing else is ever fetched: no
pickle, no code.  What comes is still a stranger's file, and `open_packed` checks it as it checks every other one.
Patience, cache, environment and messages: data/text/hub.py.  Errors: ConfigError for a name of another shape,
WeightlessError for what the hub has not, CorruptFileError for a file that arrives with other bytes.

This file stands on floor 6.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.units import human_bytes
from weightless.data.text import hub

PREFIX = "hf://"
ENDINGS = (".wl", ".wlz")
TOLD_FROM = 10**7
"""Bytes from which on fetching a file is announced."""
SHAPE = "write hf://USER/NAME, hf://USER/NAME@REVISION or hf://USER/NAME/FILE.wl"
_ONE_SLASH = "hf:/"
_CACHED = re.compile(r"/models--[^/]+--([^/]+)/snapshots/[0-9a-f]{40}/[^/]+$")
_WORD = r"[\w-][\w.-]*"
_NAME = re.compile(rf"hf://?(?P<repo>{_WORD}/{_WORD})(?:@(?P<revision>(?:refs/\w+/)?{_WORD}))?(?:/(?P<file>.+))?")


def is_artifact_on_hub(path: str | os.PathLike[str]) -> bool:
    """Whether a name means the hub; a Path of it has lost one of its slashes and counts too."""
    return os.fspath(path).startswith(_ONE_SLASH)


def parsed(path: str | os.PathLike[str]) -> tuple[hub.HubName, str]:
    """(the repository at a revision, the file or nothing); ConfigError when the name has another shape."""
    text = os.fspath(path)
    found = _NAME.fullmatch(text)
    if not found:
        raise ConfigError(f"{text!r:.100} is no name of a model on the hub: {SHAPE}")
    file = found["file"] or ""
    if file and not _is_artifact(file):
        raise ConfigError(f"{text!r:.100}: only packed models (.wl, .wlz) are opened from the hub, never other files")
    if file and any(part in ("", ".", "..") for part in file.split("/")):
        raise ConfigError(f"{text!r:.100} is no name of a model on the hub: {SHAPE}")
    typed = PREFIX + text.partition(":")[2].strip("/")
    return hub.HubName(found["repo"], revision=found["revision"] or "", typed=typed), file


def name_in_cache(path: Path) -> str:
    """NAME of the repository that a file of the cache is of; empty for every other file."""
    found = _CACHED.search(path.as_posix())
    return found[1] if found else ""


def local_path(path: str | os.PathLike[str]) -> Path:
    """The file in the cache of huggingface_hub, at the commit that the revision is now."""
    name, file = parsed(path)
    download = f"hf download {name.repo} --local-dir DIR"
    elsewhere = f"without a network, fetch its files where there is one ({download}) and name the .wl file in DIR"
    found = hub.repository(name, "model", elsewhere)
    chosen = _chosen(found, file)
    size, _ = found.files[chosen]
    if size >= TOLD_FROM:
        print(f"fetching {chosen}, {human_bytes(size)}", file=sys.stderr, flush=True)
    return found.fetch(chosen)


def _is_artifact(path: str) -> bool:
    return path.endswith(ENDINGS)


def _chosen(found: hub.HubRepository, file: str) -> str:
    """The one packed model, or the one that is named."""
    models = sorted(path for path in found.files if _is_artifact(path))
    if file and file not in models:
        raise WeightlessError(f"{found.name} holds no {file}" + (f": {nearest(file, models)}" if models else ""))
    if not models:
        raise WeightlessError(
            f"{found.name} holds no packed model (.wl) among its {len(found.files)} files; a folder of safetensors is "
            f"read by weightless import hub:{found.name.repo}"
        )
    if not file and len(models) > 1:
        raise WeightlessError(
            f"{found.name} holds {len(models)} packed models: name one of them behind a slash, for example "
            f"{PREFIX}{found.name.repo}/{models[0]} ({nearest('', models)})"
        )
    return file or models[0]
