"""Half precision in, half precision out, float32 in between, forwards and backwards.

Oracle: the same layer on the same numbers in float64 (float32 where a layer is float32 by nature: the stored cache).
Tolerance: the rounding of the dtype (2^-11 of float16, 2^-8 of bfloat16), of the largest number where sums may cancel.
"""

from __future__ import annotations

import pytest
import torch

from weightless.base.errors import ConfigError
from weightless.layers import functions as L

ROUNDING = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
DTYPES = list(ROUNDING)


def random(*shape, scale=1.0, seed=0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def both_ways(layer, dtype, *tensors, within=1.0):
    """The layer's result and gradients in `dtype`, held to float64."""
    halves = [z.to(dtype).requires_grad_() for z in tensors]
    exact = [z.detach().double().requires_grad_() for z in halves]
    found, wanted = layer(*halves), layer(*exact)
    assert found.dtype == dtype
    upstream = random(*found.shape, seed=99).to(dtype)
    gradients = torch.autograd.grad(found, halves, upstream)
    true = torch.autograd.grad(wanted, exact, upstream.double())
    for mine, theirs in zip((found, *gradients), (wanted, *true), strict=True):
        assert mine.dtype == dtype and torch.isfinite(mine).all()
        largest = float(theirs.detach().abs().max())
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=0, atol=within * 2 * ROUNDING[dtype] * largest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norm_of_large_rows(dtype):
    """400^2 = 160,000 is no float16, and the mean of many squares no exact bfloat16."""
    both_ways(lambda x: L.rms_norm(x, None, 1e-5), dtype, random(3, 300, scale=400))
    both_ways(lambda x, w: L.rms_norm(x, w, 1e-5), dtype, random(3, 300, scale=400), random(300, seed=1))
    rows = L.rms_norm(torch.full((2, 300), 400.0, dtype=dtype), None, 1e-5)
    assert torch.equal(rows, torch.ones_like(rows))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float32])
def test_the_gain_does_not_decide_the_dtype(dtype):
    x = random(2, 63).to(dtype).requires_grad_()
    gain = torch.full((1, 63), 2.0, dtype=torch.float64, requires_grad=True)
    y = L.rms_norm(x, gain, 1e-5)
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.dtype == dtype and gain.grad.dtype == torch.float64 and gain.grad.shape == gain.shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropies(dtype):
    """Logits of up to 500: rounded to bfloat16 they would be off by one."""
    targets = torch.tensor([3, -1, 0, 18, 7])
    h, w, classes = random(5, 40, scale=4), random(19, 40, scale=4, seed=1), random(4, 40, scale=4, seed=2)
    both_ways(lambda h, w: L.fused_cross_entropy(h, w, targets), dtype, h, w)
    words = random(20, 40, scale=4, seed=3)
    both_ways(lambda h, c, w: L.class_cross_entropy(h, c, w, targets, 19), dtype, h, classes, words)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["swiglu", "silu", "relu2"])
def test_feed_forward(dtype, activation):
    """The products are rounded to the dtype between the steps: eight roundings."""
    up = random(126 if activation == "swiglu" else 63, 40, scale=0.2, seed=1)
    both_ways(lambda x, u, d: L.ffn(x, u, d, activation), dtype, random(3, 40), up, random(5, 63, seed=2), within=8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotation_at_distant_positions(dtype):
    cos, sin = L.rotary_tables(9, 6, 1e4, torch.device("cpu"), first=2000)
    both_ways(
        lambda x: L.rotate(
            x,
            cos.to(x.dtype) if x.dtype == torch.float64 else cos,
            sin.to(x.dtype) if x.dtype == torch.float64 else sin,
        ),
        dtype,
        random(2, 9, 3, 6, scale=300),
    )


@pytest.mark.parametrize("documents", [None, torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2]])])
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_scores(dtype, documents):
    """Scores of some 10^5 before they are scaled; queries and keys are rounded after RoPE, so probabilities of near
    ties may move: values of one sign and size bound what that does."""
    qkv = random(1, 9, 64, scale=100)
    qkv[..., 48:] = 1 + 0.01 * random(1, 9, 16, seed=1)
    layout = L.document_layout(documents)
    found = L.causal_attention(qkv.to(dtype), 2, 1, 16, 1e4, documents=layout)
    exact = L.causal_attention(qkv.to(dtype).double(), 2, 1, 16, 1e4, documents=layout)
    assert found.dtype == dtype and torch.isfinite(found).all()
    torch.testing.assert_close(found.double(), exact.double(), rtol=0, atol=0.05)


@pytest.mark.parametrize("theta", [0.0, -1.0, float("inf"), float("nan")])
def test_a_theta_that_cannot_turn_is_refused(theta):
    with pytest.raises(ConfigError, match="rope_theta"):
        L.causal_attention(torch.zeros(1, 3, 12), 1, 1, 4, theta)


@pytest.mark.parametrize("eps", [0.0, -1.0, float("inf"), float("nan")])
def test_an_eps_that_cannot_divide_is_refused(eps):
    with pytest.raises(ConfigError, match="eps"):
        L.rms_norm(torch.zeros(1, 3), None, eps)
