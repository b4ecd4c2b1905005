"""The tests of our own solution of `fuse`; `solution` is the file beside it."""

from __future__ import annotations

import numpy as np
from solution import fused_softmax_topk


def _by_definition(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    z = logits.astype(np.float64)
    e = np.exp(z - z.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    index = np.argsort(-z, axis=-1, kind="stable")[..., :k]
    return index, np.take_along_axis(p, index, -1)


def _compare(logits: np.ndarray, k: int) -> None:
    index, p = fused_softmax_topk(logits, k)
    wanted_index, wanted_p = _by_definition(logits, k)
    assert index.dtype == np.int64 and p.dtype == logits.dtype
    assert (index == wanted_index).all()
    assert np.abs(p - wanted_p).max() <= 1e-6 * wanted_p.max()


def _drawn(*shape: int) -> np.ndarray:
    return (3 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def test_vocabularies_of_many_sizes():
    for V, k in ((1, 1), (5, 5), (63, 7), (4097, 10), (50257, 20)):
        _compare(_drawn(2, 1, V), k)


def test_rows_that_rise_and_fall():
    up = np.linspace(-20, 20, 9000, dtype=np.float32)
    _compare(np.stack([up, up[::-1]])[None], 9)


def test_offsets():
    for offset in (1e4, -1e4):
        _compare(_drawn(1, 2, 777) + np.float32(offset), 5)


def test_ties_go_to_the_lowest_index():
    _compare(np.random.default_rng(1).integers(0, 3, (1, 2, 9000)).astype(np.float32), 8)


def test_probabilities_of_zero_keep_their_order():
    logits = _drawn(1, 1, 500)
    logits[..., 123] = 2000.0
    index, _ = fused_softmax_topk(logits, 5)
    assert (index == _by_definition(logits, 5)[0]).all()


def test_padding():
    index, p = fused_softmax_topk(np.array([[[2.0, 1.0, 2.0, -np.inf], [-np.inf] * 4]], np.float32), 6)
    assert index.tolist() == [[[0, 2, 1, -1, -1, -1], [-1] * 6]]
    assert np.abs(p[0, 0] - [0.42232, 0.42232, 0.15536, 0, 0, 0]).max() < 1e-4
    assert (p[0, 1] == 0).all()


def test_logits_survive():
    logits = _drawn(1, 2, 99)
    kept = logits.copy()
    fused_softmax_topk(logits, 4)
    assert (logits == kept).all()
