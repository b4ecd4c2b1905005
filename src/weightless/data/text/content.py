"""What tells one text from another before it is read as text: the names, kinds, sizes and SHA-256 of its files.

    entries_of(text)          [{"name", "kind", "bytes", "sha256"}, …] in the order of reading; None without files
    content_of(text)          the same in one SHA-256, with the number of files and bytes: what a manifest records
    is_same_text(manifest, …) whether a prepared corpus was made from this text

Times say nothing: a file that was copied is the same, and one that was replaced may keep its size and its time.
A list of documents, the docs and the hub have no files; then the documents decide, or who asks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from weightless.base.files import sha256_file
from weightless.data.text.documents import CorpusDigest

Content = list[dict[str, Any] | None]


def entries_of(text: Any) -> list[dict[str, Any]] | None:
    """The files of a text, with their hashes (every byte is read)."""
    found = getattr(text, "entries", None)
    if found is None:
        return None
    return [
        {"name": entry.name, "kind": entry.kind, "bytes": entry.n_bytes, "sha256": sha256_file(entry.path)}
        for entry in found()
    ]


def content_of(text: Any) -> dict[str, Any] | None:
    """What the manifest records of a text; None when it has no files."""
    entries = entries_of(text)
    return None if entries is None else in_one(entries)


def in_one(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The entries as three values."""
    plain = json.dumps([list(entry.values()) for entry in entries], sort_keys=True)
    return {
        "files": len(entries),
        "bytes": sum(entry["bytes"] for entry in entries),
        "sha256": hashlib.sha256(plain.encode("utf-8", "surrogateescape")).hexdigest(),
    }


def is_same_text(manifest: dict[str, Any], content: Content, documents: Iterable[bytes]) -> bool:
    """Whether a corpus was made from the text of these files; where that is not certain, the documents decide."""
    if None not in content and manifest.get("content") == content:
        return True
    digest = CorpusDigest()
    for document in documents:
        digest.add(document)
    return digest.hexdigest() == manifest["corpus_sha256"]
