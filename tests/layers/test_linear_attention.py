"""Linear attention over windows: compiled position by position, and in chunks, at any length of a chunk.

Oracle: NumPy's `ops.linear_attention`, one position after the other, in float64; PyTorch's autograd through the same
recurrence written out in float64.  Tolerance: 1e-5 of float32 sums along the window (of the largest number, of
gradients), 1e-10 in float64.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.layers.functions.documents import document_layout
from weightless.ops import linear_attention as slow
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.straight_through import fake_quantise

B, H, K, V = 2, 3, 5, 7


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def documents_of(T: int) -> torch.Tensor:
    ends = [[1, T // 3, T // 3 + 1, T // 2], [T - 1]]
    return torch.stack([torch.bucketize(torch.arange(T), torch.tensor(e), right=True) for e in ends])


def given(T: int, delta: bool) -> list[torch.Tensor]:
    """q, k, v, gates from forgetting at once to remembering everything, and strengths up to 1."""
    q, k, v = random(B, T, H, K), random(B, T, H, K, seed=1), random(B, T, H, V, seed=2)
    z = random(B, T, H, seed=3, scale=2) + torch.tensor([2.0, -3.0, -8.0], dtype=torch.float64)
    found = [L.unit(q), L.unit(k), v, z] if delta else [q, k, v, z]
    return [*found, torch.sigmoid(random(B, T, H, seed=4, scale=2))] if delta else found


def one_by_one(q, k, v, z, beta, begins_BT, stored=lambda S: S):
    """The recurrence with (I - beta k k^T) as it is written, for autograd."""
    S, rows, a = torch.zeros(B, H, K, V, dtype=q.dtype), [], torch.sigmoid(-z)
    for t in range(q.shape[1]):
        S = torch.where(begins_BT[:, t, None, None, None] > 0, torch.zeros_like(S), S)
        outer = k[:, t, :, :, None] * k[:, t, :, None, :]
        strength = torch.ones_like(a[:, t]) if beta is None else beta[:, t]
        kept = torch.eye(K, dtype=q.dtype) - (0 if beta is None else strength[..., None, None] * outer)
        S = a[:, t, :, None, None] * (kept @ S) + strength[..., None, None] * k[:, t, :, :, None] * v[:, t, :, None]
        rows.append((q[:, t, :, None] @ S)[:, :, 0])
        S = stored(S)
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["compiled", "in chunks"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("delta", [False, True], ids=["gated", "delta"])
@pytest.mark.parametrize(("T", "chunks"), [(1, [1, 64]), (2, [1, 2]), (63, [1, 2, 7, 64]), (129, [7, 64, 129])])
def test_a_window_is_the_recurrence_at_any_chunk_with_its_gradients(T, chunks, delta, packed, dtype):
    layout = document_layout(documents_of(T)) if packed and T > 1 else None
    exact = [z.requires_grad_() for z in given(T, delta)]
    begins = L.beginnings(exact[0], layout)
    beta = exact[4] if delta else None
    wanted, upstream = one_by_one(*exact[:4], beta, begins), random(B, T, H, V, seed=5)
    theirs = torch.autograd.grad(wanted, exact, upstream)
    arrays = [z.detach().numpy() for z in exact]
    for b in range(B):
        a = 1 / (1 + np.exp(arrays[3][b]))
        rows = slow.linear_attention(*(x[b] for x in arrays[:3]), a, arrays[4][b] if delta else None, begins[b].numpy())
        np.testing.assert_allclose(rows, wanted[b].detach(), rtol=1e-10, atol=1e-10)
    loose = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-10}
    for chunk in chunks:
        near = [z.detach().to(dtype).requires_grad_() for z in exact]
        have = L.gated_linear_attention(*near[:4], near[4] if delta else None, layout, chunk)
        mine = torch.autograd.grad(have, near, upstream.to(dtype))
        for x, y in zip((have, *mine), (wanted, *theirs), strict=True):
            size = max(1.0, float(y.detach().abs().max()))
            torch.testing.assert_close(x.detach().double() / size, y.detach() / size, **loose)


@functools.cache
def long_window(delta: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
    """2048 positions whose log decays sum up to -8000 in one head, and what chunks of one position make of them."""
    exact = given(2048, delta)
    exact[3][:, :, 0] += 2.0
    return exact, L.gated_linear_attention(*exact[:4], exact[4] if delta else None, chunk=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("delta", [False, True], ids=["gated", "delta"])
@pytest.mark.parametrize("chunk", [64, 2048])
def test_a_long_window_in_one_chunk(chunk, delta, dtype):
    """In float32 sums near differences would be off by 1e-3.  Oracle: the other implementation, at chunks of one
    position, in float64."""
    exact, wanted = long_window(delta)
    near = [z.to(dtype) for z in exact]
    have = L.gated_linear_attention(*near[:4], near[4] if delta else None, chunk=chunk)
    size = float(wanted.abs().max())
    torch.testing.assert_close(have.double() / size, wanted / size, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("delta", [False, True], ids=["gated", "delta"])
@pytest.mark.parametrize("extreme", [-1e4, -90.0, 90.0, 1e4])
def test_no_decay_overflows(extreme, delta, dtype):
    """Nothing is forgotten, or everything at once: then y is (k q) w."""
    near = [z.to(dtype) for z in given(513, delta)]
    near[3] = torch.full_like(near[3], extreme)
    near = [z.requires_grad_() for z in near]
    y = L.gated_linear_attention(*near[:4], near[4] if delta else None, chunk=513)
    if extreme > 0:
        q, k, v = near[:3]
        strength = near[4][..., None] if delta else 1.0
        torch.testing.assert_close(y, (q * k).sum(-1, keepdim=True) * strength * v, rtol=1e-5, atol=1e-5)
    y.sum().backward()
    assert torch.isfinite(y).all() and all(torch.isfinite(z.grad).all() for z in near)


@pytest.mark.parametrize("delta", [False, True], ids=["gated", "delta"])
def test_a_state_in_bf16_is_rounded_at_every_position(delta):
    """Oracle: autograd through the recurrence in float32 with the state rounded straight through, and NumPy with the
    packer's own rounding.  Where float32 sums in another order fall on two sides of a code, a code is the difference;
    so most numbers agree to 1e-5, and all to the size of some codes.
    """

    def stored(S):
        return decode_rows(encode_rows(S.reshape(-1, V).astype(np.float32), "bf16"), "bf16", V).reshape(S.shape)

    T, layout = 63, document_layout(documents_of(63))
    near = [z.float().requires_grad_() for z in given(T, delta)]
    beta, begins = near[4] if delta else None, L.beginnings(near[0], layout)
    have = L.gated_linear_attention(*near[:4], beta, layout, 7, "bf16")
    wanted = one_by_one(*near[:4], beta, begins, lambda S: fake_quantise(S, "bf16"))
    unrounded = L.gated_linear_attention(*near[:4], beta, layout, 7)
    upstream = random(B, T, H, V, seed=5).float()
    pairs = [(have, wanted)]
    pairs += zip(torch.autograd.grad(have, near, upstream), torch.autograd.grad(wanted, near, upstream), strict=True)
    for x, y in pairs:
        gap = (x.detach() - y.detach()).abs() / max(1.0, float(y.detach().abs().max()))
        assert gap.quantile(0.9) < 1e-5 and gap.max() < 2e-2, (gap.quantile(0.9), gap.max())
    assert (have - unrounded).abs().quantile(0.9) > 1e-4
    arrays = [z.detach().numpy() for z in near]
    rows = slow.linear_attention(
        *(x[0] for x in arrays[:3]),
        1 / (1 + np.exp(arrays[3][0])),
        arrays[4][0] if delta else None,
        begins[0].numpy(),
        stored,
    )
    gap = np.abs(rows - have[0].detach().numpy())
    assert np.quantile(gap, 0.9) < 1e-5 * np.abs(rows).max() and gap.max() < 2e-2 * np.abs(rows).max()


def test_off_the_cpu_a_rounded_state_goes_step_by_step():
    """float64 takes the same path; its state is float32 where it is stored."""
    exact = given(9, True)
    have = L.gated_linear_attention(*exact, state_format="bf16")
    near = [z.float() for z in exact]
    torch.testing.assert_close(have.float(), L.gated_linear_attention(*near, state_format="bf16"), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(("chunk", "state_format"), [(0, "f32"), (-3, "f32"), (7, "int8")])
def test_what_cannot_be_is_refused(chunk, state_format):
    with pytest.raises(ConfigError, match="at least 1"):
        L.gated_linear_attention(*given(3, False), None, None, chunk, state_format)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_and_out(dtype):
    halves = [z.to(dtype) for z in given(63, True)]
    found, wanted = L.gated_linear_attention(*halves), L.gated_linear_attention(*(z.double() for z in halves))
    assert found.dtype == dtype and L.unit(halves[0]).dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2.0**-7 * float(wanted.abs().max()))
