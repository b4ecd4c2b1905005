"""Measurements of tokenizers.  Oracles: counts by hand, brute-force thinning, vocabularies trained one by one."""

from __future__ import annotations

import random
import struct
from xml.etree import ElementTree

import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.data.text import fables
from weightless.lab.report.vocabulary import headline, vocabulary_png, vocabulary_svg
from weightless.lab.tokenizer_study import compare, measure, readable, sample_of
from weightless.lab.tokenizer_sweep import checked_sizes, smaller, sweep
from weightless.tokenizer import Tokenizer, train_bpe

BYTES = {i: bytes([i]) for i in range(256)}


def documents(n_bytes: int = 30_000, seed: int = 3) -> list[bytes]:
    return list(fables.documents(seed=seed, n_bytes=n_bytes))


def test_counts_by_hand():
    """ "aab aab aa": tokens aa|b| |aa|b| |aa of one merge (a, a): seven, four of them single bytes."""
    tokenizer = Tokenizer(BYTES | {256: b"aa"}, [(b"a", b"a")])
    found = measure(tokenizer, sample_of([b"aab aab aa"], 100))
    assert (found.n_bytes, found.n_tokens, found.n_words, found.n_single_bytes, found.n_used) == (10, 7, 3, 4, 3)
    assert found.bytes_per_token == pytest.approx(10 / 7) and found.tokens_per_word == pytest.approx(7 / 3)
    assert found.longest == (b"aa", b" ", b"b") and found.decoded_share == 1
    assert found.single_byte_share == pytest.approx(4 / 7) and found.seconds >= 0


def test_byte_tokenizer_has_one_byte_per_token():
    cell = measure(Tokenizer(BYTES, []), sample_of(documents(), 10**6))
    assert cell.bytes_per_token == 1 and cell.single_byte_share == 1


def test_small_corpora_are_taken_whole():
    texts = documents()
    sample = sample_of([b"", *texts, b""], 10**6)
    assert sample.documents == tuple(texts) and sample.n_bytes == sample.corpus_bytes == sum(map(len, texts))
    assert sample.n_words == sum(len(text.split()) for text in texts)


@pytest.mark.parametrize("seed", range(8))
def test_thinning_keeps_every_stepth_document(seed):
    """Oracle: the largest set of every 2^k-th document that fits."""
    rng = random.Random(seed)
    texts = [bytes([rng.randrange(97, 120)]) * rng.randrange(1, 60) for _ in range(rng.randrange(1, 300))]
    most = rng.randrange(60, 900)
    kept = sample_of([b"", *texts], most).documents
    steps = [1 << k for k in range(10) if sum(map(len, texts[:: 1 << k])) <= most]
    assert kept == tuple(texts[:: steps[0]])


def test_a_long_document_is_cut_between_characters():
    for most in range(1, 9):
        (document,) = sample_of(["日é🙂a".encode() * 3], most).documents
        assert len(document) <= most and (most < 4 or document.decode())


def test_no_text():
    with pytest.raises(WeightlessError, match="empty holds no text"):
        sample_of([b""], 10, "empty")


def test_compare_is_the_product():
    tokenizers = {"bytes": Tokenizer(BYTES, []), "bpe": Tokenizer.train(documents(), 300)}
    samples = {"a": sample_of(documents(), 1000), "b": sample_of([b"xyz"], 1000)}
    cells = compare(tokenizers, samples)
    assert [(c.tokenizer, c.corpus) for c in cells] == [("bytes", "a"), ("bytes", "b"), ("bpe", "a"), ("bpe", "b")]
    assert cells[2].bytes_per_token > cells[0].bytes_per_token == 1
    assert "longest" in cells[0].as_json() and cells[0].as_json()["bytes_per_token"] == 1


def test_readable_hides_nothing():
    assert readable(b"a b\n\x00\xe2\x82") == "a b\\n\\x00<E2><82>" and readable("é日".encode()) == "é日"


@pytest.mark.parametrize("ties", ["greatest", "hf"])
@pytest.mark.parametrize("special", [(), ("<|endoftext|>", "<|end|>")])
def test_prefixes_are_the_vocabularies_trained_alone(ties, special):
    """The claim of the module, to the byte: tied counts abound in so small a text."""
    texts = documents(9_000)
    sizes = [256 + len(special), 300, 301, 417]
    found = sweep(texts, sizes, {"train": sample_of(texts, 10**6)}, special, ties=ties)
    for size in sizes:
        alone = Tokenizer(*train_bpe(texts, size, special, ties=ties), special)
        assert found.tokenizers[size].sha256 == alone.sha256
        assert found.rows[size]["train"].n_tokens == sum(len(alone.encode_ordinary_array(text)) for text in texts)


def test_sizes_are_checked():
    assert checked_sizes([512, 256, 512], ()) == [256, 512]
    for sizes, special in (([256], ("<|endoftext|>",)), ([255], ()), ([1 << 30], ()), ([], ())):
        with pytest.raises(ConfigError):
            checked_sizes(sizes, special)
    with pytest.raises(ConfigError, match="256 is too small: 256 bytes and 1 special"):
        checked_sizes([256], ("<|endoftext|>",))


def test_text_without_pairs_left():
    found = sweep([b"abab"], [256, 257, 300, 400], {"train": sample_of([b"abab"], 10)})
    assert found.sizes == [256, 257, 258] and found.exhausted == 258
    assert found.series("train") == [(256, 1.0), (257, 2.0), (258, 4.0)]
    with pytest.raises(ConfigError, match="there are 2"):
        smaller(found.tokenizers[258], 259)


SERIES = {"train": [(256, 1.0), (1024, 2.5), (4096, 3.0)], "held-out <x>": [(256, 1.0), (1024, 2.0), (4096, 2.1)]}


def test_picture_is_svg_and_png(tmp_path):
    vocabulary_svg(SERIES, tmp_path / "s.svg", "told & shown")
    root = ElementTree.parse(tmp_path / "s.svg").getroot()
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert {"train", "held-out <x>", "256", "1,024", "4,096", "2.10", "told & shown"} <= set(words)
    assert sum(element.tag.endswith("circle") for element in root.iter()) == 6
    vocabulary_png(SERIES, tmp_path / "s.png")
    content = (tmp_path / "s.png").read_bytes()
    assert content.startswith(b"\x89PNG") and struct.unpack(">II", content[16:24]) == (1600, 900)


def test_headline_says_first_and_last_step():
    assert headline(SERIES) == (
        "1,024 tokens instead of 256 make a token 100 % longer; 4,096 instead of 1,024, 5.0 % "
        "(bytes per token, held-out <x>)"
    )


def test_one_size_is_no_picture(tmp_path):
    with pytest.raises(WeightlessError, match="two sizes"):
        vocabulary_svg({"train": [(256, 1.0)]}, tmp_path / "s.svg")
