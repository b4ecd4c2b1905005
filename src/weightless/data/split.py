"""Which documents train and which validate.

By hash: a document validates when the first 8 bytes of its SHA-256, as a fraction of 2^64, lie below
`fraction`.  So equal documents fall on one side, and adding documents moves none of the others
(only a corpus so small that one side would be empty borrows its nearest document from the other).

Then a validation document is dropped when more than `max_overlap` of its 13-word-grams occur anywhere
in the training documents.  A validation text given by the user is kept whole (max_overlap = 1).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.progress import Ticker, progress
from weightless.data.documents import CorpusDigest, document_key
from weightless.data.grams import GramSet, word_grams

DEFAULT_FRACTION = 0.05
DEFAULT_OVERLAP = 0.20
KEY_BYTES, KEYS = 8, 2**64


@dataclass(frozen=True)
class Split:
    """Roles of the documents of one corpus, by their number in source order."""

    validation: frozenset[int]
    dropped: frozenset[int]
    corpus_sha256: str
    documents: dict[str, int]
    bytes: dict[str, int]
    record: dict[str, Any]

    def role(self, number: int) -> str:
        """'train', 'val' or 'dropped'."""
        if number in self.dropped:
            return "dropped"
        return "val" if number in self.validation else "train"


def split_by_hash(
    documents: Iterable[bytes],
    fraction: float = DEFAULT_FRACTION,
    max_overlap: float = DEFAULT_OVERLAP,
    show_progress: bool = False,
) -> Split:
    """Split re-readable `documents` (they are read twice); WeightlessError when they are too few or too alike."""
    draft = draft_by_hash(documents, fraction)
    draft.compare(documents, show_progress)
    return draft.finished(max_overlap)


def split_given(
    train: Iterable[bytes], validation: Iterable[bytes], max_overlap: float = 1.0, show_progress: bool = False
) -> Split:
    """Documents of `train` train, those of `validation` (numbered after them) validate."""
    draft = draft_given(train, validation)
    draft.compare(train, show_progress)
    return draft.finished(max_overlap)


def draft_by_hash(documents: Iterable[bytes], fraction: float = DEFAULT_FRACTION) -> Draft:
    """Number the documents (one reading) and draw the validation documents."""
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"the validation fraction is {fraction}; it must lie between 0 and 1, for example 0.05")
    draft = Draft({"method": "hash", "fraction": fraction})
    for document in documents:
        key = document_key(document)[:KEY_BYTES]
        draft.add(document, key, int.from_bytes(key, "big") / KEYS < fraction)
    chosen = _below(np.frombuffer(draft.keys, ">u8") / KEYS, fraction, draft.digest.n_bytes)
    if chosen != frozenset(draft.grams):  # a side was empty, and borrows: its documents have to be looked up
        draft.grams = {number: word_grams(text) for number, text in enumerate(documents) if number in chosen}
    return draft


def draft_given(train: Iterable[bytes], validation: Iterable[bytes]) -> Draft:
    """Number the documents of two texts (one reading)."""
    draft = Draft({"method": "given"})
    for role, documents in (("training", train), ("validation", validation)):
        before = len(draft.sizes)
        for document in documents:
            draft.add(document, document_key(document)[:KEY_BYTES], role == "validation")
        if len(draft.sizes) == before:
            raise WeightlessError(f"the {role} text holds no document")
    return draft


class Draft:
    """A split under way: the documents are numbered, and the training ones are still to be compared.

    `training(documents)` hands the training documents through while it compares them, so that whoever wants to read
    them anyway (to train a tokenizer) does it in the same reading; `finished` then drops what repeats.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record, self.digest = record, CorpusDigest()
        self.sizes = array("q")
        self.keys = bytearray()  # the first 8 bytes of every document's SHA-256
        self.grams: dict[int, np.ndarray] = {}  # 13-word-grams of the validation documents
        self._members: GramSet | None = None

    def add(self, document: bytes, key: bytes, validates: bool) -> None:
        """Number one more document."""
        if validates:
            self.grams[len(self.sizes)] = word_grams(document)
        self.digest.add(document)
        self.sizes.append(len(document))
        self.keys += key

    def compare(self, documents: Iterable[bytes], show_progress: bool = False) -> None:
        """Read the documents for no other purpose than comparing."""
        with byte_progress("compare splits", self.digest.n_bytes, show_progress) as tick:
            for document in self.training(documents):
                tick(len(document))

    def training(self, documents: Iterable[bytes]) -> Iterator[bytes]:
        """The training documents, each compared as it passes; the comparison counts when the end is reached."""
        members = GramSet(np.concatenate(list(self.grams.values())))
        for number, document in enumerate(documents):
            if number not in self.grams:
                members.meet(word_grams(document))
                yield document
        self._members = members

    def finished(self, max_overlap: float) -> Split:
        """Drop validation documents of which more than `max_overlap` was met; WeightlessError when none is left."""
        if self._members is None:
            raise RuntimeError("the training documents were not read to their end")
        shares = {number: self._members.share_met(own) for number, own in self.grams.items()}
        dropped = frozenset(number for number, share in shares.items() if share > max_overlap)
        kept = frozenset(self.grams) - dropped
        if not kept:
            raise WeightlessError(
                f"all {len(shares)} validation document(s) repeat the training text (more than "
                f"{100 * max_overlap:.0f} % of their 13-word-grams); give a more varied or longer text, or a "
                "larger validation fraction"
            )
        counts = {"train": len(self.sizes) - len(shares), "val": len(kept), "dropped": len(dropped)}
        n_bytes = {"val": sum(self.sizes[i] for i in kept), "dropped": sum(self.sizes[i] for i in dropped)}
        n_bytes = {"train": self.digest.n_bytes - sum(n_bytes.values()), **n_bytes}
        found = {
            "dropped_documents": counts["dropped"],
            "dropped_bytes": n_bytes["dropped"],
            "overlapping_documents": sum(share > DEFAULT_OVERLAP for share in shares.values()),
            "largest_kept_overlap": round(max(shares[number] for number in kept), 4),
        }
        record = {**self.record, "max_overlap": max_overlap, **found}
        return Split(kept, dropped, self.digest.hexdigest(), counts, n_bytes, record)


class Chained:
    """Two re-readable streams of documents as one."""

    def __init__(self, first: Iterable[bytes], second: Iterable[bytes]) -> None:
        self.first, self.second = first, second

    def __iter__(self):  # type: ignore[no-untyped-def]
        return chain(self.first, self.second)


def _below(ranks: np.ndarray, fraction: float, n_bytes: int) -> frozenset[int]:
    """Numbers of the documents below the threshold, neither none nor all of the distinct ones."""
    if len(np.unique(ranks)) < 2:
        raise WeightlessError(
            f"the text is too short to split: {len(ranks)} document(s), {n_bytes} bytes, and at least two different "
            "documents are needed; give a longer text, mark documents with lines <|endoftext|>, or name a "
            "validation text"
        )
    chosen = ranks < fraction
    if not chosen.any():
        chosen = ranks == ranks.min()
    elif chosen.all():
        chosen = ranks != ranks.max()
    return frozenset(np.flatnonzero(chosen).tolist())


def byte_progress(label: str, n_bytes: int, show: bool) -> AbstractContextManager[Ticker]:
    """A progress display, or silence."""
    return progress(label, n_bytes, "B") if show else nullcontext(lambda amount=1, note="": None)
