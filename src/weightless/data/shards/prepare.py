"""Tokenise documents into a prepared corpus: split, encode, write shards, then the manifest.

The work is a function of (documents, tokenizer, settings), so a repetition finds everything done and does nothing,
and a run killed at any point goes on: NAME.progress.json is the journal of finished shards (shard_series.py).
The manifest is written last: a folder with a manifest is a finished corpus.

Documents are read three times (numbered, compared, tokenised), so they must be re-readable: a Source or a list; a
plain iterator is read into memory first.  Whoever has split them already hands the `split` over, and they are read
once.  A text that changes between the readings is an error, and no manifest is written.

parts.py does the same work in n parts that know nothing of one another.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import write_json
from weightless.base.folder_lock import folder_lock
from weightless.data.shards.corpus import (
    BYTES_OF_DECODED,
    BYTES_OF_SOURCE,
    MANIFEST,
    Corpus,
    TextEncoder,
    corpus,
    save_tokenizer,
    tokenizer_file,
)
from weightless.data.shards.manifest import FORMAT, FORMAT_VERSION, SPLITS, checked_manifest
from weightless.data.shards.shard_series import Journal, Labelled, worker_count, write_shards
from weightless.data.shards.shards import LARGEST_VOCABULARY, MOST_TOKENS
from weightless.data.text.content import Content, content_of, is_same_text
from weightless.data.text.documents import CorpusDigest
from weightless.data.text.left_out import together
from weightless.data.text.source import Source
from weightless.data.text.split import (
    DEFAULT_FRACTION,
    Chained,
    Draft,
    Split,
    byte_progress,
    drafted,
    split_rule,
)
from weightless.tokenizer.kept_text import KeptText

SHARD_TOKENS = 100_000_000
PROGRESS, PLANS = "{name}.progress.json", "*.plan.json"


@dataclass(frozen=True)
class Work:
    """What is to be prepared, and where; `head` is the manifest without what only the text can tell."""

    documents: Iterable[bytes]
    validation: Iterable[bytes] | None
    tokenizer: TextEncoder
    folder: Path
    head: dict[str, Any]

    @property
    def name(self) -> str:
        return self.head["name"]

    @property
    def everything(self) -> Iterable[bytes]:
        """All documents in the order in which they are numbered."""
        return self.documents if self.validation is None else Chained(self.documents, self.validation)

    def draft(self) -> Draft:
        """Number the documents (one reading)."""
        return drafted(self.head["split"], self.documents, self.validation)

    def drawn(self, show_progress: bool) -> Split:
        """Number and compare the documents (two readings)."""
        draft = self.draft()
        draft.compare(self.documents, show_progress)
        return draft.finished(self.head["split"]["max_overlap"])

    def with_split(self, split: Split) -> Work:
        return replace(self, head={**self.head, "corpus_sha256": split.corpus_sha256, "split": split.record})

    def content(self) -> Content:
        """What tells the texts from others; every byte of their files is read."""
        return [content_of(text) for text in self.texts]

    @property
    def texts(self) -> list[Iterable[bytes]]:
        return [self.documents] if self.validation is None else [self.documents, self.validation]

    def noticed(self) -> dict[str, dict[str, int]]:
        """What the last reading has left out, and noticed."""
        found = [text.left_out for text in self.texts if isinstance(text, Source)]
        return {
            "left_out": together(each.counts for each in found),
            "noticed": together(each.noticed for each in found),
        }


def described(
    documents: Iterable[bytes],
    tokenizer: TextEncoder,
    out_dir: str | Path,
    name: str | None = None,
    *,
    validation: Iterable[bytes] | None = None,
    fraction: float = DEFAULT_FRACTION,
    first: int = 0,
    last: int = 0,
    max_overlap: float | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Work:
    """Check the settings; ConfigError for a name, tokenizer or shard size that cannot be."""
    name = _checked_name(name or getattr(documents, "name", "corpus"))
    _check_tokenizer(tokenizer)
    if not 1 <= shard_tokens <= MOST_TOKENS:
        raise ConfigError(f"shard_tokens is {shard_tokens}; a shard holds 1 to {MOST_TOKENS:,} tokens")
    description = getattr(documents, "description", {"kind": "documents"})
    rule = split_rule(validation is not None, fraction, first, last, max_overlap)
    head = _manifest_head(name, description, tokenizer, rule, shard_tokens)
    held_out = None if validation is None else _re_readable(validation)
    return Work(_re_readable(documents), held_out, tokenizer, Path(out_dir), head)


def prepare(
    documents: Iterable[bytes],
    tokenizer: TextEncoder,
    out_dir: str | Path,
    name: str | None = None,
    *,
    validation: Iterable[bytes] | None = None,
    fraction: float = DEFAULT_FRACTION,
    first: int = 0,
    last: int = 0,
    max_overlap: float | None = None,
    shard_tokens: int = SHARD_TOKENS,
    split: Split | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    show_progress: bool = True,
) -> Corpus:
    """Prepare `documents` in `out_dir`; with `validation`, those documents validate and no split is drawn.

    `first` or `last` many documents validate, or a `fraction` drawn by hash (0: none).
    `max_overlap` (default 0.2 where drawn by hash, else 1.0) is the share of 13-word-grams met in training above which
    a validation document is dropped.  `split` is the result of splitting these documents by these rules, when it is
    known.  `workers` threads encode (all cores for None); the bytes written do not depend on how many.
    A folder that holds another corpus is refused unless `overwrite`.
    """
    worker_count(workers)
    work = described(
        documents,
        tokenizer,
        out_dir,
        name,
        validation=validation,
        fraction=fraction,
        first=first,
        last=last,
        max_overlap=max_overlap,
        shard_tokens=shard_tokens,
    )
    with folder_lock(work.folder):
        if done := already_there(work, overwrite):
            return done
        if not overwrite and (plans := sorted(work.folder.glob(PLANS))):
            raise WeightlessError(
                f"{work.folder} is being prepared in parts ({plans[0].name}); finish it so, or choose another folder"
            )
        content = work.content()
        split = split or work.drawn(show_progress)
        return _write(work.with_split(split), split, content, workers, show_progress)


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


def already_there(work: Work, overwrite: bool) -> Corpus | None:
    """The corpus in the folder when it is this one, whole; None when there is none or it needs repair; or an error."""
    folder = work.folder
    if not (folder / MANIFEST).exists():
        return None
    try:
        differs = _difference(checked_manifest(folder / MANIFEST), work)
    except CorruptFileError as error:
        if overwrite:
            return None
        raise WeightlessError(f"{error}; choose another folder, or delete it") from None
    if differs and not overwrite:
        raise WeightlessError(
            f"{folder} already holds a corpus made from {differs}: choose another folder, or delete it"
        )
    with suppress(WeightlessError):
        if not differs and tokenizer_file(folder).exists():
            return corpus(folder, check_hashes=True)
    return None


_SAID = {
    "name": "a text of another name",
    "source": "another source of text",
    "shard_tokens": "shards of other sizes",
    "tokenizer_sha256": "another tokenizer",
}


def _difference(manifest: dict[str, Any], work: Work) -> str:
    """In what a manifest differs from this work, or nothing: settings first, then the text."""
    rule, wanted = manifest.get("split"), work.head["split"]
    if not isinstance(rule, dict) or {key: rule.get(key) for key in wanted} != wanted:
        return "another split into training and validation"
    for key, value in work.head.items():
        if key != "split" and manifest.get(key) != value:
            return _SAID.get(key, "other settings")
    return "" if is_same_text(manifest, work.content(), work.everything) else "other text (it has changed since)"


def _write(work: Work, split: Split, content: Content, workers: int | None, show_progress: bool) -> Corpus:
    folder, name = work.folder, work.name
    clear(folder, name)
    journal = Journal(folder / PROGRESS.format(name=name), work.head)
    digest = CorpusDigest()
    with byte_progress("tokenise", split.bytes["train"] + split.bytes["val"], show_progress) as tick:

        def labelled() -> Iterator[Labelled]:
            for number, text in enumerate(work.everything):
                digest.add(text)
                role = split.role(number)
                if role in SPLITS:
                    tick(len(text))
                    yield role, text

        stems = {role: f"{name}_{role}" for role in SPLITS}
        write_shards(folder, stems, journal, labelled(), work.tokenizer, workers, work.head["shard_tokens"])
    if digest.hexdigest() != split.corpus_sha256 or work.content() != content:
        journal.forget()
        raise WeightlessError(f"the text of {name} changed while it was prepared; run the same command again")
    save_tokenizer(work.tokenizer, folder)
    whole = {role: journal.kept(role) for role in SPLITS}
    head = {**work.head, "content": content, **work.noticed()}
    finished = write_manifest(folder, head, split, {role: journal.plain_shards(role) for role in SPLITS}, whole)
    journal.path.unlink(missing_ok=True)
    return finished


def write_manifest(
    folder: Path,
    head: dict[str, Any],
    split: Split,
    shards: dict[str, list[dict[str, Any]]],
    whole: dict[str, KeptText],
) -> Corpus:
    """The last step: from here on the folder is a finished corpus.  `whole` says what the tokens keep of each split."""
    splits = {
        role: {
            "documents": split.documents[role],
            "bytes": whole[role].decoded_bytes,
            "source_bytes": split.bytes[role],
            "unknown_tokens": whole[role].n_unknown,
            "bits_per_byte_refused": whole[role].refused,
            "tokens": sum(shard["tokens"] for shard in shards[role]),
            "shards": shards[role],
        }
        for role in SPLITS
    }
    are = BYTES_OF_SOURCE if all(part.is_source for part in whole.values()) else BYTES_OF_DECODED
    write_json(folder / MANIFEST, {**head, "bytes_are": are, "splits": splits})
    return corpus(folder)


def clear(folder: Path, name: str) -> None:
    """Remove a corpus that is being replaced (manifest first, so that half of it never looks whole) and torn files."""
    old: list[Path] = []
    if (folder / MANIFEST).exists():
        with suppress(WeightlessError):
            there = Corpus(folder, checked_manifest(folder / MANIFEST))
            old = [path for role in SPLITS for path in there.shard_paths(role)]
        (folder / MANIFEST).unlink()
    stem = glob.escape(name)
    in_parts = [*folder.glob(PLANS), *folder.glob(f"{stem}.part-*-of-*.json"), *folder.glob(f"{stem}_*_p[0-9]*_*.bin")]
    for leftover in [*old, *in_parts, *torn_files(folder, (f"{name}_", f"{name}.", MANIFEST, "tokenizer."))]:
        leftover.unlink(missing_ok=True)


def torn_files(folder: Path, stems: Iterable[str]) -> list[Path]:
    """What killed preparations left half written of files whose names begin so."""
    return [path for stem in stems for path in folder.glob(f".{glob.escape(stem[:40])}*.part")]
