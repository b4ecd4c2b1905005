"""Was the validation text trained on?  By document, and by runs of 13 words.

    copies     validation documents whose SHA-256 is that of a training document
    near       validation documents of which more than 20 % of the 13-word-grams occur in the training text: another
               spelling of the title, a changed line, a quotation of half of it (data/text/grams.py says what a word is)

Both sides are documents as bytes: a text, a folder, or a split of a prepared corpus decoded by its own tokenizer, so
that two corpora with different tokenizers can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightless.audit.predictors.findings import Finding, judged, skipped
from weightless.data.shards.corpus import MANIFEST, Corpus, corpus
from weightless.data.shards.inspect import documents_in
from weightless.data.text.documents import document_key
from weightless.data.text.grams import N_WORDS, GramSet, word_grams
from weightless.data.text.sources import open_source
from weightless.data.text.split import DEFAULT_OVERLAP


@dataclass(frozen=True)
class Overlap:
    """Validation documents in all, exact copies among them, the others above the limit, and the shares of these."""

    n_documents: int
    n_copies: int
    n_near: int
    largest: float
    mean_share: float

    def findings(self) -> list[Finding]:
        """Two lines of an audit."""
        if not self.n_documents:
            return [skipped(name, "the validation text holds no document") for name in ("no copies", "no near copies")]
        of = f"of {self.n_documents:,} validation documents"
        copies = f"{self.n_copies} {of} are training documents" if self.n_copies else ""
        limit = f"{100 * DEFAULT_OVERLAP:.0f} %"
        most = f"{100 * self.mean_share:.2f} % of the {N_WORDS}-grams in all, at most {100 * self.largest:.1f} % of one"
        near = f"{self.n_near} {of} repeat the training text (above {limit}; {most})" if self.n_near else ""
        return [
            judged("no copies", copies, f"none {of} is a training document"),
            judged("no near copies", near, f"{most}; the limit is {limit} of a document"),
        ]


def overlap(train: Iterable[bytes], validation: Iterable[bytes], limit: float = DEFAULT_OVERLAP) -> Overlap:
    """Compare two sets of documents; the training side is read once and not kept."""
    keys, grams = [], []
    for document in validation:
        keys.append(document_key(document))
        grams.append(word_grams(document))
    members = GramSet(np.concatenate(grams) if grams else np.zeros(0, np.uint64))
    wanted, met = set(keys), set()
    for document in train:
        members.meet(word_grams(document))
        met |= {document_key(document)} & wanted
    copies = np.array([key in met for key in keys], dtype=bool)
    shares = np.array([members.share_met(own) for own in grams])
    others = shares[~copies]
    largest = float(others.max()) if len(others) else 0.0
    mean = float(members.met.mean()) if len(members.met) else 0.0
    return Overlap(len(keys), int(copies.sum()), int((others > limit).sum()), largest, mean)


def documents_of(where: str | Path, split: str = "train") -> Iterator[bytes]:
    """Documents of a text or folder, or of one split of a prepared corpus."""
    if (Path(where) / MANIFEST).exists():
        return corpus_documents(corpus(where), split)
    return iter(open_source(str(where)))


def corpus_documents(found: Corpus, split: str) -> Iterator[bytes]:
    """The documents of a split as text; WeightlessError when its tokenizer is unknown."""
    found.require_tokenizer("comparing documents")
    tokenizer, tokens = found.tokenizer(), found.tokens(split)
    if found.end_of_text is None:
        yield tokenizer.decode_bytes(np.asarray(tokens[:]))
        return
    for document in documents_in(tokens, found.end_of_text):
        if len(document):
            yield tokenizer.decode_bytes(document)
