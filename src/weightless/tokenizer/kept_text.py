"""What is left of a text when it has become tokens: bytes before and after, and which characters did not come back.

    kept(tokenizer, text, ids) -> KeptText           of one document; `+` adds documents up
    .refused                                         why bits per byte would not be those of the text, or ""

Byte-level tokens give every byte back, unless their tokenizer composes characters first (NFC, rules.py): then "e" and
a combining accent come back as "é".  A SentencePiece model may rewrite: it makes line ends and runs of spaces one
space and writes compatibility forms (½, ﬁ) by their NFKC.  That is lost too, but it is what everybody's bits per byte
of such models leave out, and the bytes counted are those of the text that is left, never those of the source; that a
document came back as another one is counted, however many bytes it has.  Anything else is refused: `<unk>`,
letters that became other letters, a space that became three bytes, and a text that decodes to more bytes than it had.

Two texts are the same but for white space and compatibility when their NFKC forms hold the same characters, white
space, control and format characters and U+2581 (which is how such models write a space) left out.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from weightless.tokenizer.byte_table import ByteTable, told_of_ids

SPACE = "\u2581"
MOST_NAMED = 64
SHOWN = 5


class Encoder(Protocol):
    """What a comparison needs of a tokenizer."""

    @property
    def byte_table(self) -> ByteTable: ...

    def decode_bytes(self, ids: Any) -> bytes: ...


@dataclass(frozen=True)
class KeptText:
    """Sums over documents; `lost` and `grown` are characters and how often, at most MOST_NAMED of them.

    n_rewritten   documents that come back as another text
    """

    source_bytes: int = 0
    decoded_bytes: int = 0
    n_unknown: int = 0
    n_space_marks: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    grown: dict[str, int] = field(default_factory=dict)
    n_rewritten: int = 0

    def __add__(self, other: KeptText) -> KeptText:
        lost, grown = (_united(a, b) for a, b in ((self.lost, other.lost), (self.grown, other.grown)))
        return KeptText(
            self.source_bytes + other.source_bytes,
            self.decoded_bytes + other.decoded_bytes,
            self.n_unknown + other.n_unknown,
            self.n_space_marks + other.n_space_marks,
            lost,
            grown,
            self.n_rewritten + other.n_rewritten,
        )

    def plain(self) -> dict[str, Any]:
        """For a journal."""
        return asdict(self)

    @property
    def is_source(self) -> bool:
        """Whether the very bytes came back that went in."""
        return self.source_bytes == self.decoded_bytes and not (self.n_unknown or self.lost or self.n_rewritten)

    @property
    def refused(self) -> str:
        """Why bits per byte are refused, naming the characters; empty when they are not."""
        told = told_of_ids(self.n_unknown, self.n_space_marks)
        parts = [told] if told else []
        if self.lost:
            parts.append(f"characters that do not come back: {_named(self.lost)}")
        if self.decoded_bytes > self.source_bytes:
            share = 100 * self.decoded_bytes / max(1, self.source_bytes)
            more = f"{self.source_bytes:,} bytes of text decode to {self.decoded_bytes:,} ({share:.1f} %)"
            parts.append(more + (f", by {_named(self.grown)}" if self.grown else ""))
        return "; ".join(parts)


def kept(tokenizer: Encoder, text: bytes, ids: np.ndarray) -> KeptText:
    """Compare a document with what its tokens (without marks) decode to."""
    table = tokenizer.byte_table
    found = KeptText(len(text), table.total(ids), table.n_unknown(ids), table.n_space_marks(ids))
    if not table.rewrites:
        return found
    plain = ids if table.unknown is None else ids[ids != table.unknown]
    decoded = tokenizer.decode_bytes(plain)
    return found if decoded == text else found + changes(text, decoded)


def changes(text: bytes, decoded: bytes) -> KeptText:
    """Which characters are lost, and which make the decoded text of one document longer; no bytes are counted."""
    before, after = (part.decode("utf-8", "surrogateescape") for part in (text, decoded))
    lost = Counter(_essence(before)) - Counter(_essence(after))
    grown = Counter(after) - Counter(before) if len(decoded) > len(text) else Counter()
    return KeptText(lost=_first(lost), grown=_first(grown), n_rewritten=1)


def _essence(text: str) -> str:
    """The characters that count: NFKC, without white space, control and format characters and U+2581."""
    if text.isascii():
        return "".join(text.split())
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain if not (c.isspace() or c == SPACE or unicodedata.category(c) in ("Cc", "Cf")))


def _first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted((_printable(c), n) for c, n in counts.items())[:MOST_NAMED])


def _printable(character: str) -> str:
    """The character; a byte that is no UTF-8 by its number."""
    return f"byte {ord(character) - 0xDC00:02X}" if "\udc80" <= character <= "\udcff" else character


def _united(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    if not b:
        return a
    out = dict(a)
    for character, n in b.items():
        if character in out or len(out) < MOST_NAMED:
            out[character] = out.get(character, 0) + n
    return out


def _named(counts: dict[str, int]) -> str:
    """The most frequent characters, with their code points and how often."""
    order = sorted(counts, key=lambda c: (-counts[c], c))
    shown = [
        f"{c!r} (U+{ord(c):04X}) {counts[c]:,} times" if len(c) == 1 else f"{c} {counts[c]:,} times"
        for c in order[:SHOWN]
    ]
    return ", ".join(shown) + (f" and {len(order) - SHOWN} others" if len(order) > SHOWN else "")
