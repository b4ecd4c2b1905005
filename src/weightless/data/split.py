"""Which documents train and which validate.

By hash: a document validates when the first 8 bytes of its SHA-256, as a fraction of 2^64, lie below
`fraction`.  So equal documents fall on one side, and adding documents moves none of the others
(only a corpus so small that one side would be empty borrows its nearest document from the other).

Then a validation document is dropped when more than `max_overlap` of its 13-word-grams occur anywhere
in the training documents.  A validation text given by the user is kept whole (max_overlap = 1).
"""

from __future__ import annotations

from collections.abc import Iterable
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
    """Split re-readable `documents` (they are read three times); WeightlessError when they are too few or too alike."""
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"the validation fraction is {fraction}; it must lie between 0 and 1, for example 0.05")
    digest, sizes, ranks = CorpusDigest(), [], []
    for document in documents:
        digest.add(document)
        sizes.append(len(document))
        ranks.append(int.from_bytes(document_key(document)[:8], "big") / 2**64)
    validation = _below(np.array(ranks), fraction, digest.n_bytes)
    record = {"method": "hash", "fraction": fraction, "max_overlap": max_overlap}
    return _without_overlap(documents, validation, sizes, digest, record, show_progress)


def split_given(
    train: Iterable[bytes], validation: Iterable[bytes], max_overlap: float = 1.0, show_progress: bool = False
) -> Split:
    """Documents of `train` train, those of `validation` (numbered after them) validate."""
    digest, sizes, numbers = CorpusDigest(), [], []
    for role, documents in (("train", train), ("val", validation)):
        before = digest.n_documents
        for document in documents:
            if role == "val":
                numbers.append(digest.n_documents)
            digest.add(document)
            sizes.append(len(document))
        if digest.n_documents == before:
            raise WeightlessError(f"the {'training' if role == 'train' else 'validation'} text holds no document")
    record = {"method": "given", "max_overlap": max_overlap}
    both = Chained(train, validation)
    return _without_overlap(both, frozenset(numbers), sizes, digest, record, show_progress)


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


def _without_overlap(
    documents: Iterable[bytes],
    validation: frozenset[int],
    sizes: list[int],
    digest: CorpusDigest,
    record: dict[str, Any],
    show_progress: bool,
) -> Split:
    """Drop validation documents that repeat the training text."""
    shares = _overlap(documents, validation, sum(sizes), show_progress)
    dropped = frozenset(number for number, share in shares.items() if share > record["max_overlap"])
    kept = validation - dropped
    if not kept:
        raise WeightlessError(
            f"all {len(validation)} validation document(s) repeat the training text (more than "
            f"{100 * record['max_overlap']:.0f} % of their 13-word-grams); give a more varied or longer text, or a "
            "larger validation fraction"
        )
    size = np.array(sizes)
    n_bytes = {"val": int(size[sorted(kept)].sum()), "dropped": int(size[sorted(dropped)].sum())}
    counts = {"train": len(sizes) - len(validation), "val": len(kept), "dropped": len(dropped)}
    n_bytes = {"train": digest.n_bytes - n_bytes["val"] - n_bytes["dropped"], **n_bytes}
    found = {
        "dropped_documents": counts["dropped"],
        "dropped_bytes": n_bytes["dropped"],
        "overlapping_documents": sum(share > DEFAULT_OVERLAP for share in shares.values()),
        "largest_kept_overlap": round(max(shares[number] for number in kept), 4),
    }
    return Split(kept, dropped, digest.hexdigest(), counts, n_bytes, {**record, **found})


def byte_progress(label: str, n_bytes: int, show: bool) -> AbstractContextManager[Ticker]:
    """A progress display, or silence."""
    return progress(label, n_bytes, "B") if show else nullcontext(lambda amount=1, note="": None)


def _overlap(
    documents: Iterable[bytes], validation: frozenset[int], n_bytes: int, show_progress: bool
) -> dict[int, float]:
    """Share of each validation document's 13-word-grams that occur in the training documents."""
    grams = {number: word_grams(text) for number, text in enumerate(documents) if number in validation}
    members = GramSet(np.concatenate(list(grams.values())))
    with byte_progress("compare splits", n_bytes, show_progress) as tick:
        for number, document in enumerate(documents):
            if number not in validation:
                members.meet(word_grams(document))
            tick(len(document))
    return {number: members.share_met(own) for number, own in grams.items()}
