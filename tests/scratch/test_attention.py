"""Softmax, attention, heads.

Oracles: torch.nn.functional.softmax and scaled_dot_product_attention, float32 within 1e-6 of numbers of size one;
finite differences (gradcheck) in float64.
"""

from __future__ import annotations

import math

import pytest
import torch
from scratch.inputs import HALVES, random, strided
from torch.nn import functional as F

from weightless.scratch import MultiHeadSelfAttention, RotaryEmbedding, scaled_dot_product_attention, softmax


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax(dim):
    x = random(3, 4, 5)
    for moved in (x, x + 100, x * 1e4, strided(x), x.double()):
        torch.testing.assert_close(softmax(moved, dim), F.softmax(moved, dim))
    assert softmax(torch.zeros(0, 3)).shape == (0, 3)
    for dtype, near in HALVES.items():
        got = softmax(x.to(dtype), dim)
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), F.softmax(x.to(dtype).float(), dim), rtol=0, atol=near)


def test_softmax_is_stable_at_the_ends_of_float16():
    x = torch.tensor([65504.0, -65504.0, 65504.0], dtype=torch.float16)
    assert softmax(x).tolist() == [0.5, 0.0, 0.5]
    assert softmax(torch.tensor([-math.inf, 0.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (0, 3), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("masked", [False, True])
def test_attention(leading, dtype, masked):
    Q, K, V = (random(*leading, n, d, dtype=dtype) for n, d in ((5, 4), (7, 4), (7, 3)))
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.6 if masked else None
    if mask is not None:
        mask[:, 0] = True  # torch's kernels differ on rows that attend to nothing; the next test is about those
    expected = F.scaled_dot_product_attention(Q, K, V, mask)
    torch.testing.assert_close(scaled_dot_product_attention(Q, K, V, mask), expected)
    got = scaled_dot_product_attention(strided(Q), strided(K), strided(V), mask)
    torch.testing.assert_close(got, expected)


def test_masks_of_their_own_per_sequence():
    Q, K, V = random(2, 3, 5, 4), random(2, 3, 7, 4), random(2, 3, 7, 4)
    mask = torch.ones(2, 1, 5, 7, dtype=torch.bool)
    mask[1, :, :, 4:] = False
    torch.testing.assert_close(
        scaled_dot_product_attention(Q, K, V, mask), F.scaled_dot_product_attention(Q, K, V, mask)
    )
    with pytest.raises(ValueError, match="may attend"):
        scaled_dot_product_attention(Q, K, V, torch.zeros(5, 7))


def test_a_row_that_attends_to_nothing_gives_zeros_and_no_gradient():
    Q, K, V = (random(3, 4, dtype=torch.float64).requires_grad_() for _ in range(3))
    mask = torch.tensor([[True, False, False], [False] * 3, [True, True, False]])
    out = scaled_dot_product_attention(Q, K, V, mask)
    assert not out[1].any() and torch.equal(out[0], V[0])
    out.sum().backward()
    assert Q.grad is not None and V.grad is not None
    assert not Q.grad[1].any() and not V.grad[2].any() and all(p.grad.isfinite().all() for p in (Q, K, V))
    again = [random(3, 4, dtype=torch.float64).requires_grad_() for _ in range(3)]
    assert torch.autograd.gradcheck(lambda *qkv: scaled_dot_product_attention(*qkv, mask), again)


@pytest.mark.parametrize("dtype", HALVES)
def test_attention_in_half_precision(dtype):
    Q, K, V = (random(2, 5, 4, dtype=dtype) * scale for scale in (1, 1, 1))
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    got = scaled_dot_product_attention(Q, K, V, mask)
    exact = scaled_dot_product_attention(Q.double(), K.double(), V.double(), mask)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=HALVES[dtype])
    layer = MultiHeadSelfAttention(8, 2, 5, 100.0, dtype=dtype)
    assert layer(random(2, 5, 8, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("theta", [None, 100.0])
@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (0,)])
def test_heads(theta, leading):
    """Against torch's attention, head by head, by slices of the weights."""
    layer, x = MultiHeadSelfAttention(12, 3, 9, theta), random(*leading, 7, 12)
    mixed = []
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        q, k, v = (x @ p.weight[part].T for p in (layer.q_proj, layer.k_proj, layer.v_proj))
        if theta:
            rope = RotaryEmbedding(theta, 4, 9)
            q, k = rope(q), rope(k)
        mixed.append(F.scaled_dot_product_attention(q, k, v, is_causal=True))
    torch.testing.assert_close(layer(x), torch.cat(mixed, dim=-1) @ layer.output_proj.weight.T)


def test_positions_are_of_sequences_and_matter_by_distance_only():
    layer, x = MultiHeadSelfAttention(8, 2, 40, 100.0, dtype=torch.float64), random(3, 5, 8, dtype=torch.float64)
    positions = torch.arange(5) + torch.tensor([[0], [10], [33]])
    torch.testing.assert_close(layer(x, positions), layer(x))
    one = torch.arange(5).unsqueeze(0)
    torch.testing.assert_close(layer(x, one), layer(x), rtol=0, atol=0)
    assert not torch.allclose(layer(x, 2 * one), layer(x))


def test_later_positions_are_not_seen():
    layer, x = MultiHeadSelfAttention(8, 2, 9, 100.0), random(6, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(x)[3].sum(), x)
    assert gradient[:4].any(dim=-1).all() and not gradient[4:].any()


def test_refused():
    with pytest.raises(ValueError, match="3 heads"):
        MultiHeadSelfAttention(8, 3)
    with pytest.raises(ValueError, match="max_seq_len"):
        MultiHeadSelfAttention(8, 2, theta=100.0)


def test_vmap_gives_what_a_loop_gives():
    Q, K, V = random(4, 5, 4), random(4, 7, 4), random(4, 7, 3)
    mask = torch.ones(5, 7, dtype=torch.bool).tril()
    got = torch.func.vmap(lambda q, k, v: scaled_dot_product_attention(q, k, v, mask))(Q, K, V)
    torch.testing.assert_close(got, scaled_dot_product_attention(Q, K, V, mask))
