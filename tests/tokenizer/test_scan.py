"""The scanner against the `regex` package (through reference.words) on all of Unicode and on malformed bytes."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from numba import njit
from tokenizer.texts import random_bytes, random_text

from weightless.tokenizer import reference, scan
from weightless.tokenizer.patterns import PATTERN_CODES, character_classes
from weightless.tokenizer.special import SpecialFinder
from weightless.tokenizer.word_counter import WordCounter, Words

PATTERNS = ["gpt2", "gpt4", "qwen2", "starcoder", "none"]


@njit
def word_end(text, i, end, classes, pattern):
    return scan.word_end(text, i, end, classes, pattern)


def scanned(text: bytes, pattern: str) -> list[bytes]:
    buffer, classes, at, out = np.frombuffer(text, np.uint8), character_classes(), 0, []
    while at < len(text):
        to = word_end(buffer, at, len(text), classes, scan.as_type(PATTERN_CODES[pattern]))
        out.append(text[at:to])
        at = to
    return out


def counted(words: Words) -> dict[bytes, int]:
    text, ends = words.text.tobytes(), words.offsets.tolist()
    return {text[a:b]: n for a, b, n in zip(ends, ends[1:], words.counts.tolist())}


def fast_counts(text: bytes, pattern: str) -> dict[bytes, int]:
    counter = WordCounter(PATTERN_CODES[pattern])
    counter.count(np.frombuffer(text, np.uint8), np.array([[0, len(text)]]))
    return counted(counter.words())


def in_contexts(codes) -> bytes:
    text = "".join(f"a{c}1{c}{c} {c}'{c}\n{c}  {c}'s{c}" for c in map(chr, codes))
    return text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_words_are_those_of_regex(pattern):
    rng = random.Random(pattern)
    for n in (1, 2, 3, 7, 63) * 60:
        text = random_text(rng, n).encode() if rng.random() < 0.5 else random_bytes(rng, n)
        assert scanned(text, pattern) == list(reference.words(text, pattern)), text


@pytest.mark.parametrize("pattern", PATTERNS[:4])
def test_where_classes_change_all_neighbours_agree(pattern):
    classes = character_classes()
    edges = np.nonzero(np.diff(classes))[0]
    codes = sorted({*edges.tolist(), *(edges + 1).tolist(), *range(0x300), *range(0xD7F0, 0xE010), 0x10FFFF})
    text = in_contexts(codes)
    assert fast_counts(text, pattern) == Counter(reference.words(text, pattern))


@pytest.mark.slow
@pytest.mark.parametrize("pattern", PATTERNS[:4])
def test_every_code_point(pattern):
    for begin in range(0, 0x110000, 0x11000):
        text = in_contexts(range(begin, begin + 0x11000))
        assert fast_counts(text, pattern) == Counter(reference.words(text, pattern))


def test_every_pair_of_bytes_and_what_follows():
    """All 65,536 pairs of bytes, cut off and continued: the decoder's every branch."""
    pairs = [bytes([a, b]) for a in range(0x7E, 256) for b in (*range(0, 0x7F, 9), *range(0x7F, 256))]
    text = b"a".join(pair + tail for pair in pairs for tail in (b"", b"\x80", b"\x80\x80", b"\xbf "))
    assert fast_counts(text, "gpt2") == Counter(reference.words(text, "gpt2"))


def test_known_words():
    assert scanned(b"I've  been\n\n here 42!", "gpt2") == [
        b"I",
        b"'ve",
        b" ",
        b" been",
        b"\n\n",
        b" here",
        b" 42",
        b"!",
    ]
    assert scanned(b"I'VE\n\n here 1234!\n", "gpt4") == [b"I", b"'VE", b"\n\n", b" here", b" ", b"123", b"4", b"!\n"]


def naive_specials(text: bytes, tokens: tuple[str, ...]) -> list[tuple[int, int]]:
    found, at = [], 0
    for piece, is_special in reference.split_special(text, tokens):
        if is_special:
            found.append((at, at + len(piece)))
        at += len(piece)
    return found


@pytest.mark.parametrize(
    "tokens",
    [("ab",), ("a", "ab", "abc"), ("aa", "a"), ("b", "abab", "c", "ca", "bc", "abc")],
)
def test_special_tokens_leftmost_and_longest(tokens):
    rng = random.Random(str(tokens))
    for n in (0, 1, 2, 5, 40, 400) * 10:
        text = bytes(rng.choices(b"abc", k=n))
        found = SpecialFinder(tokens).find(text)
        assert [tuple(row) for row in found[:, :2].tolist()] == naive_specials(text, tokens)


def test_many_special_tokens_outgrow_the_first_buffer():
    text = b"xy" * 5000
    assert len(SpecialFinder(["x", "y"]).find(text)) == 10_000


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_safe_cut_changes_no_word(pattern):
    """For every prefix: the words of the part before the cut and of the rest are the words of the whole."""
    rng = random.Random(pattern)
    tokens = ("<|endoftext|>", "<|end|>", "ab")
    finder, n_cuts = SpecialFinder(tokens), 0
    for _ in range(60):
        text = random_bytes(rng, 12, tokens) if rng.random() < 0.5 else random_text(rng, 12, tokens).encode()
        whole = pieces_of(text, tokens, pattern)
        for size in range(len(text)):
            cut, segments = finder.safe_cut(text[:size], PATTERN_CODES[pattern])
            assert 0 <= cut <= size
            assert segments.tolist() == finder.segments(text[:cut]).tolist()
            if cut:
                n_cuts += 1
                assert pieces_of(text[:cut], tokens, pattern) + pieces_of(text[cut:], tokens, pattern) == whole
    assert n_cuts > 300


def pieces_of(text: bytes, tokens: tuple[str, ...], pattern: str) -> list[bytes]:
    out = []
    for piece, is_special in reference.split_special(text, tokens):
        out += [piece] if is_special else list(reference.words(piece, pattern))
    return out
