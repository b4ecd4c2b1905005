"""Where a text is cut.  Oracle: the same text whole, split by one regular expression; concatenation gives it back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.data.text.documents import (
    BOM,
    LONGEST_LINE,
    count_marks,
    lines_of,
    split_at_marks,
    split_into_sections,
)

MARK = b"<|endoftext|>"
PIECES = [
    MARK,
    MARK,
    b"\n",
    b"\r\n",
    b"\r",
    b" ",
    b"\t ",
    b"a",
    "中".encode(),
    b"<|endof",
    b"<",
    b"text|>",
    b"xyz " * 9,
]

texts = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
"""A mark is a run of <|endoftext|> at the start or end of a line; white space and the end of its line go with it."""
WHOLE = re.compile(
    rb"(?:(?<=[\r\n])|\A)(?:<\|endoftext\|>)+(?:[ \t\f\v]*(?:\r\n|\r|\n|\Z))?"
    rb"|(?:<\|endoftext\|>)+[ \t\f\v]*(?:\r\n|\r|\n|\Z)"
)


def blocks(text: bytes, size: int) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def split_whole(text: bytes) -> list[bytes]:
    """Without blocks: the marks of the whole text, and what lies between them."""
    bounds = [0]
    for found in WHOLE.finditer(text):
        before = text[: found.start()]
        if not before.endswith(MARK):  # the rest of a run whose beginning is text
            bounds += [found.start(), found.end()]
    bounds.append(len(text))
    between = [text[start:end] for start, end in zip(bounds[::2], bounds[1::2])]
    return [document for document in between if document.strip()]


@given(texts, st.integers(1, 50))
def test_marks_are_found_wherever_blocks_end(text, size):
    found = list(split_at_marks(blocks(text, size)))
    assert found == split_whole(text) == list(split_at_marks([text]))
    n_marks, n_within = count_marks(blocks(text, size))
    assert (n_marks, n_within) == count_marks([text])
    assert bool(n_marks) == bool(WHOLE.search(text)) and n_within == sum(part.count(MARK) for part in found)


@pytest.mark.parametrize("length", [31_000, 31_986, 31_987, 31_988, 31_995, 31_999, 32_000, 40_000, 70_001])
@pytest.mark.parametrize("letter", [b"a", "中".encode(), b"ab "])
def test_a_mark_behind_a_long_line_is_a_mark(length, letter):
    line = letter * (length // len(letter))
    text = b"first\n" + MARK + b"\n" + (line + MARK + b"\n") * 3 + b"last\n"
    for size in (1 << 18, 32_000, 4_099):
        assert list(split_at_marks(blocks(text, size))) == [b"first\n", line, line, line, b"last\n"]


def test_a_mark_within_a_long_line_is_text_wherever_it_stands():
    """Also where a piece of the line would begin or end with it."""
    for before in (31_986, 31_987, 32_000, 32_001):
        text = b"x" * (before - 1) + b" " + MARK + b" y" * 20_000
        assert list(split_at_marks([text])) == [text]
        assert count_marks(blocks(text, 32_000)) == (0, 1)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(1, 60), st.sampled_from([b"a", b"aa ", "é".encode()]), st.integers(1, 7))
def test_no_long_line_is_cut_within_a_string_that_stays_whole(shift, every, filler, size):
    """LONGEST_LINE is met from all sides; tokens may hold spaces, and may overlap with themselves."""
    whole = [MARK, b"<| two words |>", b"zz"]
    text = filler * shift + (b"".join(whole) + filler * every + b"zzz") * (90_000 // (every * len(filler) + 33))
    pieces = list(lines_of(blocks(text, size * 5_000), whole))
    assert b"".join(pieces) == text and max(map(len, pieces)) <= LONGEST_LINE
    assert all(piece.decode() for piece in pieces)
    pattern = re.compile(b"|".join(map(re.escape, sorted(whole, key=len, reverse=True))))
    assert sum(len(pattern.findall(piece)) for piece in pieces) == len(pattern.findall(text))


@given(st.integers(0, 30), st.sampled_from([b"\n\n", b"\n\n\n", b"a\nb", b"\nx"]), st.integers(1, 40))
def test_no_section_ends_within_a_string_that_stays_whole(shift, token, target):
    text = b"word\n" * shift + (b"some words\n" * 2 + token + b"a\n\n") * 30 + b"end"
    sections = list(split_into_sections(lines_of([text], [token]), target, [token]))
    assert b"".join(sections) == text
    assert sum(section.count(token) for section in sections) == text.count(token)


def test_marks_of_files_put_together_with_byte_order_marks_make_no_document():
    text = b"one\n" + MARK + b"\n" + BOM + MARK + b"\ntwo\n" + MARK + b"\n" + BOM + b"\n"
    assert list(split_at_marks([text])) == [b"one\n", b"two\n"]
