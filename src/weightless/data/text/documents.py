"""What a document is, and how one long text becomes many.

A document is a `bytes` object of UTF-8 text (invalid bytes of a mostly valid file are kept as they
are: the tokenizers are byte-level and `bytes` in every record is what the file really held).

    split_at_marks      the text between marks: a mark is `<|endoftext|>` at the start or at the end of a line;
                        a line that holds nothing else vanishes with it
    split_into_sections for text without marks: cut at the first blank line after `target` bytes (16 kB), or
                        at any line end after twice that; joining the sections gives the text back
    document_key        SHA-256 of one document: equal keys mean equal documents
    CorpusDigest        SHA-256 over (length, content) of every document in order: the identity of a corpus

A text comes in blocks of any size, and where one block ends means nothing: neither a mark nor another string that is to
stay whole (a special token) is ever cut.  A line ends with LF, CR LF or CR.  Several marks in a row are one mark.
`<|endoftext|>` within a line is text about it, and `count_marks` says how often that was met.  Documents of nothing but
white space are dropped.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

MARK = b"<|endoftext|>"
BOM = b"\xef\xbb\xbf"
SECTION_BYTES = 16_000
LONGEST_LINE = 32_000
_RUN = re.compile(rb"(<\|endoftext\|>(?:<\|endoftext\|>)*)([ \t\f\v]*)(\r\n|\r|\n)?")


def split_at_marks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The documents between the marks, white-space ones dropped."""
    parts: list[bytes] = []
    for text, ends in _stretches(blocks):
        parts.append(text)
        if ends:
            yield from _joined(parts)
    yield from _joined(parts)


def count_marks(blocks: Iterable[bytes]) -> tuple[int, int]:
    """How many marks a text has, and how many <|endoftext|> stand within lines, as text."""
    n_marks = n_within = 0
    for text, ends in _stretches(blocks):
        n_marks += ends
        n_within += text.count(MARK)
    return n_marks, n_within


def _stretches(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """(text, whether a mark stands behind it), without the marks and the lines that hold nothing else."""
    waiting, begins = b"", True  # what is not yet decided, and whether a line begins with it
    for block in blocks:
        found, n_done, begins = _decided(waiting + block, begins, False)
        waiting = (waiting + block)[n_done:]
        yield from found
    yield from _decided(waiting, begins, True)[0]


def _decided(text: bytes, begins: bool, is_last: bool) -> tuple[list[tuple[bytes, bool]], int, bool]:
    """(stretches, bytes of `text` that they account for, whether a line begins behind those).

    A mark can be told when it is known what follows the white space behind it, so one at the very end waits.
    """
    end = len(text) if is_last else len(text) - _unfinished(text, MARK)
    out, start = [], 0
    for run in _RUN.finditer(text, 0, end):
        if run.end() == end and not is_last:
            end = run.start()
            break
        at_start = text[run.start() - 1] in b"\r\n" if run.start() else begins
        at_end = run[3] is not None or run.end() == len(text)
        if at_start or at_end:
            out.append((text[start : run.start()], True))
            start = run.end() if at_end else run.end(1)
    out.append((text[start:end], False))
    return out, end, text[end - 1] in b"\r\n" if end else begins


def _unfinished(text: bytes, token: bytes) -> int:
    """How many bytes at the end of a text begin `token` and do not complete it."""
    return next((n for n in range(min(len(token) - 1, len(text)), 0, -1) if text.endswith(token[:n])), 0)


def lines_of(blocks: Iterable[bytes], whole: Sequence[bytes] = (MARK,)) -> Iterator[bytes]:
    """Lines with their ends; a line longer than 32 kB comes in pieces cut after a space (or between characters).

    No piece ends within one of the strings `whole`.
    """
    longest = max(LONGEST_LINE, *(4 * len(token) for token in whole), 0)
    rest = b""
    for block in blocks:
        rest += block
        at = 0
        while True:
            if end := rest.find(b"\n", at, at + longest) + 1:
                yield rest[at:end]
                at = end
            elif len(rest) - at >= longest:
                cut = at + _cut_of(rest[at : at + longest], whole)
                yield rest[at:cut]
                at = cut
            else:
                break
        rest = rest[at:]
    if rest:
        yield rest


def _cut_of(line: bytes, whole: Sequence[bytes]) -> int:
    """Where to cut an over-long line: after its last space, else before an unfinished UTF-8 character."""
    spans = _spans(line, whole)
    cut = len(line)
    while cut := line.rfind(b" ", len(line) // 2, cut) + 1:
        if not _is_within(cut, spans):
            return cut
        cut -= 1
    cut = _character_end(line, len(line))
    while _is_within(cut, spans):
        cut = _character_end(line, cut - 1)
    return cut or len(line)


def _character_end(line: bytes, cut: int) -> int:
    """The last place up to `cut` that is not within a UTF-8 character."""
    for n in range(1, min(4, cut) + 1):
        first = line[cut - n]
        if first & 0xC0 != 0x80:
            n_wanted = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            return cut - n if n < n_wanted else cut
    return cut


def _spans(text: bytes, whole: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where the strings stand (leftmost and longest first), and last where one begins that may end behind the text."""
    if not whole:
        return []
    longest_first = sorted(whole, key=len, reverse=True)
    spans = [found.span() for found in re.finditer(b"|".join(map(re.escape, longest_first)), text)]
    n_open = max(_unfinished(text, token) for token in whole)
    return [*spans, (len(text) - n_open, len(text) + 1)] if n_open else spans


def _is_within(cut: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a cut would go through one of the strings."""
    start, end = next(((start, end) for start, end in reversed(spans) if start < cut), (0, 0))
    return start < cut < end


def split_into_sections(
    lines: Iterable[bytes], target: int = SECTION_BYTES, whole: Sequence[bytes] = ()
) -> Iterator[bytes]:
    """Sections of about `target` bytes that end at blank lines where the text has any, and never within `whole`."""
    reach = max((len(token) for token in whole if b"\n" in token[:-1]), default=0)  # the others end with a line at most
    parts: list[bytes] = []
    size, has_text = 0, False
    for line, following in _with_next(lines, reach):
        parts.append(line)
        size += len(line)
        is_blank = not line.strip()
        has_text = has_text or not is_blank
        if has_text and (size >= 2 * target or (size >= target and is_blank)):
            before = b"".join(parts) if reach else b""
            if not reach or not _is_within(len(before), _spans(before + following, whole)):
                yield from _joined(parts)
                size, has_text = 0, False
    yield from _joined(parts)


def _with_next(lines: Iterable[bytes], reach: int) -> Iterator[tuple[bytes, bytes]]:
    """Every line, and at least `reach` bytes of what follows it (less at the end)."""
    waiting: deque[bytes] = deque()
    n_waiting = 0
    for line in lines:
        waiting.append(line)
        n_waiting += len(line)
        while waiting and n_waiting - len(waiting[0]) >= reach:
            first = waiting.popleft()
            n_waiting -= len(first)
            yield first, b"".join(waiting)
    while waiting:
        yield waiting.popleft(), b"".join(waiting)


def _joined(parts: list[bytes]) -> Iterator[bytes]:
    """Yield the collected text unless it is blank, and empty the list."""
    document = b"".join(parts)
    parts.clear()
    if not is_blank(document):
        yield document


def is_blank(document: bytes) -> bool:
    """Whether a document holds nothing but white space and byte order marks."""
    stripped = document.strip()
    return not stripped or (stripped.startswith(BOM) and not stripped.replace(BOM, b"").strip())


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
