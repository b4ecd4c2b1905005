"""What a document is, and how one long text becomes many.

A document is a `bytes` object of UTF-8 text (invalid bytes of a mostly valid file are kept as they
are: the tokenizers are byte-level and `bytes` in every record is what the file really held).

    split_at_marks      the text between marks: a mark is `<|endoftext|>` at the start or at the end of a line;
                        a line that holds nothing else vanishes with it
    split_into_sections for text without marks: cut at the first blank line after `target` bytes (16 kB), or
                        at any line end after twice that; joining the sections gives the text back
    document_key        SHA-256 of one document: equal keys mean equal documents
    CorpusDigest        SHA-256 over (length, content) of every document in order: the identity of a corpus

Documents of nothing but white space are dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import IO

MARK = b"<|endoftext|>"
SECTION_BYTES = 16_000
LONGEST_LINE = 32_000


def lines_of(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines with their ends; a line longer than 32 kB comes in pieces cut after a space (or between characters)."""
    rest = b""
    while True:
        line = rest + stream.readline(LONGEST_LINE - len(rest))
        if not line:
            return
        rest = b""
        if len(line) >= LONGEST_LINE and not line.endswith(b"\n"):
            cut = _cut_of(line)
            line, rest = line[:cut], line[cut:]
        yield line


def _cut_of(line: bytes) -> int:
    """Where to cut an over-long line: after its last space, else before an unfinished UTF-8 character."""
    cut = line.rfind(b" ", len(line) // 2) + 1
    if cut:
        return cut
    cut = len(line)
    while cut > len(line) - 4 and line[cut - 1] & 0xC0 == 0x80:
        cut -= 1
    return cut - 1 if line[cut - 1] >= 0xC0 else len(line)


def has_mark(line: bytes) -> bool:
    """Whether a document ends or begins at this line."""
    return MARK in line and (line.startswith(MARK) or line.rstrip().endswith(MARK))


def split_at_marks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The documents between the marks, white-space ones dropped."""
    parts: list[bytes] = []
    for line in lines:
        if line.startswith(MARK):
            yield from _joined(parts)
            line = line[len(MARK) :]
            if not line.strip():
                continue
        if line.rstrip().endswith(MARK):
            parts.append(line.rstrip()[: -len(MARK)])
            yield from _joined(parts)
            continue
        parts.append(line)
    yield from _joined(parts)


def split_into_sections(lines: Iterable[bytes], target: int = SECTION_BYTES) -> Iterator[bytes]:
    """Sections of about `target` bytes that end at blank lines where the text has any."""
    parts: list[bytes] = []
    size, has_text = 0, False
    for line in lines:
        parts.append(line)
        size += len(line)
        is_blank = not line.strip()
        has_text = has_text or not is_blank
        if has_text and (size >= 2 * target or (size >= target and is_blank)):
            yield from _joined(parts)
            size, has_text = 0, False
    yield from _joined(parts)


def _joined(parts: list[bytes]) -> Iterator[bytes]:
    """Yield the collected text unless it is blank, and empty the list."""
    document = b"".join(parts)
    parts.clear()
    if document.strip():
        yield document


def document_key(document: bytes) -> bytes:
    """SHA-256 of the content (32 bytes)."""
    return hashlib.sha256(document).digest()


class CorpusDigest:
    """Running SHA-256 over documents: 8 bytes of little-endian length, then the content, for each."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.n_documents = 0
        self.n_bytes = 0

    def add(self, document: bytes) -> None:
        self._digest.update(len(document).to_bytes(8, "little"))
        self._digest.update(document)
        self.n_documents += 1
        self.n_bytes += len(document)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
