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

from weightless.base.errors import ConfigError, CorruptFileError, nearest

IDENTITY = "identity"
RULES = ("nmt_nfkc", "nfkc", IDENTITY, "nmt_nfkc_cf", "nfkc_cf")
MARK = "\u2581".encode()
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
        from weightless.tokenizer.piece_rewrite import rewrite  # numba only when something is rewritten

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
