"""Which documents train and which validate.

By hash: a document validates when the first 8 bytes of its SHA-256, as a fraction of 2^64, lie below
`fraction`.  So equal documents fall on one side, and adding documents moves none of the others
(only a corpus so small that one side would be empty borrows its nearest document from the other).

Or the first or the last N documents validate, or those of another text, or none (a fraction of 0).

Then a validation document is dropped when more than `max_overlap` of its 13-word-grams occur anywhere in the training
documents: 0.2 where it was drawn by hash; what the user named is kept whole (1.0), and `split_notes` tells what
overlaps.
Validation documents that all stand in the training text, to the byte, are refused.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.progress import Ticker, progress
from weightless.data.text.documents import CorpusDigest, document_key
from weightless.data.text.grams import GramSet, word_grams

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


def split_rule(
    given: bool = False,
    fraction: float = DEFAULT_FRACTION,
    first: int = 0,
    last: int = 0,
    max_overlap: float | None = None,
) -> dict[str, Any]:
    """What decides a split, as manifests record it; ConfigError for two ways at once, or for values that cannot be."""
    asked = {
        "a validation text": given,
        f"the first {first} documents": first,
        f"the last {last} documents": last,
        f"a fraction of {fraction}": fraction != DEFAULT_FRACTION,
    }
    ways = [way for way, is_asked in asked.items() if is_asked]
    if len(ways) > 1:
        raise ConfigError(f"{' and '.join(ways)} cannot both validate: give one of them")
    if first < 0 or last < 0:
        raise ConfigError(f"{min(first, last)} documents cannot validate; a number of documents is at least 1")
    if not 0.0 <= fraction < 1.0:
        raise ConfigError(f"the validation fraction is {fraction}; it lies between 0 and 1, for example 0.05 (0: none)")
    if max_overlap is not None and not 0.0 <= max_overlap <= 1.0:
        raise ConfigError(f"max_overlap is {max_overlap}; a share lies between 0 and 1, for example 0.2")
    rule: dict[str, Any] = {"method": "hash", "fraction": fraction}
    if given or first or last:
        rule = {"method": "given"} if given else {"method": "first" if first else "last", "documents": first or last}
    elif fraction == 0.0:
        rule = {"method": "none"}
    usual = DEFAULT_OVERLAP if rule["method"] == "hash" else 1.0
    return {**rule, "max_overlap": usual if max_overlap is None else max_overlap}


def drafted(rule: dict[str, Any], documents: Iterable[bytes], validation: Iterable[bytes] | None = None) -> Draft:
    """Number the documents (one reading) by a rule of `split_rule`."""
    if rule["method"] == "given":
        assert validation is not None
        return draft_given(documents, validation)
    if rule["method"] == "hash":
        return draft_by_hash(documents, rule["fraction"])
    return draft_by_place(documents, rule["method"], rule.get("documents", 0))


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


def draft_by_place(documents: Iterable[bytes], method: str, n: int) -> Draft:
    """Number the documents (one reading); the "first" or "last" n validate, or "none" of them."""
    draft = Draft({"method": method, "documents": n} if n else {"method": method})
    held: deque[bytes] = deque(maxlen=n if method == "last" else 0)
    for document in documents:
        is_first = method == "first" and len(draft.sizes) < n
        draft.add(document, document_key(document)[:KEY_BYTES], is_first)
        held.append(document)
    total = len(draft.sizes)
    if n >= total:
        raise WeightlessError(
            f"the text has {total} document(s), and {n} for validation leave none to train on: take "
            "fewer, or give a longer text"
        )
    draft.grams.update({total - len(held) + i: word_grams(document) for i, document in enumerate(held)})
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
        n_bytes = self.digest.n_bytes - sum(self.sizes[number] for number in self.grams)
        with byte_progress("compare splits", n_bytes, show_progress) as tick:
            for document in self.training(documents):
                tick(len(document))

    def training(self, documents: Iterable[bytes]) -> Iterator[bytes]:
        """The training documents, each compared as it passes; the comparison counts when the end is reached."""
        self._equal()  # refuses, before the text is read once more
        members = GramSet(np.concatenate([np.zeros(0, np.uint64), *self.grams.values()]))
        for number, document in enumerate(documents):
            if number not in self.grams:
                if self.grams:
                    members.meet(word_grams(document))
                yield document
        self._members = members

    def finished(self, max_overlap: float) -> Split:
        """Drop validation documents of which more than `max_overlap` was met; WeightlessError when none is left."""
        if self._members is None:
            raise RuntimeError("the training documents were not read to their end")
        n_equal = self._equal()
        shares = {number: self._members.share_met(own) for number, own in self.grams.items()}
        dropped = frozenset(number for number, share in shares.items() if share > max_overlap)
        kept = frozenset(self.grams) - dropped
        if shares and not kept:
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
            "equal_documents": n_equal,
            "largest_kept_overlap": round(max((shares[number] for number in kept), default=0.0), 4),
        }
        record = {**self.record, "max_overlap": max_overlap, **found}
        return Split(kept, dropped, self.digest.hexdigest(), counts, n_bytes, record)

    def _equal(self) -> int:
        """How many validation documents are training documents too; WeightlessError when all are."""
        keys = np.frombuffer(self.keys, ">u8")
        validates = np.zeros(len(keys), bool)
        validates[list(self.grams)] = True
        n_equal = int(np.isin(keys[validates], keys[~validates]).sum())
        if n_equal and n_equal == len(self.grams):
            raise WeightlessError(
                f"the validation text is training text: each of its {n_equal:,} document(s) stands "
                "there too, to the byte; name a text that is held out"
            )
        return n_equal


def split_notes(manifest: dict[str, Any]) -> list[str]:
    """What a person should know about the split of a prepared corpus: another size than asked for, and overlap."""
    record, splits, out = manifest.get("split", {}), manifest["splits"], []
    n_val, n_dropped = splits["val"]["documents"], record.get("dropped_documents", 0)
    if record.get("method") == "hash" and not 0.5 <= val_share(manifest) / record["fraction"] <= 2.0:
        n_all = n_val + splits["train"]["documents"]
        out.append(
            f"validation is {val_share(manifest):.1%} of the text, {record['fraction']:.1%} was asked for: "
            f"documents are drawn whole, and there are only {n_all:,}"
        )
    if n_dropped:
        out.append(
            f"{n_dropped:,} validation document(s) were dropped: more than {record['max_overlap']:.0%} of their "
            "13-word-grams stand in the training text"
        )
    warning = overlap_warning(manifest)
    return [*out, f"WARNING: {warning}"] if warning else out


def overlap_warning(manifest: dict[str, Any]) -> str:
    """What every result on this corpus has to say: that validation repeats training; empty where it does not."""
    record, n_val = manifest.get("split", {}), manifest["splits"]["val"]["documents"]
    n_over = max(0, record.get("overlapping_documents", 0) - record.get("dropped_documents", 0))
    n_equal = record.get("equal_documents", 0)
    if not (n_over or n_equal):
        return ""
    return (
        f"validation repeats training: of {n_val:,} documents, {n_over:,} have more than {DEFAULT_OVERLAP:.0%} of "
        f"their 13-word-grams in the training text, {n_equal:,} stand there to the byte; a loss on them says "
        "little"
    )


def val_share(manifest: dict[str, Any]) -> float:
    """The share of validation in the bytes of both splits."""
    n_bytes = {split: entry["bytes"] for split, entry in manifest["splits"].items()}
    return n_bytes["val"] / max(1, sum(n_bytes.values()))


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
