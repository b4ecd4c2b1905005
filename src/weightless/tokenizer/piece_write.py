"""Write a SentencePiece `.model` file: the message that piece_file.py reads, and that the package opens.

    model_content(merged, characters, options, charsmap) -> bytes

Scores: 0 for marks and bytes, then 0, -1, -2 … in the order of ids, so that what was merged first merges first.
Fields are written only where they differ from SentencePiece's defaults, or where every reader should see them.
Source: sentencepiece_model.proto of the SentencePiece project (numbers and defaults).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightless.tokenizer.piece_file import BYTE, CONTROL, NORMAL, UNKNOWN
from weightless.tokenizer.protobuf import bytes_field, float_field, number_field

if TYPE_CHECKING:
    from weightless.tokenizer.piece_train import PieceOptions

MARKS = (("<pad>", CONTROL), ("<s>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN))
PAD, BEGIN, END, UNKNOWN_ID = range(4)
BPE = 2


def model_content(merged: Sequence[str], characters: Sequence[str], options: PieceOptions, charsmap: bytes) -> bytes:
    """The file of a model with these pieces behind marks and bytes."""
    pieces = [(name, kind, 0.0) for name, kind in MARKS]
    if options.byte_fallback:
        pieces += [(f"<0x{byte:02X}>", BYTE, 0.0) for byte in range(256)]
    pieces += [(piece, NORMAL, -float(k)) for k, piece in enumerate([*merged, *characters])]
    body = b"".join(bytes_field(1, _piece(*piece)) for piece in pieces)
    return body + bytes_field(2, _trainer(options, len(pieces))) + bytes_field(3, _normaliser(options, charsmap))


def _piece(text: str, kind: int, score: float) -> bytes:
    said = b"" if kind == NORMAL else number_field(3, kind)
    return bytes_field(1, text.encode()) + float_field(2, score) + said


def _trainer(options: PieceOptions, vocab_size: int) -> bytes:
    """trainer_spec; 44 is what <unk> decodes to, SentencePiece's own default."""
    return b"".join(
        (
            number_field(3, BPE),
            number_field(4, vocab_size),
            float_field(10, options.character_coverage),
            number_field(20, options.longest_piece),
            number_field(25, int(options.split_digits)),
            number_field(35, int(options.byte_fallback)),
            number_field(40, UNKNOWN_ID),
            number_field(41, BEGIN),
            number_field(42, END),
            number_field(43, PAD),
            bytes_field(44, " \u2047 ".encode()),
        )
    )


def _normaliser(options: PieceOptions, charsmap: bytes) -> bytes:
    return b"".join(
        (
            bytes_field(1, options.normalisation.encode()),
            bytes_field(2, charsmap) if charsmap else b"",
            number_field(3, int(options.add_dummy_prefix)),
            number_field(4, int(options.remove_extra_spaces)),
            number_field(5, 1),
        )
    )
