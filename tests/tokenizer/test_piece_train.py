"""Training, encoding and writing of SentencePiece models without the package.  Oracle: the readable twin, and values
worked out by hand; tests/oracle/test_sentencepiece_training.py holds all of it to the package."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from tokenizer.piece_models import model_file
from tokenizer.texts import random_text

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.tokenizer import piece_reference
from weightless.tokenizer.piece_encode import PieceEncoder, long_word, short_word
from weightless.tokenizer.piece_file import parse_model
from weightless.tokenizer.piece_text import Normaliser, charsmap_of
from weightless.tokenizer.piece_train import PieceOptions, blocks, train_pieces
from weightless.tokenizer.scripts import ANY, COMMON, HAN, scripts_of
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

PLAIN = {"normalisation": "identity", "character_coverage": 1.0}
ALPHABETS = ["ab", "abcde", "aA1,é ", "あカ漢ー1a.", "abж\u0301,"]


def lines(rng: random.Random, alphabet: str, n: int) -> list[str]:
    return ["".join(rng.choices(alphabet + "  ", k=rng.randint(1, 40))) for _ in range(n)]


def words_of(text: list[str]) -> Counter[str]:
    """Words as the module says it, from lines whose surplus spaces are gone."""
    found: Counter[str] = Counter()
    for line in text:
        first, *rest = "\u2581".join(line.split()).split("\u2581")
        found.update([first, *("\u2581" + word for word in rest)])
    return found


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("split_digits", [True, False])
def test_pieces_are_those_of_the_twin(alphabet, split_digits):
    rng = random.Random(alphabet)
    for longest in (16, 3):
        text = lines(rng, alphabet, 63)
        options = PieceOptions(vocab_size=330, split_digits=split_digits, longest_piece=longest, **PLAIN)
        training = train_pieces(["\n".join(text).encode()], options)
        model = parse_model(training.content, "trained")
        made = list(model.pieces[260 : 260 + training.n_merges])
        characters = Counter("".join("\u2581".join(line.split()) for line in text))
        expected = sorted(characters, key=lambda c: (-characters[c], c))
        assert list(model.pieces[260 + training.n_merges :]) == expected and made
        room = 330 - 260 - len(expected)
        assert made == piece_reference.train(words_of(text), expected, room, longest, split_digits)
        assert model.scores[260:].tolist() == [-float(k) for k in range(len(model.pieces) - 260)]


def test_the_file_says_what_was_asked_for():
    options = PieceOptions(300, "identity", add_dummy_prefix=True, split_digits=False, byte_fallback=False)
    training = train_pieces([b"to be or not to be\n"], options)
    model = parse_model(training.content, "trained")
    assert model.pieces[:4] == ("<pad>", "<s>", "</s>", "<unk>") and not model.has_byte_fallback
    assert (model.pad_id, model.bos_id, model.eos_id, model.normalisation) == (0, 1, 2, "identity")
    assert model.adds_first_space and model.removes_spaces and not model.splits_digits
    assert training.vocab_size == len(model.pieces) < 300 and "\u2581be" in model.pieces


def test_rare_characters_get_no_piece_and_part_words():
    """100 letters and one ø: at 98 % the ø has no piece, and "a" and "b" around it never merge over it."""
    training = train_pieces([b"ab" * 50 + "ø".encode()], PieceOptions(300, "identity", character_coverage=0.98))
    assert training.n_characters == 2 and training.n_uncovered == 1 and training.n_all_characters == 101
    ids = SentencePieceTokenizer(training.content).encode("ø")
    assert ids == [4 + byte for byte in "ø".encode()]


def test_names_of_marks_and_lines_with_the_reserved_character_are_no_text():
    training = train_pieces(["a<s>b<0x41>c\nxy\u2585\n".encode()], PieceOptions(300, **PLAIN))
    model = parse_model(training.content, "trained")
    assert set(model.pieces[260:]) == {"a", "b", "c"} and training.n_left_out == 1


def test_how_a_text_comes_in_documents_does_not_matter():
    rng = random.Random(3)
    text = "\n".join(lines(rng, "abcd", 200)).encode()
    whole = train_pieces([text], PieceOptions(300, **PLAIN)).content
    assert whole == train_pieces(text.split(b"\n"), PieceOptions(300, **PLAIN)).content
    assert b"".join(blocks([text, b"", b"x\n"])) == text + b"\n\nx\n\n"


@pytest.mark.parametrize(
    "options, told",
    [
        ({"vocab_size": 260}, "between 261"),
        ({"character_coverage": 0.5}, "between 0.98 and 1"),
        ({"longest_piece": 0}, "longest_piece = 0"),
        ({"vocab_size": 265, "normalisation": "identity"}, "has no room for 260"),
        ({"normalisation": "nfck"}, "nfkc"),
    ],
)
def test_what_cannot_be_is_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        train_pieces([b"abcdefghij\n" * 9], PieceOptions(**options))
    with pytest.raises(ConfigError, match="no line"):
        train_pieces([b"\n\n"], PieceOptions(**PLAIN))


def test_encoding_is_that_of_the_twin_and_comes_back():
    rng = random.Random(5)
    options = PieceOptions(400, remove_extra_spaces=False, **PLAIN)
    content = train_pieces(["\n".join(lines(rng, "abcdeé", 150)).encode()], options).content
    tokenizer, model = SentencePieceTokenizer(content), parse_model(content, "trained")
    scores = dict(zip(model.pieces[260:], model.scores[260:].tolist()))
    assert not PieceEncoder.why_not(model)
    for n in (0, 1, 7, 63, 400):
        text = "".join(rng.choices("abcdeé  fж", k=n)) + random_text(rng, n // 9).replace("\u2581", "")
        expected = []
        for word in text.replace(" ", "\n\u2581").split("\n") if "\n" not in text else []:
            for piece in piece_reference.encode(word, scores):
                known = model.pieces.index(piece) if piece in scores else None
                expected += [known] if known is not None else [4 + byte for byte in piece.encode()]
        ids = tokenizer.encode(text)
        assert ids == expected or "\n" in text
        assert tokenizer.decode(ids) == text
        assert tokenizer.byte_table.total(ids) == len(text.encode())


def test_long_words_are_cut_as_short_ones():
    """One word of 400 characters, by a heap, by looking through, and by the twin."""
    rng = random.Random(8)
    model = parse_model(train_pieces([b"aab abba baab aaaa bbb" * 9], PieceOptions(290, **PLAIN)).content, "trained")
    scores = dict(zip(model.pieces[260:], model.scores[260:].tolist()))
    for n in (1, 2, 63, 400):
        word = "".join(rng.choices("aabbc", k=n))
        assert long_word(word, scores) == short_word(word, scores) == piece_reference.encode(word, scores)
    assert len(PieceEncoder(model).encode(b"a" * 100_000)) <= 50_000  # would take minutes if it were quadratic


def test_models_that_need_the_package_say_why():
    assert "user-defined or unused" in PieceEncoder.why_not(parse_model(model_file(), "made"))
    unigram = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
    assert "type unigram" in PieceEncoder.why_not(parse_model(model_file(unigram, {}), "made"))


@pytest.mark.parametrize(
    "adds, removes, text, expected",
    [
        (False, True, "  a  b ", "a▁b"),
        (True, True, "  a  b ", "▁a▁b"),
        (True, False, " a  b ", "▁▁a▁▁b▁"),
        (False, False, " a\tb ", "▁a\tb▁"),
        (True, True, "   ", ""),
        (True, True, "", ""),
    ],
)
def test_spaces(adds, removes, text, expected):
    found = Normaliser(b"", adds, removes)
    assert found.apply(text.encode()).decode() == expected
    assert found.apply_lines(f"{text}\n{text}".encode()).decode() == f"{expected}\n{expected}"


def one_key(key: str, replacement: str) -> bytes:
    """A table with one key of one byte, its double array written by hand: root, label, value."""
    units = np.zeros(512, dtype="<u4")
    units[0], units[1 ^ ord(key)] = 1 << 10, 256 << 10 | 1 << 8 | ord(key)
    return (2048).to_bytes(4, "little") + units.tobytes() + replacement.encode() + b"\0"


@pytest.mark.parametrize(
    "removes, text, expected",
    [(True, "axb", "a▁▁y▁b"), (True, "a xb", "a▁y▁b"), (True, "x b x", "y▁b▁y"), (False, " x", "▁▁▁y▁")],
)
def test_a_replacement_loses_its_first_spaces_behind_a_space(removes, text, expected):
    """By hand: x is written as two spaces, y, a space; its first spaces go behind a space or at the start of a text."""
    assert Normaliser(one_key("x", "  y "), False, removes).apply(text.encode()).decode() == expected


def test_bytes_that_are_no_text_become_the_replacement_character():
    assert Normaliser(b"", False, False).apply(b"a\xff\xc3b\xe2\x82").decode() == "a\ufffd\ufffdb\ufffd\ufffd"


def test_damaged_tables_are_refused_or_read_without_harm():
    """Nothing beyond the arrays is read: numba would not say so, a wrong text would."""
    for table in (b"\1", b"\5\0\0\0abcdefgh", b"\xff\xff\xff\x7f" + bytes(8)):
        with pytest.raises(CorruptFileError, match="normalisation table"):
            Normaliser(table, False, True).apply(b"abc")
    rng = np.random.default_rng(0)
    for _ in range(63):
        table = (64).to_bytes(4, "little") + rng.bytes(64 + int(rng.integers(1, 40)))
        Normaliser(table, True, True).apply(bytes(range(32, 127)))
    with pytest.raises(ConfigError, match="nfkc"):
        charsmap_of("nfkc", model_file(), "x.model")


def test_scripts():
    found = scripts_of("aé漢あカーж1,\u0301\u2581")
    assert found["a"] == found["é"] != found["ж"] > HAN
    assert {found[c] for c in "漢あカー"} == {HAN} and {found[c] for c in "1,"} == {COMMON}
    assert found["\u0301"] == found["\u2581"] == ANY
