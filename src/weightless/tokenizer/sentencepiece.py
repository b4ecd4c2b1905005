"""SentencePiece `.model` files: what their tokens are, how many bytes each stands for, and a tokenizer around them.

    read_model(path) -> SentencePieceModel     pieces, types, scores, flags; no package needed
    byte_table(path) -> ByteTable              .bytes_of(previous_ids, ids): exact bytes, for bits per byte
    SentencePieceTokenizer.load(path)          encode and decode: models of the type BPE, as we train them, by ourselves
                                               (piece_encode.py); others by the package `sentencepiece`

A piece writes a space as U+2581.  Decoding joins the pieces, drops the space that begins a text (if the model adds one
there when it encodes, or removes surplus ones), and turns byte pieces `<0x00>`..`<0xFF>` into bytes.  Hence

    bytes(y | x) = base[y] + (leading_space[y] and not boundary[x])

with base the UTF-8 bytes of a piece without a leading space, 1 for a byte piece, 0 for control, unknown and unused
pieces, which are the boundaries (a text begins behind them).  A bare U+2581 has base 0.  The sum over a text is the
UTF-8 length of what the tokens decode to: the text after normalisation, which may be shorter than what was encoded.
(One exception is known: models that remove surplus spaces drop a whole run of spaces at the start of a text; such a
run survives encoding only when the text begins with the very character U+2581.)
What a model changes or swallows is found in kept_text.py.
Errors: CorruptFileError for a file that is no model, WeightlessError when it cannot be read or the package is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.base.files import atomic_write
from weightless.tokenizer.byte_table import ByteTable
from weightless.tokenizer.patterns import text_bytes
from weightless.tokenizer.piece_encode import PieceEncoder
from weightless.tokenizer.piece_file import (
    BYTE,
    CONTROL,
    SPACE,
    UNKNOWN,
    UNUSED,
    SentencePieceModel,
    parse_model,
    read_file,
)

__all__ = ["ByteTable", "SentencePieceModel", "SentencePieceTokenizer", "byte_table", "read_model", "table_of"]


def read_model(path: str | Path) -> SentencePieceModel:
    """The content of a .model file; CorruptFileError when it is none."""
    return parse_model(read_file(path), str(path))


def byte_table(path: str | Path) -> ByteTable:
    """The ByteTable of a .model file, read without the package `sentencepiece`."""
    return table_of(read_model(path), str(path))


def table_of(model: SentencePieceModel, where: str = "model") -> ByteTable:
    """The ByteTable of a model; ConfigError for models that write the space behind a word (bytes hang on the next)."""
    if model.space_is_suffix:
        raise ConfigError(
            f"{where}: spaces are written behind words (treat_whitespace_as_suffix), which is unsupported"
        )
    n = len(model.pieces)
    base, leading = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    boundary = np.isin(model.types, (CONTROL, UNKNOWN, UNUSED))
    for i in np.flatnonzero(~boundary).tolist():
        if model.types[i] == BYTE:
            base[i] = 1
            continue
        leading[i] = model.pieces[i].startswith(SPACE)
        base[i] = len(model.pieces[i][int(leading[i]) :].replace(SPACE, " ").encode())
    bytes_at = {model.pieces[i]: i for i in np.flatnonzero(model.types == BYTE).tolist()}
    marks = tuple(bytes_at[name] for name in ("<0xE2>", "<0x96>", "<0x81>") if name in bytes_at)
    return ByteTable(
        base,
        leading,
        boundary,
        not (model.adds_first_space or model.removes_spaces),
        unknown=int(np.flatnonzero(model.types == UNKNOWN)[0]),
        mark_pieces=marks,
        rewrites=True,
        folds_case=model.normalisation.endswith("_cf"),
    )


class SentencePieceTokenizer:
    """A SentencePiece model with the methods that preparing and inspecting data need.

    Documents begin with BOS (`end_of_text`; EOS where a model has no BOS).  Text is str, or bytes, in which what is not
    UTF-8 becomes U+FFFD; the model's normalisation applies, so decoding gives the normalised text back.
    """

    file_name = "tokenizer.model"

    def __init__(self, content: bytes, where: str = "SentencePiece model") -> None:
        self.model = parse_model(content, where)
        self._content, self._where = content, where
        self.vocab_size = len(self.model.pieces)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.dtype = np.dtype(np.uint16 if self.vocab_size <= 1 << 16 else np.uint32)

    @classmethod
    def load(cls, path: str | Path) -> SentencePieceTokenizer:
        """Read a .model file."""
        return cls(read_file(path), str(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return SentencePieceTokenizer, (self._content, self._where)

    def save(self, path: str | Path) -> None:
        """Write the .model file, byte for byte."""
        atomic_write(path, self._content)

    @property
    def end_of_text(self) -> int | None:
        """The token before each document: BOS, else EOS, else None."""
        return next((i for i in (self.model.bos_id, self.model.eos_id) if i is not None), None)

    @property
    def token_bytes(self) -> list[bytes]:
        """What each token looks like on a page: its bytes, spaces as spaces; control pieces by name."""
        return self._all_shown

    @cached_property
    def _all_shown(self) -> list[bytes]:
        return [self._shown(i) for i in range(self.vocab_size)]

    def _shown(self, i: int) -> bytes:
        piece = self.model.pieces[i]
        return bytes([int(piece[3:5], 16)]) if self.model.types[i] == BYTE else piece.replace(SPACE, " ").encode()

    @property
    def byte_table(self) -> ByteTable:
        """Exact bytes of every token after every other."""
        return self._byte_table

    @cached_property
    def _byte_table(self) -> ByteTable:
        return table_of(self.model, self._where)

    @cached_property
    def _own(self) -> PieceEncoder | None:
        return None if PieceEncoder.why_not(self.model) else PieceEncoder(self.model)

    @cached_property
    def _processor(self) -> Any:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise WeightlessError(
                f"encoding with {self._where} needs the package sentencepiece (pip install sentencepiece): "
                f"{PieceEncoder.why_not(self.model)} left to it"
            ) from None
        try:
            return SentencePieceProcessor(model_proto=self._content)
        except (RuntimeError, OSError) as error:
            raise CorruptFileError(f"{self._where}: sentencepiece refuses it ({str(error)[:120]})") from error

    def encode_ordinary_array(self, text: str | bytes) -> np.ndarray:
        """Ids of a text, in which the names of control pieces have no meaning; no BOS, no EOS."""
        content = text_bytes(text)
        if self._own is not None:
            return np.array(self._own.encode(content), dtype=self.dtype)
        return np.array(self._processor.encode(content.decode("utf-8", "replace")), dtype=self.dtype)

    def encode(self, text: str | bytes) -> list[int]:
        """The same as a list."""
        return self.encode_ordinary_array(text).tolist()

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """Text of the ids; ConfigError for an id outside the vocabulary."""
        numbers = [int(i) for i in ids]
        if wrong := [i for i in numbers if not 0 <= i < self.vocab_size]:
            raise ConfigError(f"{wrong[0]} is no token id; ids are whole numbers below {self.vocab_size}")
        return self._processor.decode(numbers) if self._own is None else self._own.decode(numbers)

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        """UTF-8 of the text of the ids."""
        return self.decode(ids).encode()
