"""Ternary weights, held to the checks of checks_ternary.py, and to what is known of Gaussians."""

import numpy as np
import pytest
from ops.checks_ternary import CHECKS, random

from weightless.base.errors import ArgumentError
from weightless.ops import ternary
from weightless.ops.ternary import ternary_matvec, ternary_pack, ternary_project, ternary_unpack


@pytest.mark.parametrize("check", CHECKS)
def test_ternary(check):
    check(ternary)


def test_without_the_clip_a_quarter_of_gaussian_weights_would_leave_the_codes():
    """P(|w| > 1.5 E|w|) = P(|z| > 1.5 sqrt(2 / pi)) = 0.2314; 512,000 draws are within 0.002 (3 sigma)."""
    W = random(400, 1280)
    steps = np.repeat(ternary_project(W)[1].astype(np.float64), 128, axis=1)
    assert abs((np.abs(np.rint(W / steps)) > 1).mean() - 0.2314) < 0.004


BAD = [
    ((np.zeros(3),), r"W should have the axes \(R, C\)"),
    ((np.zeros((2, 0)),), "W is empty"),
    ((np.full((2, 2), np.nan),), "W of shape .* holds nan"),
    ((np.ones((2, 2), int),), "holds int64"),
    ((np.ones((2, 2)), 0), "group_size should be a whole number of at least 1"),
    ((np.full((2, 2), 1e6),), "beyond fp16"),
    ((np.full((2, 2), 1e308),), "beyond fp16"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ternary_project(*arguments)


BAD_PACKS = [
    (lambda: ternary_pack(np.zeros(3, np.int8)), r"codes should have the axes \(R, C\)"),
    (lambda: ternary_pack(np.array([[0, 2]])), "hold others than -1, 0 and 1"),
    (lambda: ternary_unpack(np.array([[0b11]], np.uint8), 1), "bits 11, which stand for no code"),
    (lambda: ternary_unpack(np.array([[1]], np.uint8), 5), "packed of shape"),
    (lambda: ternary_unpack(np.array([[1.0]]), 1), "packed should be uint8"),
    (lambda: ternary_matvec(np.ones(5), np.ones((2, 2), np.uint8), np.ones((2, 2), np.float16)), "scales of shape"),
]


@pytest.mark.parametrize("call, message", BAD_PACKS)
def test_bad_packs_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()
