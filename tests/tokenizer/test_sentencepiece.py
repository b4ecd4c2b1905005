"""The reader of .model files and the byte table, on files built by hand (oracle: the values they were built from).

tests/oracle/test_sentencepiece.py holds both to the packages sentencepiece and protobuf.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
from tokenizer.piece_models import BYTE, BYTES, FIRST, NORMAL, SOME, message, model_file, piece, varint

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.tokenizer.protobuf import fields, signed
from weightless.tokenizer.sentencepiece import ByteTable, SentencePieceTokenizer, byte_table, read_model, table_of

A, THE, BARE, CHINESE, SPACES, UNUSED_ONE = 261, 262, 260, 263, 264, 265


def read(content: bytes, tmp_path):
    (tmp_path / "x.model").write_bytes(content)
    return read_model(tmp_path / "x.model")


@pytest.fixture
def table(tmp_path) -> ByteTable:
    (tmp_path / "x.model").write_bytes(model_file())
    return byte_table(tmp_path / "x.model")


def test_content_comes_back(tmp_path):
    model = read(model_file(), tmp_path)
    assert list(zip(model.pieces, model.types.tolist())) == [*FIRST, *BYTES, *SOME]
    assert set(model.scores.tolist()) == {-1.0}
    assert (model.model_type, model.normalisation, model.has_byte_fallback) == ("bpe", "nmt_nfkc", True)
    assert (model.bos_id, model.eos_id, model.pad_id) == (1, 2, 0)
    assert model.adds_first_space and model.removes_spaces and model.escapes_spaces


def test_flags_that_are_absent_have_the_defaults_of_the_format(tmp_path):
    model = read(model_file([("<unk>", 2), ("<s>", 3), ("</s>", 3)], {}), tmp_path)
    assert (model.bos_id, model.eos_id, model.pad_id, model.model_type) == (1, 2, None, "unigram")


def test_no_beginning_of_text_is_minus_one_in_ten_bytes(tmp_path):
    assert len(varint(-1)) == 10
    model = read(model_file(trainer={35: 1, 41: -1, 42: 2}), tmp_path)
    assert (model.bos_id, model.eos_id) == (None, 2)


def test_fields_of_later_versions_are_passed_over(tmp_path):
    extra = message(77, b"later") + varint(78 << 3) + varint(5) + varint(79 << 3 | 1) + bytes(8)
    assert read(extra + model_file() + extra, tmp_path).pieces == read(model_file(), tmp_path).pieces


def test_bytes_of_each_kind_of_piece(table):
    assert table.base[:4].tolist() == [0, 0, 0, 0] and table.boundary[:4].all()
    assert table.base[4:260].tolist() == [1] * 256 and not table.leading_space[:260].any()
    assert table.base[[BARE, A, THE, CHINESE]].tolist() == [0, 1, 3, 6]
    assert table.base[SPACES] == 4  # two inner spaces, x, y; the first space stands apart
    assert table.base[UNUSED_ONE] == 0 and table.boundary[UNUSED_ONE]
    assert np.flatnonzero(table.leading_space).tolist() == [BARE, THE, SPACES]


def test_space_counts_only_within_a_text(table):
    before = np.array([A, 1, 2, 3, UNUSED_ONE, -1, 4, BARE])
    assert table.bytes_of(before, np.full(8, THE)).tolist() == [4, 3, 3, 3, 3, 3, 4, 4]
    assert table.bytes_of(before, np.full(8, BARE)).tolist() == [1, 0, 0, 0, 0, 0, 1, 1]
    assert table.bytes_of([1, THE], [THE, 1]).tolist() == [3, 0]


def test_nul_byte_counts_one(table):
    assert table.bytes_of([1], [4]).tolist() == [1]


def test_stream_of_two_documents(table):
    """Both texts lose their first space: the + a, the + 日本."""
    assert table.total([1, THE, A, 1, THE, CHINESE]) == 3 + 1 + 3 + 6
    assert table.total([THE]) == 3 and table.total([THE], previous=A) == 4 and table.total([]) == 0


def test_decoder_that_keeps_the_first_space(tmp_path):
    (tmp_path / "x.model").write_bytes(model_file(normalizer={3: 0, 4: 0}))
    table = byte_table(tmp_path / "x.model")
    assert table.keeps_first_space and table.bytes_of([1, -1], [THE, BARE]).tolist() == [4, 1]


@pytest.mark.parametrize(
    ("before", "after"), [([1], [1, 2]), ([266], [1]), ([1], [-1]), ([-2], [1]), ([1], [266]), ([1.0], [2.0])]
)
def test_ids_that_are_none(table, before, after):
    with pytest.raises(ConfigError):
        table.bytes_of(before, after)


def test_spaces_behind_words_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="treat_whitespace_as_suffix"):
        table_of(read(model_file(trainer={24: 1, 35: 1}), tmp_path))


def changed(pieces) -> bytes:
    return model_file([*FIRST, *BYTES, *pieces])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no pieces"),
        (b"\x08", "does not end"),
        (b"\x08" + b"\xff" * 11, "does not end"),
        (varint(1 << 3) + b"\xff" * 9 + b"\x02", "64 bits"),
        (b"\x02\x00", "field number 0"),
        (b"\x0b", "unknown kind 3"),
        (b"\x0f", "unknown kind 7"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "are left"),
        (b"\x0d\x00\x00", "are left"),
        (b"\x08\x01", "kind 0"),
        (message(1, b"\x08\x01"), "its text is of kind 0"),
        (changed([(b"\xff", NORMAL)]), "not UTF-8"),
        (changed([("", NORMAL)]), "no piece"),
        (changed([("x", 7)]), "no piece"),
        (changed([("x", NORMAL), ("x", NORMAL)]), "listed twice"),
        (changed([("x", 2)]), "2 unknown"),
        (changed([("y", BYTE)]), "has the type of bytes"),
        (changed([("<0x0g>", BYTE)]), "has the type of bytes"),
        (model_file([*FIRST, *BYTES[1:]]), "255 byte pieces"),
        (model_file(trainer={}), "byte_fallback is off"),
        (model_file(trainer={3: 9, 35: 1}), "model_type 9"),
        (model_file() + piece("z", NORMAL, float("nan")), "no piece"),
        (b"{}", "kind 3"),
    ],
)
def test_damage_is_named(tmp_path, content, what):
    with pytest.raises(CorruptFileError, match=what) as caught:
        read(content, tmp_path)
    assert "x.model" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(WeightlessError, match="cannot read"):
        read_model(tmp_path / "absent.model")


def test_damaged_files_are_refused_or_still_make_sense():
    """Cut short, bytes changed, stretches doubled or removed: nothing but CorruptFileError may come out."""
    rng, whole = random.Random(5), model_file()
    refused = 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            at, n = rng.randrange(len(content)), rng.choice((1, 1, 4, 40))
            kind = rng.randrange(4)
            if kind == 0:
                content[at] = rng.choice((0, 255, 128, rng.randrange(256)))
            elif kind == 1:
                del content[at:]
            elif kind == 2:
                del content[at : at + n]
            else:
                content[at:at] = content[at : at + n]
            content = content or bytearray(b"\n")
        try:
            made = SentencePieceTokenizer(bytes(content))
            table = made.byte_table
        except (CorruptFileError, ConfigError):
            refused += 1
            continue
        assert made.vocab_size == len(made.token_bytes) == len(table.base)
        assert table.base.min() >= 0 and table.base[table.boundary].sum() == 0
    assert 300 < refused < 600


def test_a_stated_length_allocates_nothing():
    """A field that claims 2^62 bytes is refused by comparison, not by trying."""
    with pytest.raises(CorruptFileError, match="4,611,686,018,427,387,904 bytes"):
        list(fields(varint(1 << 3 | 2) + varint(1 << 62) + b"x", "x"))


def test_negative_numbers():
    assert [signed(v) for v in (0, 5, 2**31 - 1, 2**31, 2**64 - 1, 2**32 - 1)] == [0, 5, 2**31 - 1, -(2**31), -1, -1]


def test_tokenizer_says_what_it_is_without_the_package(tmp_path):
    (tmp_path / "x.model").write_bytes(model_file())
    made = SentencePieceTokenizer.load(tmp_path / "x.model")
    assert made.end_of_text == 1 and made.dtype == np.uint16
    assert made.token_bytes[4] == b"\0" and made.token_bytes[THE] == b" the" and made.token_bytes[1] == b"<s>"
    made.save(tmp_path / "y.model")
    assert (tmp_path / "y.model").read_bytes() == model_file()
    without = SentencePieceTokenizer(model_file(trainer={35: 1, 41: -1, 42: -1}))
    assert without.end_of_text is None and without.sha256 != made.sha256
