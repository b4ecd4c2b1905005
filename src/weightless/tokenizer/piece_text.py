"""How a SentencePiece model rewrites text before it is cut: a table of replacements, then spaces become U+2581.

    Normaliser(charsmap, adds_first_space, removes_spaces).apply(text) -> bytes       one text
    .apply_lines(block) -> bytes                                                      every line a text of its own
    charsmap_of(name, like) -> bytes                                                  where a table can be had from

A table (`precompiled_charsmap`) is a double-array trie of keys and the replacements that its values point to:

    uint32 size of the trie in bytes | units uint32 [n] | replacements, each ended by a zero byte

A unit holds a label (bits 0-7 and 31), whether a key ends below it (bit 8), and the offset to its children (bits 10 and
up, shifted by 8 more if bit 9 is set); below the end of a key stands a unit that is the value.  At each place the
longest key is replaced, and where there is none one character is kept.  Then, if the model removes spaces, those at
either end go and runs become one; a first space is added if the model adds one; and every space is written U+2581.
Source: normalizer.cc of the SentencePiece project and darts-clone; the twin that decides is the package itself.
Errors: CorruptFileError for a table that is none; ConfigError for a name that nobody here knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from weightless.base.compiled import njit
from weightless.base.errors import ConfigError, CorruptFileError, nearest
from weightless.tokenizer.scan import KERNEL

IDENTITY = "identity"
RULES = ("nmt_nfkc", "nfkc", IDENTITY, "nmt_nfkc_cf", "nfkc_cf")
MARK = "\u2581".encode()
LINE_END, BLANK = 10, 32
LARGEST_TABLE = 1 << 26


@dataclass(frozen=True)
class Normaliser:
    """The table (empty: none), whether a first space is added, whether surplus spaces are removed."""

    charsmap: bytes
    adds_first_space: bool
    removes_spaces: bool

    def apply(self, text: bytes) -> bytes:
        """The text as it is cut into pieces; UTF-8 is expected, a byte that is none becomes U+FFFD."""
        return self._applied(text, False)

    def apply_lines(self, block: bytes) -> bytes:
        """The same for every line of a block; lines end with a newline, which stays."""
        return self._applied(block, True)

    def _applied(self, text: bytes, in_lines: bool) -> bytes:
        trie, replacements, longest = self._table
        source = np.frombuffer(text, dtype=np.uint8)
        size = 3 * len(source) + 3 * longest + 64
        flags = (self.adds_first_space, self.removes_spaces, in_lines)
        while True:
            out = np.empty(size, dtype=np.uint8)
            n = rewrite(source, trie, replacements, flags, 3 * longest + 16, out)
            if n >= 0:
                return out[:n].tobytes()
            size *= 2

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, int]:
        """(units of the trie, replacements, the length of the longest of these)."""
        if not self.charsmap:
            return np.zeros(0, np.uint32), np.zeros(1, np.uint8), 0
        size = int.from_bytes(self.charsmap[:4], "little")
        if len(self.charsmap) > LARGEST_TABLE or size % 4 or not 4 <= size < len(self.charsmap) - 4:
            raise CorruptFileError(f"a normalisation table of {len(self.charsmap):,} bytes whose trie has {size:,}")
        trie = np.frombuffer(self.charsmap, np.uint32, size // 4, 4)
        replacements = np.frombuffer(self.charsmap[4 + size :] + b"\0", np.uint8)
        ends = np.flatnonzero(replacements == 0)
        return trie, replacements, int(np.diff(ends, prepend=-1).max())


def charsmap_of(name: str, like: bytes | None = None, where: str = "") -> bytes:
    """The table of the normalisation `name`: empty for identity; else that of the model file `like`, or the package's.

    ConfigError when the name is unknown, when `like` has another normalisation, or when there is neither a file nor the
    package `sentencepiece`, which has the tables compiled in.
    """
    if name not in RULES:
        raise ConfigError(f"--normalisation {name}: {nearest(name, RULES)}")
    if name == IDENTITY:
        return b""
    if like is not None:
        return _taken(like, name, where)
    try:
        from sentencepiece import SentencePieceTrainer
    except ImportError:
        raise ConfigError(
            f"--normalisation {name} needs the table of the package sentencepiece (pip install sentencepiece), or a "
            "model file that has it (--like FILE.model); --normalisation identity needs neither"
        ) from None
    import io

    out = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a"]),
        model_writer=out,
        model_type="char",
        vocab_size=10,
        normalization_rule_name=name,
        minloglevel=2,
    )
    return _taken(out.getvalue(), name, "the package sentencepiece")


def _taken(content: bytes, name: str, where: str) -> bytes:
    from weightless.tokenizer.piece_file import parse_model

    model = parse_model(content, where)
    if model.normalisation != name or not model.charsmap:
        raise ConfigError(
            f"{where} has the normalisation {model.normalisation or 'identity'}, not {name}: name that one, or another "
            "file"
        )
    return model.charsmap


@njit(**KERNEL)
def rewrite(text, trie, replacements, flags, margin, out):
    """Fill `out` with the rewritten text; returns its length, or -1 when there is too little room.

    flags = (adds a first space, removes spaces, whether every line is a text); margin: what one step writes at most.
    """
    _, _, in_lines = flags
    begin, n = np.int64(0), np.int64(0)
    while begin < text.size:
        end = np.int64(text.size)
        if in_lines:
            end = begin
            while end < text.size and text[end] != LINE_END:
                end += 1
        n = rewrite_one(text, begin, end, trie, replacements, flags, margin, out, n)
        if n < 0 or n + 1 > out.size:
            return np.int64(-1)
        if in_lines and end < text.size:
            out[n] = LINE_END
            n += 1
        begin = end + 1
    return n


@njit(**KERNEL)
def rewrite_one(text, begin, end, trie, replacements, flags, margin, out, n):
    """Append text[begin:end], rewritten, to out[:n]; returns the new length, or -1 when there is too little room."""
    adds, removes, _ = flags
    start, after_blank, pending = n, removes, adds
    at = begin
    if adds and not removes and begin < end and n + margin <= out.size:
        n, pending = put(np.uint8(BLANK), False, out, n), False  # even before a text that is rewritten to nothing
    while at < end:
        if n + margin > out.size:
            return np.int64(-1)
        length, value = longest_key(text, at, end, trie)
        if length > 0:
            k, skips = np.int64(value), removes and after_blank
            while k < replacements.size and replacements[k] != 0:
                byte = replacements[k]
                if not (skips and byte == BLANK):
                    n = put(byte, pending, out, n)
                    pending, skips, after_blank = False, False, byte == BLANK
                k += 1
            at += length
            continue
        length = character_length(text, at, end)
        if length == 0:
            for byte in (0xEF, 0xBF, 0xBD):
                n = put(np.uint8(byte), pending, out, n)
                pending = False
            after_blank = False
            at += 1
            continue
        if not (removes and after_blank and text[at] == BLANK):
            for k in range(length):
                n = put(text[at + k], pending, out, n)
                pending = False
            after_blank = text[at] == BLANK
        at += length
    if removes:
        while n - 3 >= start and out[n - 3] == 0xE2 and out[n - 2] == 0x96 and out[n - 1] == 0x81:
            n -= 3
    return n


@njit(**KERNEL)
def put(byte, pending, out, n):
    """Append a byte, a space as U+2581, behind the first space that is still to come; returns the new length."""
    for _ in range((1 if pending else 0) + (1 if byte == BLANK else 0)):
        out[n], out[n + 1], out[n + 2] = 0xE2, 0x96, 0x81
        n += 3
    if byte != BLANK:
        out[n] = byte
        n += 1
    return n


@njit(**KERNEL)
def longest_key(text, at, end, trie):
    """(length of the longest key that begins at text[at], its value); length 0 when there is none."""
    if trie.size == 0:
        return np.int64(0), np.uint32(0)
    length, value = np.int64(0), np.uint32(0)
    node = np.uint32(0) ^ children(trie[0])
    for k in range(at, end):
        node ^= np.uint32(text[k])
        if node >= trie.size:
            break
        unit = trie[node]
        if unit & np.uint32(0x800000FF) != np.uint32(text[k]):
            break
        node ^= children(unit)
        if unit >> np.uint32(8) & np.uint32(1) and node < trie.size:
            length, value = k + 1 - at, trie[node] & np.uint32(0x7FFFFFFF)
    return length, value


@njit(**KERNEL)
def children(unit):
    """Offset to the children of a unit."""
    return unit >> np.uint32(10) << ((unit & np.uint32(1 << 9)) >> np.uint32(6))


@njit(**KERNEL)
def character_length(text, at, end):
    """Bytes of the UTF-8 character at text[at]; 0 when there is none (stray, overlong, surrogate, too high, cut)."""
    first = text[at]
    if first < 0x80:
        return np.int64(1)
    n = 2 if 0xC2 <= first < 0xE0 else 3 if 0xE0 <= first < 0xF0 else 4 if 0xF0 <= first < 0xF5 else 0
    if n == 0 or at + n > end:
        return np.int64(0)
    for k in range(1, n):
        if text[at + k] & 0xC0 != 0x80:
            return np.int64(0)
    second = text[at + 1]
    is_wrong = (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F)
    is_wrong |= (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F)
    return np.int64(0) if is_wrong else np.int64(n)


@njit(**KERNEL)
def word_starts(text, starts):
    """Fill `starts` with the places where a word begins: 0, U+2581 and line ends; returns how many."""
    n = 0
    for at in range(text.size):
        mark = text[at] == 0xE2 and at + 2 < text.size and text[at + 1] == 0x96 and text[at + 2] == 0x81
        if at == 0 or mark or text[at] == LINE_END:
            starts[n] = at
            n += 1
    return n
