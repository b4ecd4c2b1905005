"""The gated diagonal recurrence and the short convolution over windows, compiled and by doubling.

Oracle: NumPy's `ops.scan`, one position after the other, in float64; PyTorch's autograd through the same recurrence
written out in float64.  Tolerance: 1e-5 of float32 sums along the window, 1e-11 in float64.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.layers import functions as L
from weightless.layers.functions.documents import document_layout
from weightless.ops import scan as slow

B, S = 3, 37
LENGTHS = [1, 2, 63, 129, 513]


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def documents_of(T: int) -> torch.Tensor:
    """Other documents in every row: one, many, and one that ends with the row."""
    ends = [[], [1, T // 3, T // 3 + 1], [T - 1]]
    return torch.stack([torch.bucketize(torch.arange(T), torch.tensor(e, dtype=torch.int64), right=True) for e in ends])


def given(T: int) -> tuple[torch.Tensor, ...]:
    """u, gates, output gates, decays: from forgetting at once to remembering the whole window."""
    return (
        random(B, T, S),
        random(B, T, S, seed=1, scale=2),
        random(B, T, S, seed=2),
        torch.linspace(3, -8, S, dtype=torch.float64),
    )


def one_by_one(u, g, o, decay, begins_BT):
    """The recurrence as it is written, for autograd."""
    a, rows, h = torch.sigmoid(-(g + decay)), [], torch.zeros_like(u[:, 0])
    for t in range(u.shape[1]):
        h = torch.where(begins_BT[:, t, None] > 0, torch.zeros_like(h), h)
        h = a[:, t] * h + torch.sigmoid(g + decay)[:, t] * u[:, t]
        rows.append(h)
    return torch.stack(rows, dim=1) * F.silu(o)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "by doubling"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("T", LENGTHS)
def test_a_window_is_the_recurrence_with_its_gradients(T, packed, dtype):
    layout = document_layout(documents_of(T)) if packed else None
    exact = [z.requires_grad_() for z in given(T)]
    near = [z.detach().to(dtype).requires_grad_() for z in exact]
    begins = L.beginnings(exact[0], layout)
    wanted, have = one_by_one(*exact, begins), L.gated_scan(*near, documents=layout)
    loose = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(have.double(), wanted, **loose)
    for b in range(B):
        u, g, o, decay = (z.detach().numpy() for z in exact)
        h = slow.scan(u[b], g[b] + decay, begins[b].numpy())
        np.testing.assert_allclose(h * o[b] / (1 + np.exp(-o[b])), wanted[b].detach(), rtol=1e-11, atol=1e-11)
    upstream = random(B, T, S, seed=5)
    mine = torch.autograd.grad(have, near, upstream.to(dtype))
    theirs = torch.autograd.grad(wanted, exact, upstream)
    for name, x, y in zip(("u", "g", "o", "decay"), mine, theirs, strict=True):
        scale = max(1.0, float(y.abs().max()))
        torch.testing.assert_close(x.double() / scale, y / scale, **loose, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("extreme", [-1e4, -200.0, -90.0, 90.0, 200.0, 1e4])
def test_no_decay_overflows(extreme, dtype):
    """a is 0 or 1 to all digits: the state is the newest input, or all but nothing; no NaN in any gradient."""
    u, g, o, decay = (z.to(dtype) for z in given(513))
    near = [z.requires_grad_() for z in (u, torch.full_like(g, extreme), o, torch.zeros_like(decay))]
    y = L.gated_scan(*near)
    wanted = u * F.silu(o) if extreme > 0 else torch.zeros_like(u)
    torch.testing.assert_close(y, wanted, rtol=1e-6, atol=1e-30 if extreme < -100 else 1e-36)
    y.sum().backward()
    assert all(torch.isfinite(z.grad).all() for z in near)


def test_a_state_that_never_forgets_is_a_sum():
    """1 - a = e^-14 at every one of 2048 positions: the digits of 1 - a are its own, not those of 1 minus a.

    Tolerance: a itself is rounded to 2^-25, 2048 times; 1 minus a rounded a would be off by 0.07.
    """
    T, u = 2048, torch.ones(1, 2048, 2)
    y = L.gated_scan(u, torch.full_like(u, -14.0), torch.full_like(u, 30.0), torch.zeros(2))
    rest = np.exp(-14.0) / (1 + np.exp(-14.0))
    wanted = -np.expm1(np.arange(1, T + 1) * np.log1p(-rest)) * 30
    np.testing.assert_allclose(y[0, :, 0], wanted, rtol=2048 * 2.0**-25)
    a, b = slow.decays(np.float32([-14.0, 14.0, 200.0, -200.0]))
    np.testing.assert_allclose(b[0], rest, rtol=1e-6)
    np.testing.assert_allclose(a[1], rest, rtol=1e-6)
    assert a[2] == 0 and b[2] == 1 and a[3] == 1 and b[3] == 0


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_change_not_a_bit(n_threads):
    near = [z.float().requires_grad_() for z in given(63)]
    before = torch.get_num_threads()
    wanted = L.gated_scan(*near)
    first = torch.autograd.grad(wanted.sum(), near)
    torch.set_num_threads(n_threads)
    try:
        have = L.gated_scan(*near)
        second = torch.autograd.grad(have.sum(), near)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(have, wanted) and all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("T", "W"), [(1, 4), (2, 4), (3, 2), (63, 3), (129, 4)])
def test_a_convolution_is_its_sum_with_its_gradients(T, W, packed):
    layout = document_layout(documents_of(T)) if packed else None
    x, kernel = random(B, T, 5).requires_grad_(), random(W, 5, seed=1).requires_grad_()
    begins = L.beginnings(x, layout).numpy()
    have = L.causal_convolution(x, kernel, layout)
    for b in range(B):
        wanted = slow.convolve(x[b].detach().numpy(), kernel.detach().numpy(), begins[b])
        np.testing.assert_allclose(have[b].detach(), wanted, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x, k: L.causal_convolution(x[..., :2], k[:, :2], layout), (x, kernel))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_and_out(dtype):
    """Oracle: the same numbers in float64.  Tolerance: one rounding to the dtype of each result."""
    halves = [z.to(dtype).requires_grad_() for z in given(63)]
    exact = [z.detach().double().requires_grad_() for z in halves]
    found, wanted = L.gated_scan(*halves), L.gated_scan(*exact)
    mine, theirs = torch.autograd.grad(found.sum(), halves), torch.autograd.grad(wanted.sum(), exact)
    for x, y in zip((found, *mine), (wanted, *theirs), strict=True):
        assert x.dtype == dtype
        largest = float(y.detach().abs().max())
        torch.testing.assert_close(x.double(), y.detach(), rtol=0, atol=2.0**-7 * largest)
