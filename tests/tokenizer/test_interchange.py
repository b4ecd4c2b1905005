"""Files of other programs: what is exported comes back, and what cannot be represented or is damaged is refused."""

from __future__ import annotations

import base64
import json

import pytest
from tokenizer.test_bpe import trained

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.tokenizer import Tokenizer, interchange
from weightless.tokenizer.patterns import PATTERNS, byte_characters, to_visible


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return trained("gpt2", ("<|endoftext|>", "<|end|>"), 500)


def same(a: Tokenizer, b: Tokenizer) -> bool:
    return a.vocab == b.vocab and a.merges == b.merges and a.special_tokens == b.special_tokens


def test_gpt2_files_come_back(tokenizer, tmp_path):
    interchange.save_gpt2(tokenizer, tmp_path / "vocab.json", tmp_path / "merges.txt")
    again = interchange.load_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt", ["<|endoftext|>", "<|end|>"])
    assert same(again, tokenizer)


def test_merges_that_begin_with_a_hash_survive(tmp_path):
    merges = [(b"#", b"#"), (b"##", b"##"), (b"#", b"version"[:1])]
    tokens = [bytes([b]) for b in range(256)] + [a + b for a, b in merges]
    (tmp_path / "v").write_text(json.dumps({to_visible(token): i for i, token in enumerate(tokens)}))
    lines = "".join(f"{to_visible(a)} {to_visible(b)}\n" for a, b in merges)
    for head in ("", "#version: 0.2\n"):
        (tmp_path / "m").write_text(head + lines)
        assert interchange.load_gpt2(tmp_path / "v", tmp_path / "m").merges == tuple(merges)


def test_tiktoken_ranks_come_back(tokenizer, tmp_path):
    interchange.save_tiktoken(tokenizer, tmp_path / "ranks")
    again = interchange.load_tiktoken(tmp_path / "ranks", tokenizer.special_tokens)
    assert same(again, tokenizer)
    assert same(interchange.load_tiktoken(tmp_path / "ranks", ["<|endoftext|>", "<|end|>"]), tokenizer)


def test_ranks_out_of_order_cannot_be_exported(tokenizer, tmp_path):
    vocab = tokenizer.vocab
    vocab[300], vocab[301] = vocab[301], vocab[300]
    with pytest.raises(ConfigError, match="order of the merges"):
        interchange.save_tiktoken(Tokenizer(vocab, tokenizer.merges), tmp_path / "ranks")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_tokenizer_json_comes_back(pattern, tmp_path):
    tokenizer = trained(pattern, ("<|endoftext|>", "a b"), 400)
    interchange.save_hf(tokenizer, tmp_path / "tokenizer.json")
    again = interchange.load_hf(tmp_path / "tokenizer.json")
    assert same(again, tokenizer) and again.pattern == pattern


def test_special_token_that_spells_like_another(tokenizer, tmp_path):
    clash = Tokenizer(tokenizer.vocab, tokenizer.merges, ["a"])
    with pytest.raises(ConfigError, match="both written 'a'"):
        interchange.to_hf(clash)
    with pytest.raises(ConfigError, match="both written 'a'"):
        interchange.save_gpt2(clash, tmp_path / "v", tmp_path / "m")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda v: v["model"].update(type="WordPiece"), ConfigError, "WordPiece"),
        (lambda v: v["model"].update(dropout=0.1), ConfigError, "dropout"),
        (lambda v: v["model"].update(byte_fallback=True), ConfigError, "byte_fallback"),
        (lambda v: v.update(normalizer={"type": "NFKC"}), ConfigError, "normalizer .NFKC. changes"),
        (lambda v: v.update(decoder={"type": "Metaspace"}), ConfigError, "decoder .Metaspace."),
        (lambda v: v.update(post_processor={"type": "TemplateProcessing"}), ConfigError, "post-processor"),
        (lambda v: v.update(post_processor=7), ConfigError, "post-processor"),
        (lambda v: v.update(pre_tokenizer={"type": "Whitespace"}), ConfigError, "pre-tokenizer"),
        (lambda v: v["pre_tokenizer"].update(add_prefix_space=True), ConfigError, "pre-tokenizer"),
        (lambda v: v["added_tokens"][0].update(lstrip=True), ConfigError, "lstrip"),
        (lambda v: v["added_tokens"][0].update(id="x"), CorruptFileError, "added token"),
        (lambda v: v["model"]["merges"].append("abc"), CorruptFileError, "damaged"),
        (lambda v: v["model"]["vocab"].update({" ": 9}), CorruptFileError, "damaged"),
        (lambda v: v["model"].update(vocab=[1]), CorruptFileError, "damaged"),
        (lambda v: v.pop("model"), CorruptFileError, "no 'model'"),
    ],
)
def test_tokenizer_json_that_is_not_ours(tokenizer, change, error, message):
    values = interchange.to_hf(tokenizer)
    change(values)
    with pytest.raises(error, match=message):
        interchange.from_hf(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"YQ==", "base64"),
        (b"YQ== x", "base64"),
        (b"YQ== -1", "base64"),
        (b"!! 1", "base64"),
        (b"YQ== 0\nYQ== 1", "base64"),
        (b"YQ== 0\nYg== 0", "one rank"),
        (b"YQ== 0", "single byte"),
        (b"\xff", "UTF-8"),
    ],
)
def test_damaged_rank_files(tmp_path, content, message):
    (tmp_path / "ranks").write_bytes(content)
    with pytest.raises(CorruptFileError, match=message):
        interchange.load_tiktoken(tmp_path / "ranks")


def test_rank_of_a_token_that_no_merge_makes(tmp_path):
    lines = [f"{base64.b64encode(bytes([b])).decode()} {b}" for b in range(256)] + ["YWJj 256"]
    (tmp_path / "ranks").write_text("\n".join(lines))
    with pytest.raises(CorruptFileError, match="not made by merging"):
        interchange.load_tiktoken(tmp_path / "ranks")


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        ("[]", "", "JSON object"),
        ("{", "", "valid JSON"),
        ('{"a": 0, "b": 0}', "", "another's"),
        ('{"a": true}', "", "no id"),
        ('{"\u65e5": 0}', "", "stand-ins"),
        ("BYTES", "a", "two tokens"),
        ("BYTES", "a  b", "stand-ins"),
        ("BYTES", "a b", "not in the vocabulary"),
    ],
)
def test_damaged_gpt2_files(tmp_path, vocab, merges, message):
    if vocab == "BYTES":
        vocab = json.dumps({character: i for i, character in enumerate(byte_characters())})
    (tmp_path / "v").write_text(vocab)
    (tmp_path / "m").write_text(merges)
    with pytest.raises(CorruptFileError, match=message):
        interchange.load_gpt2(tmp_path / "v", tmp_path / "m")


def test_missing_files(tmp_path):
    with pytest.raises(WeightlessError, match="absent"):
        interchange.load_gpt2(tmp_path / "absent", tmp_path / "absent")
    with pytest.raises(WeightlessError, match="absent"):
        interchange.load_tiktoken(tmp_path / "absent")
