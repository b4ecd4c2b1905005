"""Encoding against the readable twin on fuzzed text; decoding, streaming and threads against plain encoding."""

from __future__ import annotations

import pickle
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer.texts import SPECIALS, random_bytes, random_text

from weightless.base.errors import ConfigError
from weightless.tokenizer import Tokenizer, reference, streaming

PATTERNS = ["gpt2", "gpt4", "qwen2", "starcoder", "none"]


def trained(pattern: str, specials=tuple(SPECIALS), vocab_size: int = 700) -> Tokenizer:
    rng = random.Random(7)
    documents = [random_text(rng, 3000).encode(), b"don't the The 'll abcabc " * 50, random_bytes(rng, 500)]
    return Tokenizer.train(documents, vocab_size, specials, pattern=pattern)


@pytest.fixture(scope="module", params=PATTERNS)
def tokenizer(request) -> Tokenizer:
    return trained(request.param)


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return trained("gpt2")


def twin(tokenizer: Tokenizer, text: bytes, specials: bool = True) -> list[int]:
    names = tokenizer.special_tokens if specials else {}
    vocab = {i: t for i, t in tokenizer.vocab.items() if i not in set(tokenizer.special_tokens.values())}
    vocab |= {i: name.encode() for name, i in names.items()}
    return reference.encode(text, vocab, tokenizer.merges, names, tokenizer.pattern)


def test_ids_are_those_of_the_twin(tokenizer):
    rng = random.Random(11)
    specials = tuple(tokenizer.special_tokens)
    for n in (0, 1, 2, 5, 31, 127) * 12:
        text = random_text(rng, n, specials).encode() if rng.random() < 0.5 else random_bytes(rng, n, specials)
        ids = tokenizer.encode(text)
        assert ids == twin(tokenizer, text)
        assert tokenizer.encode_ordinary_array(text).tolist() == twin(tokenizer, text, specials=False)
        assert tokenizer.decode_bytes(ids) == text


def test_long_words_take_the_heap(plain):
    """Words around the 15 bytes of the cache, the 48 of the short merge, and far beyond."""
    rng = random.Random(3)
    for length in [*range(1, 60), 300, 1023]:
        for letters in (b"ab", b"thed", b"x"):
            word = bytes(rng.choices(letters, k=length))
            assert plain.encode(word) == twin(plain, word)


def test_a_megabyte_without_a_boundary_is_not_quadratic():
    tokenizer = trained("none")
    text = bytes(random.Random(1).choices(b"ab \n", k=1_000_000))
    tokenizer.encode(text[:100])
    began = time.perf_counter()
    ids = tokenizer.encode(text)
    assert time.perf_counter() - began < 10  # quadratic would take minutes
    assert tokenizer.decode_bytes(ids) == text


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_come_back(plain, content):
    assert plain.decode_bytes(plain.encode(content)) == content


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back(plain, text):
    assert plain.decode(plain.encode(text)) == text
    assert plain.encode(text) == plain.encode(text.encode())


def test_lone_surrogates_are_replaced_and_pairs_joined(plain):
    assert plain.decode(plain.encode("a\ud800b")) == "a\ufffdb"
    assert plain.decode(plain.encode("\ud83d\ude00")) == "\U0001f600"


def test_special_tokens_longest_first(plain):
    ids = plain.special_tokens
    double = ids["<|endoftext|><|endoftext|>"]
    assert plain.encode("<|endoftext|>" * 3) == [double, ids["<|endoftext|>"]]
    assert plain.encode("a<|end|>text") == [97, ids["<|end|>"], ids["text"]]
    assert plain.end_of_text == ids["<|endoftext|>"]
    assert plain.decode([plain.end_of_text]) == "<|endoftext|>"


def test_arrays_and_types(plain):
    small = plain.encode_array("hello")
    assert small.dtype == np.uint16 and small.tolist() == plain.encode("hello")
    assert plain.encode("") == [] and plain.encode_array(b"").dtype == np.uint16
    vocab = plain.vocab
    vocab.update({i: b"<%d>" % i for i in range(len(vocab), 70_000)})
    large = Tokenizer(vocab, plain.merges, plain.special_tokens)
    assert large.encode_array("hello").dtype == np.uint32
    assert large.encode("hello") == plain.encode("hello")
    with pytest.raises(ConfigError, match="str or bytes"):
        plain.encode(3)  # type: ignore[arg-type]


def test_output_longer_than_one_buffer(plain):
    rng = np.random.default_rng(0)
    text = rng.integers(0, 256, size=700_000, dtype=np.uint8).tobytes()
    ids = plain.encode_array(text)
    assert plain.decode_bytes(ids) == text
    assert ids.size > 2 << 18


def test_decode_refuses_unknown_ids(plain):
    for ids in ([plain.vocab_size], [-1], [0, 1.5], np.array([3, -2])):
        with pytest.raises(ConfigError, match="no token id"):
            plain.decode(ids)
    assert plain.decode([]) == "" and plain.decode_bytes(np.array([104, 105])) == b"hi"


@pytest.mark.parametrize("pending", [1, 7, 64])
def test_encode_iterable_equals_encode(tokenizer, monkeypatch, pending):
    monkeypatch.setattr(streaming, "PENDING_BYTES", pending)
    rng = random.Random(pending)
    specials = tuple(tokenizer.special_tokens)
    for _ in range(25):
        text = random_text(rng, 60, specials)
        cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randrange(20)))
        chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)])]
        assert list(tokenizer.encode_iterable(chunks)) == tokenizer.encode(text)
        content = random_bytes(rng, 60, specials)
        assert list(tokenizer.encode_iterable(bytes([b]) for b in content)) == tokenizer.encode(content)
    assert list(tokenizer.encode_iterable(["a\n", "\n b"])) == tokenizer.encode("a\n\n b")
    assert list(tokenizer.encode_iterable(["\ud83d", "\ude00", b"x"])) == tokenizer.encode("\U0001f600x")
    assert list(tokenizer.encode_iterable([])) == []


def test_encode_iterable_holds_little():
    """2 MB in pieces of 1 kB: never more than a few times PENDING_BYTES wait."""
    tokenizer = trained("gpt2")
    taken = 0

    def chunks():
        nonlocal taken
        for _ in range(2000):
            taken += 1000
            yield "The lower the newest. " * 45 + " " * 10

    given_out, most_waiting = 0, 0
    for i in tokenizer.encode_iterable(chunks()):
        given_out += len(tokenizer.token_bytes[i])
        most_waiting = max(most_waiting, taken - given_out)
    assert most_waiting < 3 * streaming.PENDING_BYTES


def test_copies_for_other_processes(plain):
    plain.encode("made ready")
    other = pickle.loads(pickle.dumps(plain))
    assert other.sha256 == plain.sha256 and other.encode("don't <|end|>") == plain.encode("don't <|end|>")


def test_batches_on_threads(plain):
    rng = random.Random(9)
    texts = [random_text(rng, 200, tuple(SPECIALS)) for _ in range(40)]
    expected = [plain.encode(text) for text in texts]
    for n_workers in (1, 4):
        assert [ids.tolist() for ids in plain.encode_batch(texts, n_workers)] == expected
    with pytest.raises(ConfigError, match="n_workers"):
        plain.encode_batch(texts, 0)


def test_stream_decoder_never_emits_half_a_character(plain):
    rng = random.Random(13)
    for _ in range(40):
        text = random_text(rng, 40)
        decoder = plain.stream_decoder()
        parts = [decoder.push(i) for i in plain.encode(text)]
        assert "".join(parts) + decoder.finish() == text
        at = 0
        for part in parts:
            assert text.startswith(part, at)
            at += len(part)
    bytes_as_ids = list("h\u00e9\u65e5\U0001f600".encode())
    decoder = plain.stream_decoder()
    assert [decoder.push(i) for i in bytes_as_ids] == ["h", "", "\u00e9", "", "", "\u65e5", "", "", "", "\U0001f600"]
    assert decoder.push(0xE2) == "" and decoder.finish() == "\ufffd" and decoder.push(65) == "A"
    with pytest.raises(ConfigError, match="no token id"):
        decoder.push(plain.vocab_size)


def test_stream_decoder_equals_decode_on_malformed_bytes(plain):
    rng = random.Random(17)
    for _ in range(40):
        ids = plain.encode(random_bytes(rng, 30))
        decoder = plain.stream_decoder()
        assert "".join(map(decoder.push, ids)) + decoder.finish() == plain.decode(ids)


def test_vocabularies_in_any_order_of_ids():
    base = trained("gpt2", ("<|endoftext|>",), 400)
    order = list(range(base.vocab_size))
    random.Random(2).shuffle(order)
    shuffled = Tokenizer({order[i]: t for i, t in base.vocab.items()}, base.merges, ["<|endoftext|>"])
    text = "don't the The<|endoftext|> abc 'll"
    assert shuffled.encode(text) == [order[i] for i in base.encode(text)]
    assert shuffled.decode(shuffled.encode(text)) == text


def test_special_tokens_missing_are_added_behind(plain):
    tokenizer = Tokenizer(dict(enumerate(bytes([b]) for b in range(256))), [], ["<s>", "a"])
    assert tokenizer.special_tokens == {"<s>": 256, "a": 257}
    assert tokenizer.encode("<s>ab") == [256, 257, 98]
    assert tokenizer.encode_ordinary_array("a").tolist() == [97]
    assert Tokenizer(plain.vocab, plain.merges, ["<|endoftext|>"]).end_of_text == plain.end_of_text
    none = Tokenizer(dict(enumerate(bytes([b]) for b in range(256))), [])
    assert none.end_of_text is None and none.encode("<|endoftext|>") == list(b"<|endoftext|>")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v, m: v.pop(5), "without gaps"),
        (lambda v, m: v.update({5: b"zz"}), "lacks 1 of the 256 single bytes"),
        (lambda v, m: v.update({len(v): v[300]}), "as token 300"),
        (lambda v, m: v.update({len(v): b""}), "empty"),
        (lambda v, m: m.append((b"qqq", b"a")), "made by no earlier merge"),
        (lambda v, m: m.append((b"\x01", b"\x02")), "not in the vocabulary"),
        (lambda v, m: m.reverse(), "made by no earlier merge"),
    ],
)
def test_vocabularies_that_contradict_themselves(change, message):
    base = trained("gpt2", (), 400)
    vocab, merges = base.vocab, list(base.merges)
    change(vocab, merges)
    with pytest.raises(ConfigError, match=message):
        Tokenizer(vocab, merges)


def test_special_ids_that_are_other_tokens(plain):
    with pytest.raises(ConfigError, match="another token"):
        Tokenizer(plain.vocab, plain.merges, {"<|endoftext|>": 3})
