"""The tokenizer file: what is written comes back; what strangers write is refused in one line."""

from __future__ import annotations

import json
import random

import pytest
from tokenizer.test_bpe import trained

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.tokenizer import Tokenizer, storage


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return trained("gpt4", ("<|endoftext|>", "\u00e9 \u65e5"), 400)


def resealed(values: dict) -> str:
    """The file with a hash that matches, so that the other checks are reached."""
    values = {key: value for key, value in values.items() if key != "sha256"}
    return json.dumps({"sha256": storage.content_sha256(values), **values})


@pytest.mark.parametrize("shuffle", [False, True])
def test_round_trip(tokenizer, tmp_path, shuffle):
    if shuffle:  # ids out of the standard order are written in full
        order = list(range(tokenizer.vocab_size))
        random.Random(1).shuffle(order)
        vocab = {order[i]: token for i, token in tokenizer.vocab.items()}
        tokenizer = Tokenizer(vocab, tokenizer.merges, list(tokenizer.special_tokens), "gpt4")
    tokenizer.save(tmp_path / "t.json")
    again = Tokenizer.load(tmp_path / "t.json")
    assert again.vocab == tokenizer.vocab and again.merges == tokenizer.merges
    assert again.special_tokens == tokenizer.special_tokens and again.pattern == "gpt4"
    assert again.sha256 == tokenizer.sha256 and again.to_json() == tokenizer.to_json()
    assert json.loads(tokenizer.to_json())["sha256"] == tokenizer.sha256
    assert (json.loads(tokenizer.to_json())["tokens"] is None) != shuffle


def test_file_is_readable(tokenizer):
    merges = [f"{a.decode()} {b.decode()}" for a, b in tokenizer.merges if (a + b).isalpha() and (a + b).isascii()]
    assert f'\n"{merges[0]}",\n' in tokenizer.to_json()


def test_hash_depends_on_everything(tokenizer):
    vocab, merges, specials = tokenizer.vocab, tokenizer.merges, list(tokenizer.special_tokens)
    others = [
        Tokenizer(vocab, merges, specials, "gpt2"),
        Tokenizer(vocab, merges, specials[:1], "gpt4"),
        Tokenizer(vocab, merges[:-1], specials, "gpt4"),
        Tokenizer({**vocab, len(vocab): b"qqqqq"}, merges, specials, "gpt4"),
    ]
    assert len({tokenizer.sha256, *(other.sha256 for other in others)}) == 5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "not 'weightless-tokenizer'"),
        ("version", 2, "version 2"),
        ("rules", {"normaliser": "nfc"}, "version 1, not .* version 2"),
        ("pattern", "gpt9", "unknown pattern"),
        ("pattern", ["gpt2"], "unknown pattern"),
        ("vocab_size", 401, "there are 400 tokens"),
        ("vocab_size", 400.0, "there are 400 tokens"),
        ("merges", {"a": "b"}, "should be a list"),
        ("merges", ["ab"], "two tokens"),
        ("merges", [["a", "b"]], "two tokens"),
        ("merges", ["a \n"], "stand-ins"),
        ("merges", ["a b", "abc d"], "."),
        ("tokens", ["a"], "there are 1 tokens"),
        ("tokens", ["a", 7], "stand-ins"),
        ("special_tokens", ["a"], "map strings to ids"),
        ("special_tokens", {"a": True}, "map strings to ids"),
        ("special_tokens", {"a": 398, "b": 398}, "one id"),
        ("special_tokens", {"\ud800": 399}, "surrogate"),
        ("special_tokens", {"<|endoftext|>": 10**9, "x": 399}, "another token or none"),
    ],
)
def test_damage_with_a_matching_hash(tokenizer, key, value, message):
    with pytest.raises(CorruptFileError, match=message):
        Tokenizer.from_json(resealed({**json.loads(tokenizer.to_json()), key: value}))


def test_any_change_breaks_the_hash(tokenizer):
    values = json.loads(tokenizer.to_json())
    values["merges"][5], values["merges"][6] = values["merges"][6], values["merges"][5]
    with pytest.raises(CorruptFileError, match="does not match its sha256"):
        Tokenizer.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", "{}", "[" * 100_000, b"\xff\xfe\x00", '{"format": 1, "format": 2}', "NaN"]
)
def test_not_a_tokenizer(text):
    with pytest.raises(CorruptFileError, match="here"):
        Tokenizer.from_json(text, "here")


def test_truncation_at_any_place(tokenizer):
    text = tokenizer.to_json()
    for size in range(0, len(text) - 2, 97):
        with pytest.raises(CorruptFileError):
            Tokenizer.from_json(text[:size])


def test_missing_file(tmp_path):
    with pytest.raises(WeightlessError, match="absent"):
        Tokenizer.load(tmp_path / "absent.json")
