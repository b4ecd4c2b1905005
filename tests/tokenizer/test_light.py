"""The paths without compiled code against the kernels and against the readable twin: equal merges, equal ids."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer.texts import SPECIALS as NAMES
from tokenizer.texts import random_bytes, random_text

from weightless.base.errors import ConfigError, WeightlessError
from weightless.tokenizer import Tokenizer, bpe, bpe_train, light_encode, reference, train_bpe
from weightless.tokenizer.inputs import documents, held_if_small
from weightless.tokenizer.rules import Rules

EOT = "<|endoftext|>"
SPECIALS = tuple(NAMES)
PATTERNS = ["gpt2", "gpt4", "qwen2", "starcoder", "none"]
PIECES = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from([b"\x00\x00\x00", b"aaaaaaa", b"abababab", b"  \r\n", b" the", b"12345", EOT.encode(), b"'s"]),
    st.lists(st.sampled_from([b"a", b"b", b"\x00"]), max_size=30).map(b"".join),
)
DOCUMENTS = st.lists(st.lists(PIECES, max_size=8).map(b"".join), max_size=4)


def on_path(light: bool, documents, *arguments, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_train, "LIGHT_BYTES", 1 << 20 if light else -1)
        if light:  # as in a process that has not loaded any kernels
            bpe_train.load_kernels.cache_clear()
            patch.setattr(bpe_train, "_compiled", None)
        return train_bpe(documents, *arguments, **options)


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, st.sampled_from(PATTERNS), st.sampled_from(["greatest", "hf"]))
def test_any_text_gives_the_merges_of_the_twin(documents, pattern, ties):
    expected = reference.train(documents, 257 + 25, (EOT,), pattern, ties)
    assert on_path(True, documents, 257 + 25, (EOT,), pattern=pattern, ties=ties) == expected


@settings(max_examples=25, deadline=None)
@given(DOCUMENTS, st.sampled_from(PATTERNS), st.sampled_from(["greatest", "hf"]))
def test_any_text_gives_the_merges_of_the_kernels(documents, pattern, ties):
    options = {"pattern": pattern, "ties": ties}
    expected = on_path(False, documents, 600, SPECIALS, **options)
    assert on_path(True, documents, 600, SPECIALS, **options) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("ties", ["greatest", "hf"])
def test_merges_to_the_last_pair(pattern, ties):
    """Thousands of merges, most of them ties of a few occurrences, down to the last pair of the text."""
    rng = random.Random(pattern + ties)
    documents = [random_text(rng, 900, SPECIALS).encode(), random_bytes(rng, 300), bytes(rng.choices(b"ab ", k=900))]
    options = {"pattern": pattern, "ties": ties}
    expected = on_path(False, documents, 20_000, SPECIALS, **options)
    assert on_path(True, documents, 20_000, SPECIALS, **options) == expected
    assert len(expected[1]) > 1000


@pytest.mark.parametrize("n_bytes", [999, 1000, 1001])
def test_both_sides_of_the_limit_give_one_vocabulary(monkeypatch, n_bytes):
    monkeypatch.setattr(bpe_train, "LIGHT_BYTES", 1000)
    bpe_train.load_kernels.cache_clear()
    taken, compiled = [], bpe_train._compiled
    monkeypatch.setattr(bpe_train, "_compiled", lambda *given: taken.append(1) or compiled(*given))
    text = random_text(random.Random(n_bytes), 500).encode()[:n_bytes]
    assert train_bpe([text[:400], text[400:]], 400) == reference.train([text[:400], text[400:]], 400)
    assert bool(taken) == (n_bytes > 1000)


def test_many_distinct_words_go_to_the_kernels(monkeypatch):
    monkeypatch.setattr(bpe_train, "LIGHT_BYTES", 1000)
    monkeypatch.setattr(bpe_train, "LIGHT_WORD_BYTES", 99)
    monkeypatch.setattr(bpe_train, "light_merges", None)
    bpe_train.load_kernels.cache_clear()
    text = bytes(range(100))
    assert train_bpe(iter([text]), 300, pattern="none") == reference.train([text], 300, pattern="none")


def test_what_was_looked_at_is_not_lost(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"x" * 10)
    parts = [b"ab", b"", path, b"cd"]
    assert held_if_small(parts, 14) == ([b"ab", b"", b"x" * 10, b"cd"],) * 2
    for limit in (0, 1, 2, 11, 12, 13):
        held, again = held_if_small(iter(parts), limit)
        assert held is None and list(documents(again)) == parts
        assert held_if_small(parts, limit) == (None, parts)
    assert held_if_small(str(path), 9) == (None, str(path))
    with pytest.raises(ConfigError, match="encode str"):
        held_if_small([b"a", 5], 9)
    with pytest.raises(WeightlessError, match="no such file"):
        held_if_small(tmp_path / "missing", 9)


@pytest.fixture(scope="module", params=[*PATTERNS, "rules"])
def two(request) -> tuple[Tokenizer, light_encode.LightEncoder]:
    pattern = "gpt2" if request.param == "rules" else request.param
    rng = random.Random(7)
    documents = [random_text(rng, 3000).encode(), b"don't the The 'll abcabc " * 50, random_bytes(rng, 500)]
    vocab, merges = on_path(True, documents, 700, SPECIALS, pattern=pattern)
    rules = Rules(normaliser="nfc", whole_words=True, text_tokens=(" the",)) if request.param == "rules" else Rules()
    tokenizer = Tokenizer(vocab, merges, SPECIALS, pattern, rules)
    return tokenizer, tokenizer._light


def test_ids_are_those_of_the_kernels(two):
    tokenizer, light = two
    rng = random.Random(11)
    for n in (0, 1, 2, 5, 31, 127) * 12:
        text = random_text(rng, n, SPECIALS).encode() if rng.random() < 0.5 else random_bytes(rng, n, SPECIALS)
        for with_special in (True, False):
            expected = tokenizer._encoder.encode(text, with_special)
            found = light.encode(text, with_special)
            assert found.dtype == expected.dtype and found.tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(b"ab"), max_size=80).map(bytes))
def test_long_words_are_merged_leftmost_first(word):
    ranks = {(b"a", b"b"): 0, (b"b", b"a"): 1, (b"ab", b"ab"): 2, (b"a", b"a"): 3, (b"abab", b"ab"): 4}
    assert light_encode.merged(word, ranks) == reference.encode_word(word, ranks)


def test_a_tokenizer_goes_over_to_the_kernels(monkeypatch):
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [])
    monkeypatch.setattr(bpe, "LIGHT_BYTES", 100)
    monkeypatch.setattr(tokenizer._light, "_left", 250)
    monkeypatch.delitem(sys.modules, "weightless.tokenizer.encoder", raising=False)
    taken = [tokenizer._takes_light(n) for n in (100, 101, 100, 50, 1)]
    assert taken == [True, False, True, True, False]


PROGRAM = """
import json, sys
from weightless.cli.main import main
codes = [main(["tokenizer", "train", "text", "--vocab_size", "300"])]
codes += [main(["tokenizer", "encode", "tokenizer.json", "a text"])]
from weightless.tokenizer import Tokenizer
tokenizer = Tokenizer.load("tokenizer.json")
assert list(tokenizer.encode_iterable(["a te", "xt"])) == tokenizer.encode("a text")
assert [ids.tolist() for ids in tokenizer.encode_batch(["a", "b"], 2)] == [tokenizer.encode("a"), tokenizer.encode("b")]
heavy = {name.split(".")[0] for name in sys.modules} & {"torch", "numba", "llvmlite", "scipy"}
print(json.dumps([codes, sorted(heavy)]))
"""


def test_a_short_text_needs_no_compiler(tmp_path):
    (tmp_path / "text").write_text("a text of some words, and of some more words\n" * 50)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0], []]


def test_both_ways_to_count_see_the_same_words(two):
    pattern = two[0].pattern
    texts = [random_bytes(random.Random(3), 400, SPECIALS) for _ in range(3)]
    found = bpe_train.count_words(chain(texts), SPECIALS, pattern)
    assert found == reference.count_words(texts, SPECIALS, pattern)
