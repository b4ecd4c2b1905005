"""What ternary weights are held to; every check takes the module ops.ternary, or a mutant of it."""

from __future__ import annotations

import warnings

import numpy as np
import torch


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


def expanded(codes: np.ndarray, scales: np.ndarray, group_size: int = 128) -> np.ndarray:
    """Codes times their stored scale, in float64."""
    return codes * np.repeat(scales.astype(np.float64), group_size, axis=1)[:, : codes.shape[1]]


SHAPES = [((3, 300), 128), ((50, 300), 128), ((1, 1), 128), ((5, 64), 64), ((2, 131), 1), ((2, 9), 4)]


def check_definition(ops) -> None:
    """The definition in plain loops, exactly; rows of other sizes, short last groups, both float types."""
    for shape, group_size in SHAPES:
        for dtype in (np.float32, np.float64):
            W = random(*shape).astype(dtype) * np.array([[10.0 ** -(r % 3)] for r in range(shape[0])], dtype)
            codes, scales = ops.ternary_project(W, group_size)
            wanted_codes, wanted_scales = by_definition(W, group_size)
            assert codes.dtype == np.int8 and scales.dtype == np.float16
            assert codes.shape == wanted_codes.shape and scales.shape == wanted_scales.shape
            assert (codes == wanted_codes).all() and (scales == wanted_scales).all()


def check_codes(ops) -> None:
    """Gaussian weights, of which 23 % would leave the three codes: every weight is -1, 0 or 1 times its scale."""
    codes, scales = ops.ternary_project(random(7, 500))
    assert set(np.unique(codes)) == {-1, 0, 1}
    assert (ops.ternary_expand(codes, scales, dtype=np.float64) == expanded(codes, scales)).all()


def check_master_copy(ops) -> None:
    """Codes and scales are taken once: the layer multiplies by exactly them.  Taken again, scales shrink to 0.69.

    mean |what| = s x the share of non-zero codes: P(|z| > sqrt(2 / pi) / 2) = 0.690, within 0.005 of 512,000 draws.
    """
    W, x = random(5, 300), random(4, 300, seed=1)
    wanted = x @ expanded(*by_definition(W, 128)).T
    np.testing.assert_allclose(ops.ternary_linear_forward(x, W)[0], wanted, rtol=0, atol=1e-12)
    codes, scales = ops.ternary_project(random(400, 1280))
    again = ops.ternary_project(ops.ternary_expand(codes, scales))[1]
    assert abs((again.astype(float) / scales).mean() - 0.690) < 0.005


def check_zero_groups(ops) -> None:
    """Groups of zeros, and of a mean below fp16: scale 0, codes 0, and no 0 / 0 on the way (which NumPy would tell)."""
    W = np.zeros((2, 256))
    W[1, 128:] = 1e-9
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        codes, scales = ops.ternary_project(W)
        y, _ = ops.ternary_linear_forward(np.ones((1, 256)), W)
    assert not told, str(told[0].message)
    assert (codes == 0).all() and (scales == 0).all() and (y == 0).all()


def check_straight_through(ops) -> None:
    """torch in float64: y = x (W + (what - W).detach())^T, so rounding is the identity and the scale takes no gradient.

    1e-12: other order of the same sums.
    """
    x, W, dy = random(4, 3, 200), random(5, 200, seed=1), random(4, 3, 5, seed=2)
    y, cache = ops.ternary_linear_forward(x, W)
    dx, dW = ops.ternary_linear_backward(dy, cache)
    tx, tW = torch.tensor(x, requires_grad=True), torch.tensor(W, requires_grad=True)
    what = torch.tensor(expanded(*by_definition(W, 128)))
    ty = tx @ (tW + (what - tW).detach()).T
    dx_wanted, dW_wanted = torch.autograd.grad(ty, (tx, tW), torch.tensor(dy))
    for found, wanted in ((y, ty.detach()), (dx, dx_wanted), (dW, dW_wanted)):
        np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-12)


def check_packing(ops) -> None:
    """Four codes to a byte, code + 1, the first lowest: 1, 0, -1, 1, 0 are 10 00 01 10 and 01 01 01 01 from the top."""
    packed = ops.ternary_pack(np.array([[1, 0, -1, 1, 0]], np.int8))
    assert packed.dtype == np.uint8 and packed.tolist() == [[0b10_00_01_10, 0b01_01_01_01]]
    for n_columns in (1, 3, 4, 63, 128, 1023):
        codes, scales = ops.ternary_project(random(5, n_columns))
        packed = ops.ternary_pack(codes)
        assert packed.shape == (5, -(-n_columns // 4))
        assert (ops.ternary_unpack(packed, n_columns) == codes).all()
        x = random(2, 3, n_columns, seed=1)
        np.testing.assert_allclose(ops.ternary_matvec(x, packed, scales), x @ expanded(codes, scales).T, atol=1e-12)


CHECKS = [
    check_definition,
    check_codes,
    check_master_copy,
    check_zero_groups,
    check_straight_through,
    check_packing,
]
