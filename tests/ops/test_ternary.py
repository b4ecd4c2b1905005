"""Ternary weights: the definition as loops, statistics of Gaussians, torch autograd with a detached rounding."""

import numpy as np
import pytest
import torch

from weightless.base.errors import ArgumentError
from weightless.ops.ternary import (
    ternary_expand,
    ternary_linear_backward,
    ternary_linear_forward,
    ternary_matvec,
    ternary_pack,
    ternary_project,
    ternary_unpack,
)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def by_definition(W: np.ndarray, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """One group after another."""
    codes, scales = np.zeros(W.shape, np.int8), []
    for r, row in enumerate(W):
        scales.append([])
        for start in range(0, len(row), group_size):
            group = row[start : start + group_size]
            s = np.float16(np.mean(np.abs(group)))
            scales[-1].append(s)
            for i, w in enumerate(group):
                code = 0 if s == 0 else round(float(w) / float(s))
                codes[r, start + i] = max(-1, min(1, code))
    return codes, np.array(scales, np.float16)


@pytest.mark.parametrize(
    "shape, group_size", [((3, 300), 128), ((1, 1), 128), ((5, 64), 64), ((2, 131), 1), ((2, 9), 4)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_codes_and_scales_by_definition(shape, group_size, dtype):
    W = random(*shape).astype(dtype) * np.array([[10.0 ** -(r % 3)] for r in range(shape[0])], dtype)
    codes, scales = ternary_project(W, group_size)
    wanted_codes, wanted_scales = by_definition(W, group_size)
    assert (codes == wanted_codes).all() and (scales == wanted_scales).all()
    assert codes.dtype == np.int8 and scales.dtype == np.float16


def test_every_weight_is_a_code_times_its_scale():
    codes, scales = ternary_project(random(7, 500))
    what = ternary_expand(codes, scales)
    assert set(np.unique(codes)) == {-1, 0, 1}
    assert (what == codes * np.repeat(scales.astype(np.float32), 128, axis=1)[:, :500]).all()


def test_without_the_clip_a_quarter_of_gaussian_weights_would_leave_the_codes():
    """P(|w| > 1.5 E|w|) = P(|z| > 1.5 sqrt(2 / pi)) = 0.2314; 512,000 draws are within 0.002 (3 sigma)."""
    W = random(400, 1280)
    steps = np.repeat(ternary_project(W)[1].astype(np.float64), 128, axis=1)
    assert abs((np.abs(np.rint(W / steps)) > 1).mean() - 0.2314) < 0.004


def test_projecting_twice_shrinks_the_scale():
    """mean |what| = s x the share of non-zero codes: P(|z| > sqrt(2 / pi) / 2) = 0.690."""
    W = random(400, 1280)
    codes, scales = ternary_project(W)
    again = ternary_project(ternary_expand(codes, scales))[1]
    assert abs((again.astype(float) / scales).mean() - 0.690) < 0.005


def test_zero_and_tiny_groups_have_scale_and_codes_zero():
    W = np.zeros((2, 256))
    W[1, 128:] = 1e-9
    codes, scales = ternary_project(W)
    assert (codes == 0).all() and (scales == 0).all()


def test_the_gradient_goes_straight_through():
    """torch: y = x (W + (what - W).detach())^T.  The scale takes no gradient."""
    x, W, dy = random(4, 3, 200), random(5, 200, seed=1), random(4, 3, 5, seed=2)
    y, cache = ternary_linear_forward(x, W)
    dx, dW = ternary_linear_backward(dy, cache)
    tx, tW = torch.tensor(x, requires_grad=True), torch.tensor(W, requires_grad=True)
    what = torch.tensor(ternary_expand(*ternary_project(W), dtype=np.float64))
    ty = tx @ (tW + (what - tW).detach()).T
    ty.backward(torch.tensor(dy))
    for found, wanted in ((y, ty.detach()), (dx, tx.grad), (dW, tW.grad)):
        np.testing.assert_allclose(found, wanted.numpy(), atol=1e-12)


BAD = [
    ((np.zeros(3),), r"W should have the axes \(R, C\)"),
    ((np.zeros((2, 0)),), "W is empty"),
    ((np.full((2, 2), np.nan),), "W of shape .* holds nan"),
    ((np.ones((2, 2), int),), "holds int64"),
    ((np.ones((2, 2)), 0), "group_size should be a whole number of at least 1"),
    ((np.full((2, 2), 1e6),), "beyond fp16"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        ternary_project(*arguments)


def test_packed_codes_by_hand():
    """Codes 1, 0, -1, 1, then 0 and filling: bits 10 00 01 10 from the high end, then 01 01 01 01."""
    packed = ternary_pack(np.array([[1, 0, -1, 1, 0]], np.int8))
    assert packed.dtype == np.uint8 and packed.tolist() == [[0b10_00_01_10, 0b01_01_01_01]]


@pytest.mark.parametrize("n_columns", [1, 3, 4, 63, 128, 1023])
def test_packing_loses_nothing(n_columns):
    codes, scales = ternary_project(random(5, n_columns))
    packed = ternary_pack(codes)
    assert packed.shape == (5, -(-n_columns // 4))
    assert (ternary_unpack(packed, n_columns) == codes).all()
    x = random(2, 3, n_columns, seed=1)
    wanted = x @ ternary_expand(codes, scales, dtype=np.float64).T
    np.testing.assert_allclose(ternary_matvec(x, packed, scales), wanted, atol=1e-12)


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
