"""Tokenise documents into a prepared corpus: split, encode, write shards, then the manifest.

The work is a function of (documents, tokenizer, settings), so a repetition finds everything done and does nothing,
and a run killed at any point continues: NAME.progress.json lists the finished shards, each with its hash and with
the place (document, tokens of it already written) where the next shard begins; those that check out are kept.
The manifest is written last: a folder with a manifest is a finished corpus.

Documents are read several times (numbered, compared, tokenised once per split), so they must be re-readable:
a Source or a list; a plain iterator is read into memory first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import read_json, sha256_file, write_json
from weightless.base.progress import Ticker
from weightless.data.corpus import (
    FORMAT,
    FORMAT_VERSION,
    MANIFEST,
    SPLITS,
    TOKENIZER,
    Corpus,
    TextEncoder,
    check_shard,
    checked_manifest,
    corpus,
)
from weightless.data.documents import CorpusDigest
from weightless.data.shards import LARGEST_VOCABULARY, shard_writer
from weightless.data.split import (
    DEFAULT_FRACTION,
    DEFAULT_OVERLAP,
    Chained,
    Split,
    byte_progress,
    split_by_hash,
    split_given,
)

SHARD_TOKENS = 100_000_000


def prepare(
    documents: Iterable[bytes],
    tokenizer: TextEncoder,
    out_dir: str | Path,
    name: str | None = None,
    *,
    validation: Iterable[bytes] | None = None,
    fraction: float = DEFAULT_FRACTION,
    max_overlap: float | None = None,
    shard_tokens: int = SHARD_TOKENS,
    overwrite: bool = False,
    show_progress: bool = True,
) -> Corpus:
    """Prepare `documents` in `out_dir`; with `validation`, those documents validate and no split is drawn.

    `max_overlap` (default 0.2; 1.0 with `validation`) is the share of 13-word-grams met in training above which a
    validation document is dropped.  A folder that holds another corpus is refused unless `overwrite`.
    """
    folder = Path(out_dir)
    name = _checked_name(name or getattr(documents, "name", "corpus"))
    _check_tokenizer(tokenizer)
    if shard_tokens < 1:
        raise ConfigError(f"shard_tokens is {shard_tokens}; a shard holds at least one token")
    description = getattr(documents, "description", {"kind": "documents"})
    documents = _re_readable(documents)
    validation = None if validation is None else _re_readable(validation)
    rule: dict[str, Any] = {"method": "hash", "fraction": fraction, "max_overlap": DEFAULT_OVERLAP}
    if validation is not None:
        rule = {"method": "given", "max_overlap": 1.0}
    if max_overlap is not None:
        rule["max_overlap"] = max_overlap
    everything = documents if validation is None else Chained(documents, validation)
    head = _manifest_head(name, description, tokenizer, rule, shard_tokens)
    if done := _already_there(folder, head, everything, overwrite):
        return done
    if validation is None:
        split = split_by_hash(documents, fraction, rule["max_overlap"], show_progress)
    else:
        split = split_given(documents, validation, rule["max_overlap"], show_progress)
    head = {**head, "corpus_sha256": split.corpus_sha256, "split": split.record}
    return _write(folder, head, everything, tokenizer, split, show_progress)


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ConfigError(f"{name!r} is no name for files; use letters, digits, - and _")
    return name


def _check_tokenizer(tokenizer: TextEncoder) -> None:
    if tokenizer.vocab_size > LARGEST_VOCABULARY:
        raise ConfigError(
            f"the tokenizer has {tokenizer.vocab_size} tokens; shards hold 16-bit ids, so 65536 is the most"
        )
    if tokenizer.end_of_text is None:
        raise ConfigError("the tokenizer has no <|endoftext|>; train it with that special token")


def _re_readable(documents: Iterable[bytes]) -> Iterable[bytes]:
    return list(documents) if iter(documents) is documents else documents


def _manifest_head(
    name: str, description: dict[str, Any], tokenizer: TextEncoder, rule: dict[str, Any], shard_tokens: int
) -> dict[str, Any]:
    """What identifies the work, but for the content of the documents."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "name": name,
        "source": description,
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "shard_tokens": shard_tokens,
        "split": rule,
    }


def _already_there(folder: Path, head: dict[str, Any], documents: Iterable[bytes], overwrite: bool) -> Corpus | None:
    """The corpus in `folder` when it is this one, whole; None when there is none or it needs repair; or an error."""
    if not (folder / MANIFEST).exists():
        return None
    try:
        is_same = _is_same(checked_manifest(folder / MANIFEST), head, documents)
    except CorruptFileError as error:
        if overwrite:
            return None
        raise WeightlessError(f"{error}; choose another folder or overwrite it") from None
    if not is_same and not overwrite:
        raise WeightlessError(
            f"{folder} already holds a corpus made from other text, tokenizer or settings; "
            "choose another folder or overwrite it"
        )
    with suppress(WeightlessError):
        if is_same and (folder / TOKENIZER).exists():
            return corpus(folder, check_hashes=True)
    return None


def _is_same(manifest: dict[str, Any], head: dict[str, Any], documents: Iterable[bytes]) -> bool:
    """Whether a manifest is of this work: settings first, then (one reading) the text."""
    rule = manifest.get("split")
    if not isinstance(rule, dict) or {key: rule.get(key) for key in head["split"]} != head["split"]:
        return False
    if any(manifest.get(key) != value for key, value in head.items() if key != "split"):
        return False
    digest = CorpusDigest()
    for document in documents:
        digest.add(document)
    return digest.hexdigest() == manifest["corpus_sha256"]


def _write(
    folder: Path,
    head: dict[str, Any],
    documents: Iterable[bytes],
    tokenizer: TextEncoder,
    split: Split,
    show_progress: bool,
) -> Corpus:
    name = head["name"]
    _clear(folder, name)
    journal = _Journal(folder / f"{name}.progress.json", head)
    total = split.bytes["train"] + split.bytes["val"]
    with byte_progress("tokenise", total, show_progress) as tick:
        for role in SPLITS:
            chosen = (text for number, text in enumerate(documents) if split.role(number) == role)
            _write_split(folder, role, journal, TokenStream(chosen, tokenizer, tick), tokenizer.vocab_size)
    splits = {role: _split_entry(role, split, journal.shards[role]) for role in SPLITS}
    tokenizer.save(folder / TOKENIZER)
    write_json(folder / MANIFEST, {**head, "splits": splits})
    journal.path.unlink(missing_ok=True)
    return corpus(folder)


def _clear(folder: Path, name: str) -> None:
    """Remove a corpus that is being replaced (manifest first, so that half of it never looks whole) and torn files."""
    old: list[Path] = []
    if (folder / MANIFEST).exists():
        with suppress(WeightlessError):
            there = Corpus(folder, checked_manifest(folder / MANIFEST))
            old = [path for role in SPLITS for path in there.shard_paths(role)]
        (folder / MANIFEST).unlink()
    for stem in (f"{name}_*.bin", f"{name}.progress.json", MANIFEST, TOKENIZER):
        old += folder.glob(f".{stem}.*.part")
    for leftover in old:
        leftover.unlink(missing_ok=True)


def _split_entry(role: str, split: Split, shards: list[dict[str, Any]]) -> dict[str, Any]:
    plain = [{key: shard[key] for key in ("file", "tokens", "sha256")} for shard in shards]
    n_tokens = sum(shard["tokens"] for shard in plain)
    return {"documents": split.documents[role], "bytes": split.bytes[role], "tokens": n_tokens, "shards": plain}


def _write_split(folder: Path, role: str, journal: _Journal, stream: TokenStream, vocab_size: int) -> None:
    """Write the shards of one split that the journal does not list yet."""
    kept = journal.shards[role]
    if kept:
        stream.skip_to(kept[-1]["next_document"], kept[-1]["next_token"])
    shard_tokens = journal.head["shard_tokens"]
    while stream.fill():
        file = f"{journal.head['name']}_{role}_{len(kept):06d}.bin"
        with shard_writer(folder / file, vocab_size) as writer:
            while writer.n_tokens < shard_tokens and stream.fill():
                writer.append(stream.take(shard_tokens - writer.n_tokens))
        record = {"file": file, "tokens": writer.n_tokens, "sha256": sha256_file(folder / file)}
        journal.add(role, {**record, "next_document": stream.number, "next_token": stream.offset})


class TokenStream:
    """The tokens of a sequence of documents, <|endoftext|> before each, with a place that can be returned to."""

    def __init__(self, documents: Iterator[bytes], tokenizer: TextEncoder, tick: Ticker) -> None:
        self._documents, self._tokenizer, self._tick = documents, tokenizer, tick
        self._ids = np.zeros(0, np.uint16)
        self.number, self.offset = -1, 0  # the document whose tokens stand ready, and how many of them are taken

    def fill(self) -> bool:
        """Have at least one token ready; False at the end."""
        while self.offset >= len(self._ids):
            document = next(self._documents, None)
            if document is None:
                return False
            body = self._tokenizer.encode_ordinary_array(document)
            self._ids = np.concatenate((np.array([self._tokenizer.end_of_text], body.dtype), body))
            self.number, self.offset = self.number + 1, 0
            self._tick(len(document))
        return True

    def take(self, most: int) -> np.ndarray:
        """Up to `most` of the tokens that stand ready."""
        taken = self._ids[self.offset : self.offset + most]
        self.offset += len(taken)
        return taken

    def skip_to(self, number: int, offset: int) -> None:
        """Go to token `offset` of document `number` without encoding the documents before it."""
        while self.number < number - 1:
            self._tick(len(next(self._documents, b"")))
            self.number += 1
        self.fill()
        self.offset = offset


@dataclass
class _Journal:
    """Finished shards of a preparation under way; those whose file no longer matches are forgotten."""

    path: Path
    head: dict[str, Any]

    def __post_init__(self) -> None:
        self.shards: dict[str, list[dict[str, Any]]] = {role: [] for role in SPLITS}
        if not self.path.exists():
            return
        try:
            found = read_json(self.path)
            if found["head"] == self.head:
                self.shards = {role: self._intact(found["shards"][role]) for role in SPLITS}
        except (CorruptFileError, KeyError, TypeError):
            self.shards = {role: [] for role in SPLITS}

    def add(self, role: str, shard: dict[str, Any]) -> None:
        self.shards[role].append(shard)
        write_json(self.path, {"head": self.head, "shards": self.shards})

    def _intact(self, shards: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = []
        for shard in shards:
            try:
                check_shard(self.path.parent, shard, check_hash=True)
            except WeightlessError:
                break
            kept.append(shard)
        return kept
