"""The content of a SentencePiece `.model` file (a protobuf message `ModelProto`), checked because it is untrusted.

    ModelProto      1 pieces (repeated)   2 trainer_spec   3 normalizer_spec
    SentencePiece   1 piece (string)      2 score (float)  3 type: 1 normal, 2 unknown, 3 control, 4 user defined,
                                                                   5 unused, 6 byte
    TrainerSpec     3 model_type          24 treat_whitespace_as_suffix   25 split_digits   35 byte_fallback
                    40 unk_id  41 bos_id  42 eos_id  43 pad_id
    NormalizerSpec  1 name   2 precompiled_charsmap   3 add_dummy_prefix   4 remove_extra_whitespaces
                    5 escape_whitespaces

Fields that are not listed are passed over, as protobuf demands; of a field that comes twice the last value counts.
Source: sentencepiece_model.proto of the SentencePiece project (numbers and defaults).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.tokenizer.protobuf import BYTES, FIXED32, VARINT, expect, fields, float32, signed

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "\u2581"
LARGEST_FILE = 1 << 28
LARGEST_VOCABULARY = 1 << 21
MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class SentencePieceModel:
    """Pieces in order of id, their types uint8 [V] and scores float32 [V], and the flags that change ids or bytes."""

    pieces: tuple[str, ...]
    types: np.ndarray
    scores: np.ndarray
    model_type: str
    adds_first_space: bool
    removes_spaces: bool
    escapes_spaces: bool
    space_is_suffix: bool
    splits_digits: bool
    has_byte_fallback: bool
    normalisation: str
    charsmap: bytes
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None


@dataclass
class _Parsed:
    pieces: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    trainer: dict[int, int] = field(default_factory=lambda: {3: 1, 24: 0, 25: 0, 35: 0, 40: 0, 41: 1, 42: 2, 43: -1})
    normalizer: dict[int, int] = field(default_factory=lambda: {3: 1, 4: 1, 5: 1})
    normalisation: str = ""
    charsmap: bytes = b""


def read_file(path: str | Path) -> bytes:
    """The bytes of a model file, refused above 256 MiB."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise CorruptFileError(f"{path}: more than {LARGEST_FILE:,} bytes are too many for a SentencePiece model")
    return content


def parse_model(content: bytes, where: str) -> SentencePieceModel:
    """Read the message; CorruptFileError when it is damaged or describes no tokenizer."""
    parsed = _Parsed()
    for number, kind, value in fields(content, where):
        if number == 1:
            _add_piece(parsed, _message(kind, value, "a piece", where), where)
        elif number == 2:
            _read_flags(parsed.trainer, _message(kind, value, "trainer_spec", where), f"{where}, trainer_spec")
        elif number == 3:
            _read_normalizer(parsed, _message(kind, value, "normalizer_spec", where), f"{where}, normalizer_spec")
    _check(parsed, where)
    trainer, normalizer = parsed.trainer, parsed.normalizer
    bos, eos, pad = (_control_id(trainer[k], parsed.types) for k in (41, 42, 43))
    return SentencePieceModel(
        pieces=tuple(parsed.pieces),
        types=np.array(parsed.types, dtype=np.uint8),
        scores=np.array(parsed.scores, dtype=np.float32),
        model_type=MODEL_TYPES[trainer[3]],
        adds_first_space=bool(normalizer[3]),
        removes_spaces=bool(normalizer[4]),
        escapes_spaces=bool(normalizer[5]),
        space_is_suffix=bool(trainer[24]),
        splits_digits=bool(trainer[25]),
        has_byte_fallback=bool(trainer[35]),
        normalisation=parsed.normalisation,
        charsmap=parsed.charsmap,
        bos_id=bos,
        eos_id=eos,
        pad_id=pad,
    )


def _message(kind: int, value: int | bytes, what: str, where: str) -> bytes:
    found = expect(kind, BYTES, value, what, where)
    assert isinstance(found, bytes)
    return found


def _text(value: bytes, what: str, where: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CorruptFileError(f"{where}: {what} {value[:40]!r} is not UTF-8") from None


def _add_piece(parsed: _Parsed, message: bytes, where: str) -> None:
    where = f"{where}, piece {len(parsed.pieces)}"
    piece, score, kind_of_piece = "", 0.0, NORMAL
    for number, kind, value in fields(message, where):
        if number == 1:
            piece = _text(_message(kind, value, "its text", where), "its text", where)
        elif number == 2:
            found = expect(kind, FIXED32, value, "its score", where)
            assert isinstance(found, bytes)
            score = float32(found)
        elif number == 3:
            kind_of_piece = _number(kind, value, "its type", where)
    if not piece or not NORMAL <= kind_of_piece <= BYTE or not math.isfinite(score):
        raise CorruptFileError(f"{where}: text {piece!r:.40}, type {kind_of_piece}, score {score} are no piece")
    if kind_of_piece == BYTE and not _BYTE_PIECE.fullmatch(piece):
        raise CorruptFileError(f"{where}: {piece!r:.40} has the type of bytes, but is not written <0x00>..<0xFF>")
    if len(parsed.pieces) >= LARGEST_VOCABULARY:
        raise CorruptFileError(f"{where}: more than {LARGEST_VOCABULARY:,} pieces")
    parsed.pieces.append(piece)
    parsed.scores.append(score)
    parsed.types.append(kind_of_piece)


def _number(kind: int, value: int | bytes, what: str, where: str) -> int:
    found = expect(kind, VARINT, value, what, where)
    assert isinstance(found, int)
    return signed(found)


def _read_flags(flags: dict[int, int], message: bytes, where: str) -> None:
    """Overwrite the flags that are known, pass over the rest."""
    for number, kind, value in fields(message, where):
        if number in flags:
            flags[number] = _number(kind, value, f"field {number}", where)


def _read_normalizer(parsed: _Parsed, message: bytes, where: str) -> None:
    _read_flags(parsed.normalizer, message, where)
    for number, kind, value in fields(message, where):
        if number == 1:
            parsed.normalisation = _text(_message(kind, value, "its name", where), "its name", where)
        elif number == 2:
            parsed.charsmap = _message(kind, value, "its table", where)


def _check(parsed: _Parsed, where: str) -> None:
    """What SentencePiece itself demands of a vocabulary."""
    if not parsed.pieces:
        raise CorruptFileError(f"{where} is no SentencePiece model: it has no pieces")
    if len(set(parsed.pieces)) != len(parsed.pieces):
        raise CorruptFileError(f"{where}: a piece is listed twice")
    if parsed.types.count(UNKNOWN) != 1:
        raise CorruptFileError(f"{where}: {parsed.types.count(UNKNOWN)} unknown pieces, there should be one")
    if parsed.trainer[3] not in MODEL_TYPES:
        raise CorruptFileError(f"{where}: model_type {parsed.trainer[3]} is none of {sorted(MODEL_TYPES)}")
    n_bytes = parsed.types.count(BYTE)
    if n_bytes != (256 if parsed.trainer[35] else 0):
        raise CorruptFileError(
            f"{where}: {n_bytes} byte pieces, but byte_fallback is {'on' if parsed.trainer[35] else 'off'}"
        )


def _control_id(i: int, types: list[int]) -> int | None:
    """A control piece's id; None when the model has none (written as -1)."""
    return i if 0 <= i < len(types) and types[i] == CONTROL else None
