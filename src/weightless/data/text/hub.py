"""Files of a data set on the Hugging Face hub, by name, at one commit, fetched when they are needed.

    hub:OWNER/NAME[:config][@revision][#split]

    parse(text) -> HubName                  repository(name) -> HubRepository, pinned to the commit of the revision
    .splits(config) -> {"train": [...]}     parquet files: from the card's configurations, else from the file names
    .fetch(path) -> Path                    in the cache of huggingface_hub, checked against the hub's SHA-256

A file goes to the cache as a whole, so that reading it again (after a kill, by another run) costs no network; what a
cut connection left is continued from the byte it broke off.  Trouble that passes (a lost connection, 429, 5xx) is
tried again with growing pauses; 401, 403 and 404 are not.  Whoever is not there at the first question is asked once
more and no longer than FIRST_ANSWER seconds each time: a machine without a network should hear so at once.

Environment: HF_ENDPOINT (another server), HF_TOKEN (private data sets; a token saved on disk is not used),
HF_HOME or HF_HUB_CACHE (where files go).  Needs the extra hub.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.base.files import sha256_file
from weightless.data.text.split_names import by_split

PREFIX = "hub:"
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before another try
FIRST_ANSWER = 6.0  # seconds; looking a name up where there is no network takes longer, and no option shortens it
_NAME = re.compile(
    r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<config>[\w./-]+))?(?:@(?P<revision>[\w./-]+))?"
    r"(?:#(?P<split>[\w.-]+))?"
)
_TRANSPORTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM)
T = TypeVar("T")


@dataclass(frozen=True)
class HubName:
    """A data set and what of it is meant; empty means the default.  `typed` is what a person wrote for it."""

    repo: str
    config: str = ""
    revision: str = ""
    split: str = ""
    typed: str = field(default="", compare=False)

    def __str__(self) -> str:
        parts = ((":", self.config), ("@", self.revision), ("#", self.split))
        name = PREFIX + self.repo + "".join(sign + part for sign, part in parts if part)
        return f"{self.typed} ({name})" if self.typed not in ("", name) else name


def parse(text: str, typed: str = "") -> HubName:
    """The parts of a name; ConfigError when it has another shape."""
    found = _NAME.fullmatch(text)
    if not found:
        raise ConfigError(f"{text!r} is no name of a data set: write hub:OWNER/NAME[:config][@revision][#split]")
    return HubName(**{key: value or "" for key, value in found.groupdict().items()}, typed=typed)


def repository(name: HubName, kind: str = "dataset", without_network: str = "") -> HubRepository:
    """Ask the hub which commit the revision is; WeightlessError when there is no such data set, or no network.

    `without_network` says what to do then, where it is not the usual.
    """
    server = os.environ.get("HF_ENDPOINT", "")
    print(f"asking the Hugging Face hub{f' at {server}' if server else ''} for {name}", file=sys.stderr, flush=True)
    api = client("reading from")
    ask = api.dataset_info if kind == "dataset" else api.model_info
    info: Any = first_answer(
        str(name),
        lambda: ask(name.repo, revision=name.revision or None, timeout=FIRST_ANSWER),
        without_network or _elsewhere(name, kind),
    )
    card = info.card_data.to_dict() if getattr(info, "card_data", None) else {}
    return HubRepository(name, kind, api, info.sha, card.get("configs") or [])


def client(what: str) -> Any:
    """HfApi for the server and the token of the environment; WeightlessError without the extra, for `what` it needs."""
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise WeightlessError(
            f"{what} the Hugging Face hub needs the extra hub: run ./do setup hub (or pip install huggingface_hub)"
        ) from None
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or False)


def first_answer(what: str, action: Callable[[], T], without_network: str) -> T:
    """The first question of a conversation: patient with the hub, not with nobody there."""
    return _with_patience(what, lambda: _within(FIRST_ANSWER, action), without_network)


def in_our_words(what: str, error: Exception) -> WeightlessError | None:
    """An exception of huggingface_hub as one line; None for what is no trouble with the hub."""
    return _told(what, error, "")[0]


@dataclass(frozen=True)
class HubRepository:
    """A data set at one commit."""

    name: HubName
    kind: str
    api: Any
    commit: str
    card: Sequence[Any] = ()

    @cached_property
    def files(self) -> dict[str, tuple[int, str | None]]:
        """Size and SHA-256 (None for small files, of which the hub has none) by path."""
        tree = _with_patience(
            str(self.name),
            lambda: list(
                self.api.list_repo_tree(self.name.repo, repo_type=self.kind, revision=self.commit, recursive=True)
            ),
        )
        return {item.path: (item.size, item.lfs.sha256 if item.lfs else None) for item in tree if hasattr(item, "size")}

    def splits(self) -> dict[str, list[str]]:
        """Parquet files of the configuration, by split; WeightlessError when there are none."""
        tables = [path for path in self.files if path.endswith(".parquet")]
        if not tables:
            raise WeightlessError(
                f"{self.name} holds no parquet files (it has {len(self.files)} others): perhaps its "
                f"converted form does: {PREFIX}{self.name.repo}@refs/convert/parquet"
            )
        if self.card:
            return self._splits_of_card(tables)
        folder = self.name.config
        inside = [path for path in tables if not folder or path.startswith(folder + "/")]
        if not inside:
            folders = sorted({path.rsplit("/", 1)[0] for path in tables if "/" in path})
            raise WeightlessError(f"{self.name} has no configuration {folder!r}: {nearest(folder, folders)}")
        return by_split(inside)

    def _splits_of_card(self, tables: list[str]) -> dict[str, list[str]]:
        configs = {str(entry.get("config_name", "default")): entry for entry in self.card if isinstance(entry, dict)}
        wanted = self.name.config or next((n for n, e in configs.items() if e.get("default") or n == "default"), "")
        if not wanted and len(configs) == 1:
            wanted = next(iter(configs))
        if wanted not in configs:
            folder = [path for path in tables if wanted and path.startswith(wanted + "/")]
            if folder:
                return by_split(folder)
            hint = nearest(wanted, configs) if wanted else f"it has several: {', '.join(configs)}"
            raise ConfigError(f"{self.name}: name a configuration (hub:{self.name.repo}:NAME); {hint}")
        return _files_of(configs[wanted], tables)

    def fetch(self, path: str) -> Path:
        """The file in the cache; CorruptFileError when it does not have the hub's SHA-256 even when fetched anew."""
        from huggingface_hub import hf_hub_download

        size, sha256 = self.files[path]
        typed = f"{self.name.typed}: " if self.name.typed else ""
        what = f"{typed}{self.name.repo}/{path} at {self.commit[:12]}"

        def download(anew: bool) -> Path:
            return Path(
                hf_hub_download(
                    self.name.repo,
                    path,
                    repo_type=self.kind,
                    revision=self.commit,
                    endpoint=self.api.endpoint,
                    token=self.api.token,
                    cache_dir=cache_folder(),
                    force_download=anew,
                )
            )

        for anew in (False, True):
            found = _with_patience(what, lambda anew=anew: download(anew))
            if found.stat().st_size == size and sha256 in (None, sha256_file(found)):
                return found
        raise CorruptFileError(
            f"{what} does not arrive with the SHA-256 {str(sha256)[:12]}… that the hub promises; "
            "what is imported so far is kept: try again later"
        )


def _files_of(config: dict[str, Any], tables: list[str]) -> dict[str, list[str]]:
    """data_files of a configuration: a pattern, patterns, or [{split, path}] with patterns; relative to data_dir."""
    base = str(config.get("data_dir") or "").strip("/")
    entries = config.get("data_files") or ([f"{base}/**"] if base else ["**"])
    base = base if config.get("data_files") else ""
    named: dict[str, list[str]] = {}
    for entry in [entries] if isinstance(entries, (str, dict)) else entries:
        named_here = entry if isinstance(entry, dict) else {"split": "", "path": entry}
        split, patterns = named_here.get("split", "train"), named_here.get("path", [])
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            matches = [path for path in tables if _matches(f"{base}/{pattern}".lstrip("/"), path)]
            for own, paths in ({split: matches} if split else by_split(matches)).items():
                named.setdefault(own, []).extend(path for path in paths if path not in named[own])
    return {split: sorted(paths) for split, paths in named.items() if paths}


def _matches(pattern: str, path: str) -> bool:
    """Shell patterns in which ** crosses folders and * does not."""
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.fullmatch("".join(signs.get(part) or re.escape(part) for part in parts), path) is not None


def cache_folder() -> str | None:
    """The cache that the environment names now (huggingface_hub looks only when it is imported)."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return cache
    home = os.environ.get("HF_HOME")
    return os.path.join(home, "hub") if home else None


def _elsewhere(name: HubName, kind: str) -> str:
    """What to do when there is no network at all."""
    data = f"hf download {name.repo} --repo-type dataset --local-dir DIR"
    if kind == "dataset":
        return f"without a network, fetch its files where there is one ({data}) and name DIR instead"
    return f"without a network, fetch {name.repo} where there is one and give its file as --tokenizer"


def _within(seconds: float, action: Callable[[], T]) -> T:
    """Its result, or TimeoutError; whoever still waits for an answer then is left behind."""
    found: list[Any] = []

    def work() -> None:
        try:
            found.extend((action(), None))
        except Exception as error:
            found.extend((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if len(found) < 2:
        raise TimeoutError(f"no answer within {seconds:g} seconds")
    if found[1] is not None:
        raise found[1]
    return found[0]


def _with_patience(what: str, action: Callable[[], T], without_network: str = "") -> T:
    """Do it, and again after a pause when the trouble may pass; WeightlessError that says what was wrong.

    With `without_network` (what to do then) this is the first question: nobody there is told after the second try.
    """
    for number, pause in enumerate((*PAUSES, None)):
        try:
            return action()
        except Exception as error:  # the transport of huggingface_hub, and so its exceptions, change with the version
            told, passing = _told(what, error, without_network)
            if told is None:
                raise
            unheard = bool(without_network) and _is_unheard(error) and number >= 1
            if pause is None or not passing or unheard:
                raise told from error
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _is_unheard(error: Exception) -> bool:
    """Whether nobody answered at all."""
    return getattr(getattr(error, "response", None), "status_code", None) is None


def _told(what: str, error: Exception, without_network: str) -> tuple[WeightlessError | None, bool]:
    """(the error in our words, whether it may pass); None for what is no trouble with the hub."""
    from huggingface_hub import errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    refused = WeightlessError(f"{what}: the hub refuses access; accept its terms on the hub and set HF_TOKEN")
    if isinstance(error, errors.GatedRepoError):
        return refused, False
    if isinstance(error, errors.RevisionNotFoundError):
        return WeightlessError(f"{what}: the hub knows no such revision"), False
    if isinstance(error, errors.RepositoryNotFoundError):
        return WeightlessError(f"{what}: the hub knows no such repository (or it is private: set HF_TOKEN)"), False
    if status in (401, 403):
        return refused, False
    if isinstance(error, errors.HFValidationError):
        return ConfigError(f"{what}: {str(error).splitlines()[0]}"), False
    if isinstance(error, errors.OfflineModeIsEnabled):
        return WeightlessError(
            f"{what}: HF_HUB_OFFLINE is set, so the hub is not asked; unset it, or "
            + (without_network or "run it where the file is in the cache")
        ), False
    if isinstance(error, errors.RemoteEntryNotFoundError) or status == 404:
        return WeightlessError(f"{what}: the hub has no such file"), False
    if status is not None:
        return WeightlessError(f"{what}: the hub answers with status {status}"), status in _PASSING
    if isinstance(error, OSError) and error.errno in _DISK:
        return WeightlessError(
            f"{what} cannot be stored: {error.strerror}; make room, or let HF_HOME name a folder elsewhere"
        ), False
    if type(error).__module__.split(".")[0] in _TRANSPORTS or isinstance(error, (OSError, EOFError)):
        reason = (str(error) or type(error).__name__).splitlines()[0]
        kept = "what is finished is kept, and the same command goes on from there"
        told = f"{what}: no connection to the hub ({reason}); "
        return WeightlessError(told + (f"{without_network}; {kept}" if without_network else kept)), True
    return None, False
