"""Files go to one repository of models on the Hugging Face hub, in one commit, and what arrived is compared.

    there = look(repository)        what it holds now; `there.commit` is empty when there is no such repository
    upload(there, files, …)         makes the repository when there is none, then one commit on top of `there.commit`

A commit only adds and replaces the files that it names.  It is refused by the hub when somebody else committed since
`look`, so nothing unseen is replaced.  Afterwards the hub is asked for the hash of every file: SHA-256 of those in
large file storage, git's blob hash of the others.  Needs the extra hub and HF_TOKEN; HF_ENDPOINT names another server.

Errors: WeightlessError (no network, no token, no permission, changed meanwhile), CorruptFileError (other bytes there).
This file stands on floor 6.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import sha256_file
from weightless.data.text import hub

T = TypeVar("T")
AGAIN = "nothing was committed; the same command tries again"
NO_NETWORK = "without a network, --dry_run DIR writes the card and uploads nothing"


@dataclass(frozen=True)
class There:
    """A repository as it is now: its paths, and whether others can see it."""

    repository: str
    api: Any
    commit: str = ""
    private: bool = False
    paths: frozenset[str] = field(default_factory=frozenset)

    def text(self, path: str) -> str:
        """A small text file of it."""
        from huggingface_hub import hf_hub_download

        place = _in_words(
            f"{self.repository}/{path}",
            lambda: hf_hub_download(
                self.repository,
                path,
                revision=self.commit,
                endpoint=self.api.endpoint,
                token=self.api.token,
                cache_dir=hub.cache_folder(),
            ),
        )
        return Path(place).read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class Uploaded:
    """Where the files are now."""

    url: str
    commit: str


def require_token() -> None:
    """WeightlessError when there is none: told before anything is asked."""
    if not os.environ.get("HF_TOKEN"):
        raise WeightlessError(
            "pushing needs a token of the hub that may write: make one in its settings (access tokens) and set HF_TOKEN"
        )


def look(repository: str) -> There:
    """What the repository holds; an empty one when the hub does not know it (or hides it from this token)."""
    api = hub.client("pushing to")
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    def ask() -> Any:
        try:
            return api.model_info(repository, timeout=hub.FIRST_ANSWER)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None
        except HfHubHTTPError as error:
            if error.response.status_code in (401, 403):
                raise _told(repository, error) or error from error
            raise

    info = _in_words(repository, lambda: hub.first_answer(repository, ask, NO_NETWORK))
    if info is None:
        return There(repository, api)
    paths = frozenset(sibling.rfilename for sibling in info.siblings or ())
    return There(repository, api, info.sha, bool(info.private), paths)


def upload(there: There, files: Mapping[str, Path | bytes], message: str, private: bool) -> Uploaded:
    """One commit with these files by their path in the repository, compared with the hub's hashes afterwards."""
    from huggingface_hub import CommitOperationAdd

    api, repository = there.api, there.repository
    parent = there.commit
    if not parent:
        _in_words(repository, lambda: api.create_repo(repository, private=private, repo_type="model"))
        parent = _in_words(repository, lambda: api.model_info(repository).sha)
    adding = [CommitOperationAdd(path, os.fspath(f) if isinstance(f, Path) else f) for path, f in files.items()]
    made = _in_words(
        repository,
        lambda: api.create_commit(repository, adding, commit_message=message, repo_type="model", parent_commit=parent),
    )
    _compare(there, files, made.oid)
    return Uploaded(f"{api.endpoint}/{repository}", made.oid)


def _compare(there: There, files: Mapping[str, Path | bytes], commit: str) -> None:
    """CorruptFileError unless every file lies on the hub with our bytes."""
    found = _in_words(
        there.repository, lambda: there.api.get_paths_info(there.repository, list(files), revision=commit)
    )
    theirs = {item.path: item for item in found}
    for path, file in files.items():
        item = theirs.get(path)
        if item is None:
            raise CorruptFileError(f"{there.repository} has no {path} in commit {commit[:12]}: push again")
        is_large = item.lfs is not None
        ours, hubs = _hash(file, is_large), item.lfs.sha256 if is_large else item.blob_id
        if ours != hubs:
            raise CorruptFileError(
                f"{there.repository} holds {path} with the hash {str(hubs)[:12]}… in commit {commit[:12]}, ours is "
                f"{ours[:12]}…: do not use what lies there, push again"
            )


def _hash(file: Path | bytes, is_large: bool) -> str:
    """SHA-256 for large file storage, else git's: SHA-1 of "blob SIZE", a zero byte and the content."""
    if is_large:
        return sha256_file(file) if isinstance(file, Path) else hashlib.sha256(file).hexdigest()
    content = file.read_bytes() if isinstance(file, Path) else file
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _in_words(repository: str, action: Callable[[], T]) -> T:
    """Its result, or what went wrong in one line."""
    try:
        return action()
    except WeightlessError:
        raise
    except Exception as error:  # the transport of huggingface_hub, and so its exceptions, change with the version
        told = _told(repository, error)
        if told is None:
            raise
        raise told from error


def _told(repository: str, error: BaseException) -> WeightlessError | None:
    """The first of an error and its causes that we have words for."""
    cause: BaseException | None = error
    while cause is not None:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status == 401:
            told = "the hub does not accept HF_TOKEN: make a token that may write, and set it"
        elif status == 403:
            told = "this token may not write there: it wants the right to write, and USER must be you or yours"
        elif status == 404:
            told = "the hub has no such place for this token: is USER right, and may HF_TOKEN write there?"
        elif status in (409, 412):
            told = "somebody changed the repository meanwhile"
        elif status == 413:
            told = "the hub finds a file too large"
        else:
            told = ""
        if told:
            return WeightlessError(f"{repository}: {told} (status {status}); {AGAIN}")
        if isinstance(cause, Exception) and (words := hub.in_our_words(repository, cause)) is not None:
            return WeightlessError(f"{words} ({AGAIN})" if status is not None else str(words))
        cause = cause.__cause__
    if isinstance(error, (ValueError, RuntimeError)):  # of its answers, of the card, of Xet
        return WeightlessError(f"{repository}: the hub refuses: {' '.join(str(error).split())}; {AGAIN}")
    return None
