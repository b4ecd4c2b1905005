"""What a layer norm is held to; every check takes the two functions, so that twins and mutants can be checked alike."""

from __future__ import annotations

import numpy as np
import torch


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def by_autograd(x, gamma, beta, dy, eps=1e-5):
    """(y, dx, dgamma, dbeta) from PyTorch in float64."""
    tx, tg, tb = (
        torch.tensor(np.ascontiguousarray(a), dtype=torch.float64, requires_grad=True) for a in (x, gamma, beta)
    )
    y = torch.nn.functional.layer_norm(tx, tx.shape[-1:], tg, tb, eps)
    grads = torch.autograd.grad(y, (tx, tg, tb), torch.tensor(np.ascontiguousarray(dy), dtype=torch.float64))
    return (y.detach().numpy(), *(grad.numpy() for grad in grads))


def near(found, wanted, tolerance: float) -> None:
    """Largest error relative to the largest entry."""
    assert np.isfinite(found).all()
    size = max(np.abs(wanted).max(), np.finfo(np.float64).tiny)
    assert np.abs(found - wanted).max() <= tolerance * size, np.abs(found - wanted).max() / size


def check_against_autograd(forward, backward, shape=(3, 5, 77), dtype=np.float64, tolerance=1e-10, eps=1e-5) -> None:
    """PyTorch autograd in float64; 1e-10 in float64 (order of sums), 1e-5 in float32 (rounding of inputs)."""
    width = shape[-1]
    x, gamma, beta, dy = (
        a.astype(dtype) for a in (random(*shape), random(width, seed=1), random(width, seed=2), random(*shape, seed=3))
    )
    y, cache = forward(x, gamma, beta, eps)
    found = (y, *backward(dy, cache))
    for got, wanted in zip(found, by_autograd(x, gamma, beta, dy, eps)):
        assert got.dtype == dtype
        near(got, wanted, tolerance)


def check_large_eps(forward, backward) -> None:
    """With eps = 0.3 beside a variance near 1, where it stands matters to the first digit."""
    check_against_autograd(forward, backward, eps=0.3)


def check_single(forward, backward) -> None:
    """float32 in, float32 out, also of rows around 1e4, where E[x^2] - E[x]^2 is noise: 1e-5 of the largest entry."""
    for offset in (0.0, 1e4):
        x, gamma, beta, dy = (
            a.astype(np.float32)
            for a in (random(3, 5, 77) + offset, random(77, seed=1), random(77, seed=2), random(3, 5, 77, seed=3))
        )
        y, cache = forward(x, gamma, beta)
        for found, wanted in zip((y, *backward(dy, cache)), by_autograd(x, gamma, beta, dy)):
            assert found.dtype == np.float32
            near(found, wanted, 1e-5)


def check_width_one(forward, backward) -> None:
    """One element is its own mean: y = beta, dx = 0."""
    x, beta = random(4, 3, 1), np.array([2.5])
    y, cache = forward(x, np.array([3.0]), beta)
    assert (y == 2.5).all()
    assert (backward(random(4, 3, 1, seed=5), cache)[0] == 0).all()


def check_offset(forward, backward) -> None:
    """Rows around 1e6: E[x^2] - E[x]^2 would lose 2.5e-4; the float64 inputs themselves carry 1e-10."""
    x, gamma, beta, dy = random(2, 3, 64) + 1e6, random(64, seed=1), random(64, seed=2), random(2, 3, 64, seed=3)
    y, cache = forward(x, gamma, beta)
    for got, wanted in zip((y, *backward(dy, cache)), by_autograd(x, gamma, beta, dy)):
        near(got, wanted, 1e-9)


def check_scales(forward, backward) -> None:
    """y of a tiny x is beta (eps wins); of a huge x that of x / 1e150 with no eps."""
    x, gamma, beta, dy = random(2, 3, 64), np.ones(64), np.zeros(64), random(2, 3, 64, seed=3)
    y, cache = forward(x * 1e-20, gamma, beta)
    near(y, by_autograd(x * 1e-20, gamma, beta, dy)[0], 1e-10)
    near(backward(dy, cache)[0], by_autograd(x * 1e-20, gamma, beta, dy)[1], 1e-10)
    y, cache = forward(x * 1e150, gamma, beta)
    wanted = by_autograd(x, gamma, beta, dy, eps=0.0)
    near(y, wanted[0], 1e-10)
    near(backward(dy, cache)[0] * 1e150, wanted[1], 1e-10)


def check_constant_rows(forward, backward) -> None:
    """Variance 0: y = beta, and gradients stay finite; gamma = 0 passes nothing back to x."""
    y, cache = forward(np.full((2, 3, 9), 7.25), random(9), random(9, seed=1))
    assert (y == random(9, seed=1)).all()
    assert all(np.isfinite(grad).all() for grad in backward(random(2, 3, 9, seed=2), cache))
    _, cache = forward(random(2, 3, 9), np.zeros(9), random(9))
    assert (backward(random(2, 3, 9, seed=2), cache)[0] == 0).all()


def check_identities(forward, backward) -> None:
    """Linear in dy; the entries of dx of one row sum to zero; dbeta is the sum of dy."""
    x, gamma = random(2, 7, 33), random(33, seed=1)
    _, cache = forward(x, gamma, random(33, seed=2))
    a, b = random(2, 7, 33, seed=3), random(2, 7, 33, seed=4)
    for one, two, both in zip(backward(a, cache), backward(b, cache), backward(2 * a - 3 * b, cache)):
        near(2 * one - 3 * two, both, 1e-12)
    dx, _, dbeta = backward(a, cache)
    assert np.abs(dx.sum(-1)).max() < 1e-12
    near(dbeta, a.sum((0, 1)), 1e-12)


def check_finite_differences(forward, backward) -> None:
    """Central differences of sum(y dy), float64, h = 1e-5: their own error is about 3e-11."""
    x, gamma, beta, dy = random(1, 2, 6), random(6, seed=1), random(6, seed=2), random(1, 2, 6, seed=3)
    _, cache = forward(x, gamma, beta)
    inputs = [x, gamma, beta]
    for which, grad in enumerate(backward(dy, cache)):
        for at in np.ndindex(grad.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [array.copy() for array in inputs]
                moved[which][at] += step
                ends.append((forward(*moved)[0] * dy).sum())
            assert abs((ends[0] - ends[1]) / 2e-5 - grad[at]) < 1e-9


def check_inputs_survive(forward, backward) -> None:
    """Non-contiguous input gives the same, and nothing given is written to."""
    x, gamma, beta, dy = random(5, 3, 8), random(8, seed=1), random(8, seed=2), random(5, 3, 8, seed=3)
    kept = [array.copy() for array in (x, gamma, beta, dy)]
    y, cache = forward(x.transpose(1, 0, 2), gamma, beta)
    dx = backward(dy.transpose(1, 0, 2), cache)[0]
    y2, cache2 = forward(np.ascontiguousarray(x.transpose(1, 0, 2)), gamma, beta)
    assert (y == y2).all()
    assert (dx == backward(np.ascontiguousarray(dy.transpose(1, 0, 2)), cache2)[0]).all()
    assert all((a == b).all() for a, b in zip(kept, (x, gamma, beta, dy)))


CHECKS = [
    check_against_autograd,
    check_large_eps,
    check_single,
    check_width_one,
    check_offset,
    check_scales,
    check_constant_rows,
    check_identities,
    check_finite_differences,
    check_inputs_survive,
]
