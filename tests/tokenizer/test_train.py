"""Training against the readable twin (merges equal, in order), for any cutting, any workers, any pattern."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tokenizer.test_scan import counted
from tokenizer.texts import random_bytes, random_text

from weightless.base.errors import ConfigError, WeightlessError
from weightless.tokenizer import bpe_train, reference, train_bpe, word_counter
from weightless.tokenizer.memory import SMALL, fresh, release_compiler
from weightless.tokenizer.word_counter import count_inputs

EOT = "<|endoftext|>"
WORDS = "the of and to in that he was it his is with as had for not her at on she be which low lower lowest new".split()


def prose(seed: int, n: int) -> bytes:
    rng = random.Random(seed)
    words = rng.choices(WORDS, weights=range(len(WORDS), 0, -1), k=n)
    return "".join(rng.choice((" ", " ", " ", ", ", ".\n", f" {EOT} ")) + word for word in words).encode()


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "none"])
@pytest.mark.parametrize("ties", ["greatest", "hf"])
def test_merges_are_those_of_the_twin(pattern, ties):
    rng = random.Random(pattern + ties)
    for documents in (
        [prose(1, 300)],
        [random_text(rng, 150, (EOT,)).encode(), b"", random_bytes(rng, 150, (EOT,))],
        [b"aaaaaaaaaaa aaaa aaaaaaa", b"ababababab abab", bytes(rng.choices(b"ab", k=300))],
        [bytes(rng.choices(b"abc ", k=500))],
    ):
        expected = reference.train(documents, 257 + 70, (EOT,), pattern, ties)
        assert train_bpe(documents, 257 + 70, (EOT,), pattern=pattern, ties=ties, n_workers=1) == expected


def test_ties_between_tokens_alike_in_their_first_eight_bytes():
    """Zeros at the end (the prefix is padded with zeros), and differences only behind the eighth byte."""
    rng = random.Random(8)
    zeros = [bytes(rng.choices(b"\x00\x00\x01", k=rng.randrange(1, 9))) for _ in range(150)]
    tails = [b"abcdefgh" + bytes(rng.choices(b"xyz", k=6)) for _ in range(60)]
    for words in (zeros, tails, [tail[::-1] + tail for tail in tails]):
        documents = [b"<s>".join(words)]
        expected = reference.train(documents, 257 + 120, ["<s>"], "none")
        assert train_bpe(documents, 257 + 120, ["<s>"], pattern="none") == expected


def test_special_tokens_are_hard_boundaries_longest_first():
    specials = (EOT, EOT + EOT, "low", "lower")
    documents = [prose(2, 200) + (EOT * 3).encode()]
    vocab, merges = train_bpe(documents, 330, specials)
    assert (vocab, merges) == reference.train(documents, 330, specials)
    assert list(vocab.values())[-4:] == [token.encode() for token in specials]
    assert not any(b"low" in a + b for a, b in merges)


def test_known_example():
    """The example of Sennrich et al.: 5 low, 2 lower, 6 newest, 3 widest; ties to the greatest pair."""
    text = b" ".join([b"low"] * 5 + [b"lower"] * 2 + [b"widest"] * 3 + [b"newest"] * 6)
    text = b"<s>".join(text.split(b" "))
    _, merges = train_bpe([text], 256 + 1 + 6, ["<s>"])
    assert merges == [(b"s", b"t"), (b"e", b"st"), (b"o", b"w"), (b"l", b"ow"), (b"w", b"est"), (b"n", b"e")]


def test_stops_when_no_pair_is_left():
    vocab, merges = train_bpe([b"ab ab"], 1000)
    assert merges == [(b"a", b"b"), (b" ", b"ab")]
    assert len(vocab) == 259
    assert train_bpe([], 300) == train_bpe([b""], 300) == reference.train([], 257)


@pytest.mark.parametrize("n_workers", [1, 2, 5])
@pytest.mark.parametrize("block", [64, 1000])
def test_blocks_and_workers_change_nothing(tmp_path, monkeypatch, n_workers, block):
    rng = random.Random(block)
    content = prose(3, 3000) + random_bytes(rng, 500, (EOT,)) + b"7" * 3 * block + prose(4, 300)
    expected = train_bpe([content], 400, n_workers=1)
    path = tmp_path / "text"
    path.write_bytes(content)
    monkeypatch.setattr(word_counter, "BLOCK_BYTES", block)
    assert train_bpe(path, 400, n_workers=n_workers) == expected
    assert train_bpe(content, 400, n_workers=n_workers) == expected
    for pattern, code in (("gpt2", 0), ("gpt4", 1), ("none", 2)):
        found = counted(count_inputs(str(path), [EOT], code, n_workers))
        assert found == reference.count_words([content], [EOT], pattern)


def test_each_document_is_a_boundary_and_files_are_bytes(tmp_path):
    parts = [b"one\r\ntwo", b" three\r", b"\nfour\xff", b"\xc3", b"\xa9"]
    paths = []
    for i, part in enumerate(parts):
        (tmp_path / str(i)).write_bytes(part)
        paths.append(tmp_path / str(i))
    expected = reference.count_words(parts, [EOT], "gpt2")
    assert counted(count_inputs(paths, [EOT], 0, 2)) == expected
    assert counted(count_inputs(iter(parts), [EOT], 0, 2)) == expected


def test_table_of_many_and_long_words():
    """Growth of slots, arena and spans; words of 1 to 400 bytes, met again after growth."""
    rng = np.random.default_rng(5)
    words = [bytes(rng.integers(97, 123, size=1 + i % 400, dtype=np.uint8)) for i in range(60_000)]
    text = b" ".join(words + words[::3])
    assert counted(count_inputs([text], [], 0, 2)) == Counter(reference.words(text, "gpt2"))


def test_small_corpus_is_trained_in_half_a_second():
    """130 kB at vocabulary 500, once compiled; the gate of the design is 0.5 s, here with room for a busy machine."""
    documents = [prose(6, 26_000)]
    train_bpe(documents, 500)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        train_bpe(documents, 500)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 256}, "between 257"),
        ({"vocab_size": 1 << 22}, "between 257"),
        ({"vocab_size": "300"}, "whole number"),
        ({"pattern": "gpt3"}, "did you mean"),
        ({"ties": "least"}, "ties"),
        ({"special_tokens": "<|endoftext|>"}, "list of strings"),
        ({"special_tokens": ["a", "a"]}, "repeated"),
        ({"special_tokens": [""]}, "non-empty"),
        ({"special_tokens": ["\ud800"]}, "surrogate"),
        ({"n_workers": 0}, "at least 1"),
        ({"inputs": [b"text", 3]}, "paths or bytes"),
        ({"inputs": 7}, "paths or an iterable"),
    ],
)
def test_settings_that_cannot_be(arguments, message):
    with pytest.raises(ConfigError, match=message):
        train_bpe(**{"inputs": [b"text"], "vocab_size": 300, **arguments})


def test_missing_file_is_named(tmp_path):
    with pytest.raises(WeightlessError, match="absent"):
        train_bpe(Path(tmp_path / "absent"), 300)


def words_of(documents: list[bytes]):
    return count_inputs(documents, [EOT], 0, 1)


@pytest.mark.slow  # five seconds of a core
def test_counts_beyond_31_bits_merge_alike():
    """Scaling all counts changes no order; above 2^31 another kind of array holds them."""
    words = words_of([prose(5, 3000)])
    expected = bpe_train.merge_words(bpe_train.lay_out(words), 120, "greatest")
    large = word_counter.Words(words.text, words.offsets, words.counts << 31)
    layout = bpe_train.lay_out(large)
    assert layout[2].dtype == np.int64 and bpe_train.lay_out(words)[2].dtype == np.int32
    assert np.array_equal(bpe_train.merge_words(layout, 120, "greatest"), expected)


@pytest.mark.parametrize("ties", ["greatest", "hf"])
def test_little_room_for_pairs_changes_nothing(monkeypatch, ties):
    """Arrays of pairs and their hash table that must grow again and again."""
    documents = [prose(6, 800), random_text(random.Random(6), 200).encode()]
    expected = reference.train(documents, 257 + 90, (EOT,), "gpt2", ties)
    monkeypatch.setattr(bpe_train, "PAIRS_AT_FIRST", 1)
    monkeypatch.setattr(bpe_train, "SLOT_BITS", 1)
    assert train_bpe(documents, 257 + 90, (EOT,), ties=ties, n_workers=1) == expected


def test_fresh_memory_is_zero_and_writable():
    for n in (0, 1, 63, SMALL, 3 * SMALL + 1):
        for kind in (np.uint8, np.int64):
            array = fresh(n, kind)
            assert array.dtype == kind and array.shape == (n,) and not array.any() and array.flags.writeable
            array[:] = 7
            assert array.sum() == 7 * n


def test_compiling_goes_on_after_its_code_was_handed_back():
    """The pages come back by themselves: kernels run, and new ones compile."""
    numba = pytest.importorskip("numba")
    before = train_bpe([prose(7, 50)], 270, n_workers=1)
    assert release_compiler() > 0 or not sys.platform.startswith("linux")
    assert numba.njit(lambda x: 3 * x + 1)(7) == 22
    assert train_bpe([prose(7, 50)], 270, n_workers=1) == before


@pytest.mark.parametrize(("asked", "used"), [(None, 1), (1, 1), (3, 3)])
def test_words_are_counted_on_one_thread_unless_more_are_asked_for(monkeypatch, asked, used):
    """The default is never slower than one thread, because it is one; the merges are the same for any number."""
    from weightless.tokenizer import bpe_train, word_counter

    bpe_train.load_kernels()
    seen, count = [], word_counter.count_inputs

    def counted(inputs, specials, pattern, n_workers, tick=None):
        seen.append(n_workers)
        return count(inputs, specials, pattern, n_workers, tick)

    monkeypatch.setattr(word_counter, "count_inputs", counted)
    text = [b"one two one two three"]
    assert bpe_train.train_bpe(text, 260, n_workers=asked) == bpe_train.train_bpe(text, 260, n_workers=2)
    assert seen == [used, 2]
