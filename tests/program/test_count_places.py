"""Compiled places of count mixing.  Oracle: `ops/count_layout.py`, every argument there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from weightless.ops import count_layout as layout
from weightless.ops.count_mixing import MAX_DEPTH, N_CLASSES, N_CONFIDENCES, N_GROUPS, N_SPREADS
from weightless.program.operators.countmix import places


@pytest.mark.parametrize("n", [3, 5, 15, 16, 21, 24])
def test_rows_and_lines(n):
    assert places.tree_line(n) == layout.tree_line(n)
    assert [places.row_at(row, n) for row in range(200)] == [layout.row_at(row, n) for row in range(200)]
    for bias in (n - 1, n - 2):
        for k, depth, sure in itertools.product(range(n), range(MAX_DEPTH), range(N_CONFIDENCES)):
            assert places.input_at(k, depth, sure, bias) == layout.input_at(k, depth, sure, bias)
            assert layout.input_at(k, depth, sure, bias) < layout.mixer_bytes("input", 3, 61, n)


@pytest.mark.parametrize("name", ["depth", "confidence", "token", "input"])
@pytest.mark.parametrize("n", [5, 15, 16, 24])
def test_no_two_weights_share_a_byte(name, n):
    found = layout.weight_places(name, 3, 61, n, n - 1)
    if name == "input":  # what has no confidence has one weight for all of them
        found = found.reshape(MAX_DEPTH, N_CONFIDENCES, n)
        found = np.concatenate([found[:, :, 1:-1].reshape(-1), found[:, 0, 0], found[:, 0, -1]])
    assert len(np.unique(found)) == found.size and found.max() < layout.mixer_bytes(name, 3, 61, n)


def test_cells_of_maps():
    for j, depth, spread in itertools.product(range(3), range(MAX_DEPTH), range(N_SPREADS)):
        for more in range(N_CLASSES):
            for fewer, side in itertools.product(range(more + 1), (0, 1)):
                there = layout.list_cell(j, depth, spread, fewer, more, side)
                assert places.list_cell(j, depth, spread, fewer, more, side == 1) == there
    for depth, left, right in itertools.product(range(MAX_DEPTH), range(N_CONFIDENCES), range(N_CONFIDENCES)):
        assert places.pair_cell(depth, left, right) == layout.pair_cell(depth, left, right)
        assert places.confidence_row(depth, left, right) == layout.confidence_row(depth, left, right)
    for found, size in zip((layout.list_places(7), layout.pair_places()), layout.map_sizes(5, 7)[1:], strict=True):
        assert len(np.unique(found)) == found.size and found.max() < size


def test_rows_of_tokens_and_pairs_of_nodes():
    rows = [layout.token_row(token, group, 61) for token in range(61) for group in range(N_GROUPS)]
    assert [places.token_row(token, group, 61) for token in range(61) for group in range(N_GROUPS)] == rows
    assert sorted(rows) == list(range(61 * N_GROUPS))
    found = set()
    for depth in range(12):
        for path in range(1 << depth, 2 << depth):
            at = layout.pair_at(path, depth, path)
            assert places.pair_at(path, depth, path) == at
            assert places.heap_place(path, depth, 4) == layout.heap_place(path, depth, 4)
            found.add(at)
    assert len(found) == 2**12 - 1
