"""What the prompt asks to be verified; needs nothing but NumPy."""

from __future__ import annotations

import numpy as np
from solution import load, log_probs, ternary_project

FABLE = (
    b"Humo the beetle of Noni was keen and kind. At dusk: Graxa, Grefi, Wade, Papa and Pexa got 853 new dishs. "
    b"They sold 18 to Papa. Early Humo found a black shoe. It was near a small mill.\nSo deeds count more than words.\n"
)
MOST_BITS = 1.19
"""Ours takes 1.149 for each byte of the fable."""


def by_definition(W, size):
    codes, scales = np.zeros(W.shape, np.int8), np.zeros((len(W), -(-W.shape[1] // size)), np.float16)
    for i, row in enumerate(W.astype(np.float64)):
        for g in range(scales.shape[1]):
            group = row[g * size : (g + 1) * size]
            scales[i, g] = np.float16(np.abs(group).mean())
            if s := float(scales[i, g]):
                codes[i, g * size : (g + 1) * size] = np.clip(np.rint(group / s), -1, 1)
    return codes, scales


def test_every_weight_is_ternary():
    found = load()
    for name, codes in found["codes"].items():
        assert codes.dtype == np.int8 and set(np.unique(codes)) == {-1, 0, 1}, name
        scales = found["scales"][name]
        assert scales.dtype == np.float16 and scales.shape == (len(codes), -(-codes.shape[1] // 128))
        assert np.isfinite(scales).all() and (scales >= 0).all()
    assert len(found["codes"]) == 1 + 7 * found["config"]["num_hidden_layers"]


def test_losses_fall():
    losses = load()["losses"]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_projection():
    rng = np.random.default_rng(0)
    for shape, size in (((8, 384), 128), ((5, 200), 128), ((64, 1024), 128), ((3, 50), 16)):
        W = rng.standard_normal(shape)
        for found, right in zip(ternary_project(W, size), by_definition(W, size)):
            assert found.dtype == right.dtype and np.array_equal(found, right)


def test_groups_of_zeros_and_outliers():
    W = np.random.default_rng(1).standard_normal((3, 256))
    W[0, :128], W[1, 128:], W[2, 5] = 0, 1e-9, 1000
    codes, scales = ternary_project(W, 128)
    assert scales[0, 0] == 0 and scales[1, 1] == 0 and not codes[0, :128].any() and not codes[1, 128:].any()
    assert codes[2, 5] == 1 and np.array_equal(codes, by_definition(W, 128)[0])


def test_a_fable_is_no_surprise():
    text = np.frombuffer(FABLE, np.uint8)
    found = log_probs(text[:-1].tolist())
    assert found.shape == (len(text) - 1, 256) and np.allclose(np.exp(found).sum(axis=1), 1, atol=1e-4)
    bits = -found[np.arange(len(text) - 1), text[1:]].mean() / np.log(2)
    assert bits < MOST_BITS, bits


def test_what_follows_changes_nothing():
    tokens = list(FABLE[:60])
    assert np.allclose(log_probs(tokens)[:30], log_probs(tokens[:30] + [65] * 30)[:30], atol=1e-4)
