"""Look into a prepared corpus and check it: what is really on the disk, independent of how it was made.

    page(tokens, token_bytes, start, count)   a stretch of the stream as text, tokens set apart
    documents_in(tokens, end_of_text)         the token arrays between <|endoftext|> ids
    verify(folder)                            a list of checks, each with what was found

`verify` reads every byte: hashes, ids below the vocabulary, counts, that no document stands in both splits, and that
no validation document has more than 20 % of its n-grams of token ids in the training split, with n = 13 or, where
tokens are short, as many as cover 58 bytes (13 tokens of 4.5 bytes): 13 bytes in a row prove nothing.
The bytes of the ids, by the tokenizer's table, are those of the manifest, which bits per byte are divided by.
Where an import left the tokenizer or the id of <|endoftext|> unknown, the checks that need them say so and pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import sha256_file
from weightless.data.shards.corpus import Corpus, corpus
from weightless.data.shards.manifest import SPLITS
from weightless.data.shards.shards import read_shard
from weightless.data.text.documents import document_key
from weightless.data.text.grams import GramSet, id_grams
from weightless.data.text.split import DEFAULT_OVERLAP, byte_progress

BOUNDARY = "·"
_SHOWN = {"\n": "⏎\n", "\t": "⇥", "\r": "␍"}
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Check:
    """One thing that was verified: whether it held, and the figures."""

    name: str
    ok: bool
    detail: str


def page(tokens: Any, token_bytes: Sequence[bytes], start: int = 0, count: int = 200) -> str:
    """Tokens start..start+count as text with `·` between them; bytes that are no whole character appear as <E2>."""
    if not 0 <= start < max(1, len(tokens)):
        raise ConfigError(f"token {start} is not in the split, which has {len(tokens)}")
    return BOUNDARY.join(_shown(token_bytes[int(token)]) for token in tokens[start : start + count])


def _shown(piece: bytes) -> str:
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 128 else f"<{byte:02X}>" for byte in piece)
    return "".join(_SHOWN.get(letter, letter if letter.isprintable() else f"<{ord(letter):02X}>") for letter in text)


def documents_in(tokens: Any, end_of_text: int) -> Iterator[np.ndarray]:
    """The documents of a stream that has <|endoftext|> before each of them (what precedes the first is one too)."""
    pending: list[np.ndarray] = []
    is_open = False
    for base in range(0, len(tokens), _BLOCK):
        block = np.asarray(tokens[base : base + _BLOCK])
        marks = np.flatnonzero(block == end_of_text)
        pieces = np.split(block, marks)
        if is_open or len(pieces[0]):
            pending.append(pieces[0])
            is_open = True
        for piece in pieces[1:]:
            if is_open:
                yield np.concatenate(pending)
            pending, is_open = [piece[1:]], True
    if is_open:
        yield np.concatenate(pending)


def verify(folder: str | Path, show_progress: bool = False) -> list[Check]:
    """All checks on a prepared corpus; one that fails may make the later ones impossible."""
    try:
        found = corpus(folder)
        for split in SPLITS:
            for path in found.shard_paths(split):
                read_shard(path, found.vocab_size)
    except WeightlessError as error:
        return [Check("shards", False, str(error))]
    n_shards = sum(len(found.shard_paths(split)) for split in SPLITS)
    checks = [Check("shards", True, f"{n_shards} shards, all ids below {found.vocab_size}"), _check_hashes(found)]
    if not checks[-1].ok:  # nobody would read damaged ids
        return checks
    checks.append(_check_tokenizer(found))
    if found.has_tokenizer and checks[-1].ok:
        checks += [_check_text(found, split) for split in SPLITS]
    if found.end_of_text is None:
        checks.append(Check("documents", True, "neither counted nor compared: the id between them is unknown"))
        return [*checks, _check_overlap(found, show_progress)]
    sizes, keys = {}, {}
    for split in SPLITS:
        own = list(map(_key, _documents(found, split)))
        sizes[split], keys[split] = len(own), set(own)
    checks.append(_check_counts(found, sizes))
    both = keys["train"] & keys["val"]
    checks.append(Check("splits share no document", not both, f"{len(both)} of {len(keys['val'])} in both"))
    checks.append(_check_overlap(found, show_progress))
    return checks


def _documents(found: Corpus, split: str) -> Iterator[np.ndarray]:
    """The documents of a split; without marks, pieces of it.  Imported ids may have two marks in a row."""
    tokens = found.tokens(split)
    if found.end_of_text is None:
        return (np.asarray(tokens[base : base + _BLOCK]) for base in range(0, len(tokens), _BLOCK))
    is_imported = found.manifest.get("split", {}).get("method") == "imported"
    return (document for document in documents_in(tokens, found.end_of_text) if len(document) or not is_imported)


def _key(document: np.ndarray) -> bytes:
    return document_key(document.astype("<u2").tobytes())


def _check_hashes(found: Corpus) -> Check:
    shards = [
        (found.folder / shard["file"], shard["sha256"])
        for split in SPLITS
        for shard in found.manifest["splits"][split]["shards"]
    ]
    wrong = [path.name for path, expected in shards if sha256_file(path) != expected]
    detail = "damaged: " + ", ".join(wrong) if wrong else f"{len(shards)} match the manifest"
    return Check("SHA-256 of the shards", not wrong, detail)


def _check_tokenizer(found: Corpus) -> Check:
    name = "tokenizer of the manifest"
    if not found.has_tokenizer:
        return Check(name, True, f"unknown; {found.vocab_size} tokens declared")
    try:
        tokenizer = found.tokenizer()
    except WeightlessError as error:
        return Check(name, False, str(error))
    return Check(name, tokenizer.vocab_size == found.vocab_size, f"{tokenizer.sha256[:12]}…, {found.vocab_size} tokens")


def _check_text(found: Corpus, split: str) -> Check:
    """The bytes that the ids stand for are those of the manifest, and nothing was swallowed or changed on the way."""
    name, table, tokens, n_bytes, before = (
        f"{split} ids hold the text",
        found.tokenizer().byte_table,
        found.tokens(split),
        0,
        -1,
    )
    for base in range(0, len(tokens), _BLOCK):
        block = np.asarray(tokens[base : base + _BLOCK])
        n_bytes, before = n_bytes + table.total(block, before), int(block[-1])
    if n_bytes != found.n_bytes(split):
        told = f"the ids decode to {n_bytes:,} bytes, the manifest says {found.n_bytes(split):,}: prepare it again"
        return Check(name, False, told)
    if why := found.why_refused(split):
        return Check(name, False, f"{n_bytes:,} bytes, and bits per byte are refused: {why}")
    return Check(name, True, f"{n_bytes:,} {found.manifest.get('bytes_are') or 'bytes'}, as the manifest says")


def _check_counts(found: Corpus, sizes: dict[str, int]) -> Check:
    wrong = [split for split in SPLITS if sizes[split] != found.n_documents(split)]
    detail = ", ".join(f"{split} {sizes[split]} documents, {found.n_tokens(split)} tokens" for split in SPLITS)
    return Check("documents of the manifest", not wrong, detail + (f"; {wrong[0]} differs" if wrong else ""))


def _gram_length(found: Corpus) -> int:
    if not found.has_tokenizer:
        return 13
    return max(13, round(58 * found.n_tokens("val") / max(1, found.n_bytes("val"))))


def _check_overlap(found: Corpus, show_progress: bool) -> Check:
    """n-grams of token ids; a document runs to the next <|endoftext|>, so no gram spans two documents."""
    n = _gram_length(found)
    own = [id_grams(document, n) for document in _documents(found, "val")]
    members = GramSet(np.concatenate(own) if own else np.zeros(0, np.uint64))
    train = _documents(found, "train")
    with byte_progress("compare splits", 2 * found.n_tokens("train"), show_progress) as tick:
        for document in train:
            members.meet(id_grams(document, n))
            tick(2 * len(document))
    shares = np.array([members.share_met(grams) for grams in own] or [0.0])
    n_over, mean = int((shares > DEFAULT_OVERLAP).sum()), 100 * members.met.mean() if len(members.met) else 0.0
    detail = f"{mean:.2f} % of the validation's distinct {n}-grams of ids; {n_over} documents above 20 %"
    return Check("validation repeats little of training", n_over == 0, f"{detail}, most {100 * shares.max():.1f} %")
