"""Documents go last whole, and the text that is read is the very tokens in that order."""

from __future__ import annotations

import numpy as np
import pytest

from weightless.countmix import arranging
from weightless.countmix.arranging import arranged

MARK = 9
PIECES = [b"x"] * MARK + [b""]


def documents(n: int, seed: int = 0, before: int = 0) -> np.ndarray:
    """int64: n documents of 2 to 60 tokens, behind `before` tokens of none."""
    rng = np.random.default_rng(seed)
    parts = [np.append(MARK, rng.integers(0, MARK, rng.integers(1, 60))) for _ in range(n)]
    return np.concatenate([rng.integers(0, MARK, before), *parts])


def split(tokens: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(part.tolist()) for part in np.split(tokens, np.flatnonzero(tokens == MARK)) if len(part)]


@pytest.mark.parametrize("before", [0, 7])
@pytest.mark.parametrize("wanted", [40, 300, 900])
def test_whole_documents_go_last(wanted, before):
    tokens = documents(100, before=before)
    found = arranged(tokens, PIECES, wanted)
    everything, last = found[:], found[len(found) - found.n_last :]
    assert sorted(split(everything)) == sorted(split(tokens))
    assert last[0] == MARK
    assert wanted <= found.n_last <= 2 * wanted
    order = [split(tokens).index(document) for document in split(last)]
    assert len(set(split(last))) < len(order) or order == sorted(order)


def test_slices_are_those_of_the_whole(monkeypatch):
    tokens = documents(60, seed=1)
    everything = arranged(tokens, PIECES, 200)[:]
    monkeypatch.setattr(arranging, "READ", 13)
    found = arranged(tokens, PIECES, 200)
    assert np.array_equal(found[:], everything)
    rng = np.random.default_rng(0)
    for first, stop in np.sort(rng.integers(0, len(tokens) + 3, (300, 2)), 1):
        assert np.array_equal(found[int(first) : int(stop)], everything[first:stop])


@pytest.mark.parametrize("tokens", [documents(3), documents(1), documents(0, before=50), np.full(40, MARK)])
def test_few_documents_leave_the_text_as_it_is(tokens):
    found = arranged(tokens, PIECES, 20)
    assert np.array_equal(found[:], tokens) and found.n_last == 20
    assert arranged(tokens, None, 20).n_last == 20


def test_nothing_held_out():
    tokens = documents(30)
    assert arranged(tokens, PIECES, 0).n_last == 0
    assert np.array_equal(arranged(tokens, PIECES, 0)[:], tokens)


def test_one_document_is_most_of_the_text():
    """Where only the long one would do, the last tokens are taken."""
    short = [np.array([MARK, 1])] * 10
    tokens = np.concatenate([*short, np.append(MARK, np.ones(5000, np.int64))])
    found = arranged(tokens, PIECES, 400)
    assert found.n_last == 400 and np.array_equal(found[:], tokens)
