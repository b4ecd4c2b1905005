"""Oracles: rows and masks written out by hand; a loop over rows for what `kept` computes flat."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.data.imports.row_masks import kept, polarity


def flat(*rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i for row in rows for i in row], np.int64), np.cumsum([len(row) for row in rows])


def decided(name, rows, masks, means="auto"):
    ids, ends = flat(*rows)
    return polarity(name, means, ids, flat(*masks)[0], ends, "here")


@pytest.mark.parametrize(
    "rows, masks, text",
    [
        ([[5, 6, 0, 0]], [[1, 1, 0, 0]], 1),  # padding repeats one id
        ([[5, 6, 0, 0]], [[0, 0, 1, 1]], 0),
        ([[0, 0, 5, 6]], [[0, 0, 1, 1]], 1),  # padded on the left
        ([[0, 0, 5, 6]], [[1, 1, 0, 0]], 0),
        ([[5, 6, 7]], [[1, 1, 1]], 1),  # nothing is padded
        ([[5, 6, 7]], [[0, 0, 0]], 0),
        ([[9, 9, 9], [5, 6, 9]], [[0, 0, 0], [1, 1, 0]], None),  # one padding id alone shows nothing
        ([[9, 9, 9], [5, 6, 9, 9]], [[0, 0, 0], [1, 1, 0, 0]], 1),  # a row of nothing but padding has no vote
        ([[5, 6, 7], [5, 0, 0]], [[0, 0, 0], [1, 0, 0]], 1),  # rows with both values outweigh the others
        ([[7, 7, 0, 0]], [[1, 1, 0, 0]], None),  # both runs repeat
        ([[5, 6, 0, 0], [5, 6, 0, 0]], [[1, 1, 0, 0], [0, 0, 1, 1]], None),
        ([[]], [[]], None),
    ],
)
def test_what_a_one_means_is_read_off_the_rows(rows, masks, text):
    if text is None:
        with pytest.raises(ConfigError, match="say --mask_means keep or --mask_means pad"):
            decided("pad_mask", rows, masks)
    else:
        assert decided("pad_mask", rows, masks) == text


def test_the_other_masks_have_one_meaning_and_the_user_overrules():
    rows, masks = [[5, 6, 0, 0]], [[0, 0, 1, 1]]
    assert decided("attention_mask", rows, masks) == decided("loss_mask", rows, masks) == 1
    assert decided("pad_mask", rows, masks, "keep") == 1 and decided("attention_mask", rows, masks, "pad") == 0


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=8), st.integers(0, 1)
)
def test_kept_is_what_a_loop_over_rows_keeps(shapes, text):
    rows = [[text] * n + [1 - text] * p if right else [1 - text] * p + [text] * n for n, p, right in shapes]
    mask, ends = flat(*rows)
    assert kept("pad_mask", mask, ends, text, "here").tolist() == [value == text for row in rows for value in row]


@pytest.mark.parametrize("row", [[1, 0, 1], [0, 1, 0], [1, 1, 0, 0, 1, 1]])
def test_holes_are_refused_with_their_row(row):
    mask, ends = flat([1, 1], [], row)
    with pytest.raises(CorruptFileError, match="here, row 12: pad_mask hides positions"):
        kept("pad_mask", mask, ends, 1, "here", 10)


def test_a_loss_mask_may_only_end_early():
    mask, ends = flat([1, 1, 0], [0, 1])
    with pytest.raises(CorruptFileError, match="row 1: loss_mask hides"):
        kept("loss_mask", mask, ends, 1, "here")
    assert kept("loss_mask", mask[:3], ends[:1], 1, "here").tolist() == [True, True, False]


def test_other_values_are_refused():
    mask, ends = flat([1, 1], [1, 2])
    with pytest.raises(CorruptFileError, match="row 1: pad_mask holds 2; a mask is made of 0 and 1"):
        kept("pad_mask", mask, ends, 1, "here")
