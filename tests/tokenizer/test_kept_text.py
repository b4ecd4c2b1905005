"""What tokens keep of a text.  Oracles: the strings before and after, and counts of characters by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizer.piece_models import BYTES, FIRST, NORMAL, model_file

from weightless.tokenizer import Tokenizer
from weightless.tokenizer.byte_table import ByteTable
from weightless.tokenizer.kept_text import KeptText, changes, kept
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer


@pytest.mark.parametrize(
    ("text", "decoded", "lost"),
    [
        ("Two  words\n\tand ½ ﬁ", "Two words and 1⁄2 fi", {}),
        ("cafe\u0301 z\u200bero\u00ad", "café zero", {}),
        ("a ▁ b", "a   b", {}),
        ("Aa B", "aa b", {"A": 1, "B": 1}),
        ("naïve", "naive", {"ï": 1}),
        ("日本 x 日", " x ", {"日": 2, "本": 1}),
        (b"x\xff\xfe\xffy", "x\ufffd\ufffd\ufffdy", {"byte FE": 1, "byte FF": 2}),
    ],
)
def test_characters_that_do_not_come_back(text, decoded, lost):
    found = changes(text if isinstance(text, bytes) else text.encode(), decoded.encode())
    assert found.lost == lost
    assert all(f"{c!r}" in found.refused or c in found.refused for c in lost)


def test_byte_level_tokens_keep_everything():
    tokenizer, text = Tokenizer.train([b"one two one two"], 270), b"\xff one \xe2\x96\x81 two \x00"
    found = kept(tokenizer, text, tokenizer.encode_ordinary_array(text))
    assert found == KeptText(len(text), len(text)) and found.is_source and not found.refused
    marks = tokenizer.byte_table
    assert marks.base[tokenizer.end_of_text] == 0 and not marks.rewrites and marks.unknown is None


@pytest.fixture
def pieces() -> tuple[ByteTable, dict[str, int]]:
    model = SentencePieceTokenizer(model_file((*FIRST, *BYTES, ("▁a", NORMAL), ("b", NORMAL)), normalizer={3: 0}))
    return model.byte_table, {piece: i for i, piece in enumerate(model.model.pieces)}


def test_spaces_in_three_bytes_and_unknown_tokens_are_counted(pieces):
    table, ids = pieces
    mark = [ids["<0xE2>"], ids["<0x96>"], ids["<0x81>"]]
    stream = np.array([1, ids["▁a"], *mark, ids["b"], *mark, *mark, ids["<unk>"], *mark[:2], ids["b"]])
    assert (table.n_space_marks(stream), table.n_unknown(stream)) == (3, 1)
    why = table.why_refused(stream)
    assert "3 spaces ' ' are spelt as the three bytes of U+2581" in why and "1 tokens are <unk>" in why
    assert table.why_refused(np.array([1, ids["▁a"], ids["b"]])) == ""


def test_a_text_that_decodes_to_more_bytes_is_refused():
    """½ is two bytes, 1⁄2 are five: nothing is lost, and the bytes are not those of the text."""
    found = KeptText(2, 5) + changes("½".encode(), "1⁄2".encode())
    assert found.lost == {} and "2 bytes of text decode to 5 (250.0 %)" in found.refused and "'⁄'" in found.refused
    assert not (found + KeptText(100, 90)).refused, "white space that went elsewhere makes up for it"


def test_sums_keep_the_counts_and_a_bounded_number_of_names():
    parts = [changes("".join(map(chr, range(0x4E00 + 40 * i, 0x4E00 + 40 * i + 60))).encode(), b"") for i in range(9)]
    found = sum(parts, KeptText())
    assert len(found.lost) == 64 and found.lost[chr(0x4E00 + 40)] == 2
    assert "and 59 others" in found.refused and KeptText(**found.plain()) == found
