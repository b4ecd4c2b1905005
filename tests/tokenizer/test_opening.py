"""Formats told by content, and conversions.  Oracle: the tokenizer that was written, by its content hash."""

from __future__ import annotations

import itertools

import pytest
from tokenizer.piece_models import model_file
from tokenizer.test_bpe import trained

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.tokenizer import Tokenizer, interchange
from weightless.tokenizer.opening import WRITABLE, convert, format_of, not_held, open_tokenizer, target_format, write

EOT = "<|endoftext|>"
NAMES = {"weightless": "own.json", "huggingface": "tokenizer.json", "tiktoken": "x.tiktoken", "gpt2": "pair"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return trained("gpt2", (EOT,), 400)


@pytest.mark.parametrize(("a", "b"), list(itertools.product(WRITABLE, WRITABLE)))
def test_every_format_into_every_other(tokenizer, tmp_path, a, b):
    write(tokenizer, tmp_path / NAMES[a], a)
    assert format_of(tmp_path / NAMES[a]) == a
    (tmp_path / "out").mkdir()
    made, to = convert(tmp_path / NAMES[a], tmp_path / "out" / NAMES[b], b)
    assert to == b and made.sha256 == tokenizer.sha256
    assert open_tokenizer(tmp_path / "out" / NAMES[b]).sha256 == tokenizer.sha256


@pytest.mark.parametrize("pattern", ["gpt4", "none"])
def test_pattern_and_special_tokens_are_the_callers_where_files_lack_them(tmp_path, pattern):
    tokenizer = trained(pattern, ("<|end|>", EOT), 300)
    for to in ("tiktoken", "gpt2"):
        write(tokenizer, tmp_path / NAMES[to], to)
        again = open_tokenizer(tmp_path / NAMES[to], ["<|end|>", EOT], pattern)
        assert again.sha256 == tokenizer.sha256
        assert convert(tmp_path / NAMES[to], tmp_path / "o.json", "", ["<|end|>", EOT], pattern)[0].pattern == pattern


def test_folders(tokenizer, tmp_path):
    for name, to in (("a", "weightless"), ("b", "huggingface")):
        write(tokenizer, tmp_path / name / "tokenizer.json", to)
        assert open_tokenizer(tmp_path / name).sha256 == tokenizer.sha256
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "tokenizer.model").write_bytes(model_file())
    assert open_tokenizer(tmp_path / "c").end_of_text == 1
    interchange.save_gpt2(tokenizer, tmp_path / "d" / "my_vocab.json", tmp_path / "d" / "my_merges.txt")
    for name in ("d", "d/my_vocab.json", "d/my_merges.txt"):
        assert open_tokenizer(tmp_path / name).sha256 == tokenizer.sha256


def test_names_suggest_formats(tmp_path):
    assert target_format("x.json", "weightless") == "huggingface" and target_format("x.json", "gpt2") == "weightless"
    assert target_format("x.tiktoken", "gpt2") == "tiktoken" and target_format(tmp_path, "gpt2") == "gpt2"
    assert target_format("folder/", "weightless") == target_format("pair", "weightless") == "gpt2"
    for name in ("x.bin", "vocab.json"):
        with pytest.raises(ConfigError, match="--to"):
            target_format(name, "gpt2")


def test_what_a_format_does_not_say(tokenizer):
    assert not_held(tokenizer, "weightless") == not_held(tokenizer, "huggingface") == ""
    assert "pattern (gpt2)" in not_held(tokenizer, "gpt2") and '"<|endoftext|>": 399' in not_held(tokenizer, "tiktoken")


def test_sentencepiece_is_opened_and_not_converted(tmp_path):
    (tmp_path / "x.model").write_bytes(model_file())
    assert open_tokenizer(tmp_path / "x.model").vocab_size == 266
    with pytest.raises(ConfigError, match="SentencePiece model .bpe, normalisation nmt_nfkc. .* not converted"):
        convert(tmp_path / "x.model", tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_a_failed_conversion_leaves_the_target(tokenizer, tmp_path):
    vocab = tokenizer.vocab
    vocab[300], vocab[301] = vocab[301], vocab[300]
    Tokenizer(vocab, tokenizer.merges, [EOT]).save(tmp_path / "odd.json")
    (tmp_path / "x.tiktoken").write_text("precious")
    with pytest.raises(ConfigError, match="order of the merges"):
        convert(tmp_path / "odd.json", tmp_path / "x.tiktoken")
    assert (tmp_path / "x.tiktoken").read_text() == "precious"
    with pytest.raises(ConfigError, match="want a folder"):
        convert(tmp_path / "odd.json", tmp_path / "x.tiktoken", "gpt2")
    with pytest.raises(ConfigError, match="did you mean 'tiktoken'"):
        convert(tmp_path / "odd.json", tmp_path / "y", "tiktokens")
    with pytest.raises(ConfigError, match="make no SentencePiece model"):
        convert(tmp_path / "odd.json", tmp_path / "y", "sentencepiece")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("x", b"", CorruptFileError),
        ("x", b"\x00\x01\x02", CorruptFileError),
        ("x", b"hello there\n", CorruptFileError),
        ("x.json", b"{", CorruptFileError),
        ("x.json", b"{}", CorruptFileError),
        ("x.json", b'{"a": "b"}', CorruptFileError),
        ("x.json", b'{"a": 1}', WeightlessError),
        ("merges.txt", b"#version: 0.2\na b\n", WeightlessError),
    ],
)
def test_what_is_no_tokenizer(tmp_path, name, content, error):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error) as caught:
        open_tokenizer(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_and_empty_and_ambiguous(tmp_path):
    with pytest.raises(WeightlessError, match="cannot read"):
        open_tokenizer(tmp_path / "absent")
    with pytest.raises(WeightlessError, match="no tokenizer"):
        open_tokenizer(tmp_path)
    for name in ("a_vocab.json", "b_vocab.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(WeightlessError, match="several files"):
        open_tokenizer(tmp_path)
