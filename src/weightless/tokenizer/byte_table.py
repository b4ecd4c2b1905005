"""How many bytes of text every token stands for, whoever made the tokens: the denominator of bits per byte.

    bytes(y | x) = base[y] + (leading_space[y] and not boundary[x])

with x the token before y.  Byte-level tokens have no leading space of that kind: base alone counts.  Marks, pads and
`<unk>` stand for no bytes and are boundaries.  Two things in a stream say that its bytes are not those of a text:

    unknown        `<unk>`: characters were swallowed
    space marks    the three byte pieces of U+2581 one after another: the vocabulary has no piece for a bare space, so
                   every space that no word takes along decodes to three bytes of a character that nobody wrote

Errors: ConfigError for ids outside the table, and for shapes that do not belong together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from weightless.base.errors import ConfigError


@dataclass(frozen=True)
class ByteTable:
    """Bytes that each token stands for: base int64 [V], leading_space bool [V], boundary bool [V]."""

    base: np.ndarray
    leading_space: np.ndarray
    boundary: np.ndarray
    keeps_first_space: bool = False
    """True for models whose decoder keeps a space at the start of a text: it counts, even after a boundary."""
    unknown: int | None = None
    """The id of `<unk>`."""
    mark_pieces: tuple[int, ...] = ()
    """The ids of the byte pieces <0xE2> <0x96> <0x81>, which are U+2581."""
    rewrites: bool = False
    """Whether encoding may change the text (normalisation), so that decoding gives another one back."""
    folds_case: bool = False
    """Whether it makes capitals small by the name of its normalisation."""

    def bytes_of(self, previous_ids: np.ndarray | Sequence[int], ids: np.ndarray | Sequence[int]) -> np.ndarray:
        """int64, shaped as `ids`: bytes of ids[i] when it follows previous_ids[i] (-1: nothing, the text begins).

        ConfigError when the shapes differ or an id is outside the vocabulary.
        """
        before, after = np.asarray(previous_ids), np.asarray(ids)
        if before.shape != after.shape:
            raise ConfigError(f"previous_ids {before.shape} and ids {after.shape} should have one shape")
        before, after = self._checked(before, -1), self._checked(after, 0)
        begins = (before < 0) | self.boundary[before]
        counts = self.leading_space[after] & (self.keeps_first_space | ~begins)
        return self.base[after] + counts

    def total(self, ids: np.ndarray | Sequence[int], previous: int = -1) -> int:
        """Bytes of a stream of tokens that stands behind `previous` (-1: at the start of a text)."""
        stream = self._checked(np.asarray(ids), 0)
        return int(self.bytes_of(np.concatenate(([previous], stream[:-1])) if len(stream) else stream, stream).sum())

    def n_unknown(self, ids: np.ndarray) -> int:
        """How many tokens are `<unk>`."""
        return 0 if self.unknown is None else int((np.asarray(ids) == self.unknown).sum())

    def n_space_marks(self, ids: np.ndarray) -> int:
        """How often U+2581 is spelt in bytes."""
        if not self.mark_pieces or len(ids) < 3:
            return 0
        first, second, third = (np.asarray(ids) == piece for piece in self.mark_pieces)
        return int((first[:-2] & second[1:-1] & third[2:]).sum())

    def why_refused(self, ids: np.ndarray) -> str:
        """Why bits per byte of these ids would not be those of a text, in words; empty when nothing speaks against it.

        Their text is not at hand, so nothing is said of what normalisation may have changed but for the case.
        """
        return told_of_ids(self.n_unknown(ids), self.n_space_marks(ids), self.folds_case)

    def _checked(self, ids: np.ndarray, least: int) -> np.ndarray:
        if ids.size and (ids.dtype.kind not in "iu" or ids.min() < least or ids.max() >= len(self.base)):
            raise ConfigError(f"ids should be whole numbers in {least}..{len(self.base) - 1}")
        return ids.astype(np.int64)


def told_of_ids(n_unknown: int, n_space_marks: int, folds_case: bool = False) -> str:
    """The sentence for so many unknown tokens and space marks."""
    parts = [f"{n_unknown:,} tokens are <unk>, which swallow characters"] if n_unknown else []
    parts += [f"{n_space_marks:,} spaces ' ' are spelt as the three bytes of U+2581 (no piece is a bare space)"] * (
        n_space_marks > 0
    )
    parts += ["the normalisation of its model makes capitals small"] * folds_case
    return "; ".join(parts)


def table_of_bytes(token_bytes: Sequence[bytes], special_ids: Iterable[int], rewrites: bool = False) -> ByteTable:
    """The table of a byte-level tokenizer: special tokens stand for no text."""
    base = np.array([len(piece) for piece in token_bytes], dtype=np.int64)
    boundary = np.zeros(len(base), dtype=bool)
    boundary[list(special_ids)] = True
    base[boundary] = 0
    return ByteTable(base, np.zeros(len(base), dtype=bool), boundary, rewrites=rewrites)
