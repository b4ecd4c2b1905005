"""Oracles: best-fit decreasing one item at a time; a reader that walks the stream document by document."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.data.batches.loader import Batches
from weightless.data.batches.packing import (
    IGNORED,
    DocumentWindows,
    StreamWindows,
    best_fit_decreasing,
    document_starts,
)
from weightless.data.shards.shards import TokenView

EOT = 7


def stream(lengths: list[int], seed: int = 0) -> np.ndarray:
    """<|endoftext|> and then tokens other than it, for every document."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(8, 60_000, sum(lengths)).astype(np.uint16)
    tokens[np.cumsum([0, *lengths[:-1]])] = EOT
    return tokens


def packed(lengths: list[int], context: int, **more) -> DocumentWindows:
    tokens = stream(lengths)
    return DocumentWindows(tokens, context, EOT, document_starts(tokens, EOT), with_documents=True, **more)


def one_by_one(lengths: np.ndarray, capacity: int) -> list[int]:
    """Rooms left by best-fit decreasing."""
    rooms: list[int] = []
    for length in sorted(lengths.tolist(), reverse=True):
        best = min(((room, i) for i, room in enumerate(rooms) if room >= length), default=(0, len(rooms)))[1]
        rooms += [capacity] * (best == len(rooms))
        rooms[best] -= length
    return sorted(rooms)


@given(st.integers(1, 40), st.data())
def test_packing_equals_best_fit_decreasing_one_by_one(capacity, data):
    lengths = np.array(data.draw(st.lists(st.integers(1, capacity), min_size=1, max_size=80)))
    bins = best_fit_decreasing(lengths, capacity)
    filled = np.bincount(bins, weights=lengths)
    assert sorted((capacity - filled).astype(int).tolist()) == one_by_one(lengths, capacity)
    assert len(np.unique(bins)) == len(filled) and filled.max() <= capacity


def test_a_million_pieces_are_packed_tightly():
    """Recorded: lognormal lengths leave 0.05 % of the positions empty."""
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.lognormal(5.5, 1, 1_000_000).astype(int) + 1, 512)
    filled = np.bincount(best_fit_decreasing(lengths, 512), weights=lengths)
    assert filled.max() <= 512 and 1 - filled.sum() / (512 * len(filled)) < 0.001


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 16), st.booleans())
def test_every_token_is_an_input_once_with_its_successor_as_target(lengths, context, scored):
    tokens = stream(lengths)
    scores = np.arange(len(lengths)) % 3.0 if scored else None
    windows = packed(lengths, context, scores=scores)
    x, y, documents = windows.rows(0, np.arange(windows.n_windows))
    pad = y == IGNORED
    assert x.shape == (windows.n_windows, context) and (x[pad] == EOT).all()
    assert windows.wasted_share == pytest.approx(pad.mean(), abs=1e-12)
    pairs = sorted(zip(x[~pad].tolist(), y[~pad].tolist(), strict=True))
    assert pairs == sorted(zip(tokens.tolist(), [*tokens[1:].tolist(), EOT], strict=True))
    for row_x, row_y, row_d, row_pad in zip(x, y, documents, pad, strict=True):
        assert not (np.diff(row_pad.astype(int)) < 0).any()  # padding is at the end
        assert row_d[0] == 0 and set(np.diff(row_d)) <= {0, 1}
        for k in np.unique(row_d[~row_pad]):
            inside = np.flatnonzero(row_d == k)
            assert (row_x[inside[1:]] == row_y[inside[:-1]]).all()  # one piece of text
            assert not row_pad[inside].any()


def test_documents_that_fit_are_never_cut_and_long_ones_only_at_the_context():
    lengths = [3, 10, 11, 27, 1, 9, 30, 10]
    windows = packed(lengths, 10)
    x, y, documents = windows.rows(0, np.arange(windows.n_windows))
    found = []
    for row_x, row_y, row_d in zip(x, y, documents, strict=True):
        found += [row_x[(row_d == k) & (row_y != IGNORED)].tolist() for k in np.unique(row_d)]
    found = [piece for piece in found if piece]
    wanted = []
    for document in np.split(stream(lengths), np.cumsum(lengths)[:-1]):
        wanted += [document[i : i + 10].tolist() for i in range(0, len(document), 10)]
    assert sorted(found) == sorted(wanted)


def test_packing_is_deterministic_and_reads_views_of_shards():
    lengths = np.random.default_rng(3).integers(1, 40, 300).tolist()
    tokens = stream(lengths)
    view = TokenView([tokens[:1001], tokens[1001:1500], tokens[1500:]])
    assert np.array_equal(document_starts(view, EOT), document_starts(tokens, EOT))
    one, two = (
        Batches(t, 32, 5, 4, windows=DocumentWindows(t, 32, EOT, document_starts(t, EOT), with_documents=True))
        for t in (tokens, view)
    )
    for step in (0, 3, one.n_windows // 5, 1000):  # also across the end of an epoch
        assert all(np.array_equal(a, b) for a, b in zip(one.batch(step), two.batch(step), strict=True))


def test_documents_begin_where_the_mark_is():
    assert document_starts(np.array([EOT, 1, 2, EOT, EOT, 3]), EOT).tolist() == [0, 3, 4, 6]
    assert document_starts(np.array([1, 2, EOT, 3]), EOT).tolist() == [0, 2, 4]
    assert document_starts(np.array([1, 2]), EOT).tolist() == [0, 2]


def test_a_stream_tells_documents_apart_by_their_first_token():
    tokens = np.array([EOT, 1, 2, EOT, 3, EOT, EOT, 4, 5])
    batch = StreamWindows(tokens, 8, 0, EOT).rows_at(np.array([0]))
    assert batch.document_BT is not None and batch.document_BT.tolist() == [[1, 1, 1, 2, 2, 3, 4, 4]]
    assert StreamWindows(tokens, 8, 0).rows_at(np.array([0])).document_BT is None


def test_uniform_draws_of_packed_windows_reach_both_ends():
    windows = packed([10] * 12, 10)
    batches = Batches(windows.tokens, 10, 600, 0, "uniform", windows=windows)
    firsts = {row[1] for row in batches.batch(0).inputs_BT.tolist()}
    assert firsts == set(windows.rows(0, np.arange(12)).inputs_BT[:, 1].tolist()) and batches.n_windows == 12
    with pytest.raises(ConfigError, match="no single offset"):
        batches.starts(0)


def test_nothing_to_pack_is_told():
    with pytest.raises(ConfigError, match="no tokens"):
        DocumentWindows(np.zeros(0, np.uint16), 4, EOT, np.array([0]))
