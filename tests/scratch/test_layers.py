"""The layers of the student's shelf, one by one.

Oracles: torch.nn.functional (linear, embedding, rms_norm, silu), weightless.ops.rope, the definition of a truncated
normal.  float32 within 1e-6 of numbers of size one (sums of less than 100 terms); half precision within its rounding.
"""

from __future__ import annotations

import math

import pytest
import torch
from scratch.inputs import HALVES, random, strided
from torch.nn import functional as F

from weightless.ops.rope import rope
from weightless.scratch import Embedding, Linear, RMSNorm, RotaryEmbedding, SiLUFeedForward, SwiGLU, silu

LEADING = [(), (3,), (2, 0), (2, 3, 5)]


@pytest.mark.parametrize("leading", LEADING)
def test_linear(leading):
    layer, x = Linear(7, 5), random(*leading, 7)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight))
    torch.testing.assert_close(layer(strided(x)), layer(x))


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("integer", [torch.int64, torch.int32, torch.uint8, torch.int16])
def test_embedding(leading, integer):
    layer = Embedding(11, 3)
    ids = torch.randint(11, leading).to(integer)
    torch.testing.assert_close(layer(ids), F.embedding(ids.long(), layer.weight), rtol=0, atol=0)


def test_embedding_gradient_and_ids_that_cannot_be():
    layer, ids = Embedding(5, 3), torch.tensor([[1, 1], [4, 0]])
    layer(ids).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad[:, 0].tolist() == [1, 2, 0, 0, 1]
    for bad in (-1, 5):
        with pytest.raises((IndexError, RuntimeError)):
            layer(torch.tensor([bad]))
    with pytest.raises(ValueError, match="whole number"):
        layer(torch.tensor([1.0]))
    with pytest.raises(ValueError, match="whole number"):
        layer(torch.tensor([True]))


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rms_norm(leading, dtype):
    layer, x = RMSNorm(7, 1e-5, dtype=dtype), random(*leading, 7, dtype=dtype)
    layer.weight.data.uniform_(0.5, 2.0)
    torch.testing.assert_close(layer(x), F.rms_norm(x, (7,), layer.weight, 1e-5))
    torch.testing.assert_close(layer(strided(x)), layer(x))


def test_rms_norm_of_zeros_tiny_and_huge():
    layer = RMSNorm(4)
    assert not layer(torch.zeros(4)).any()
    tiny = layer(torch.full((4,), 1e-3))
    torch.testing.assert_close(tiny, torch.full((4,), 1e-3 / math.sqrt(1e-6 + 1e-5)))  # eps inside the root
    huge = layer.half()(torch.full((4,), 6e4, dtype=torch.float16))  # whose square is inf in float16
    assert huge.tolist() == [1.0] * 4


def test_silu_and_swiglu():
    x = torch.tensor([-100.0, -1.0, 0.0, 1.0, 100.0])
    torch.testing.assert_close(silu(x), F.silu(x))
    layer, x = SwiGLU(6, 10), random(2, 3, 6)
    expected = (F.silu(x @ layer.w1.weight.T) * (x @ layer.w3.weight.T)) @ layer.w2.weight.T
    torch.testing.assert_close(layer(x), expected)
    plain = SiLUFeedForward(6, 15)
    torch.testing.assert_close(plain(x), F.silu(x @ plain.w1.weight.T) @ plain.w2.weight.T)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize(("d_model", "d_ff"), [(512, 1344), (768, 2048), (1600, 4288), (5, 64)])
def test_usual_width(d_model, d_ff):
    assert SwiGLU(d_model, device="meta").w1.weight.shape == (d_ff, d_model)


@pytest.mark.parametrize("pairing", ["interleaved", "half"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rope_against_the_library(pairing, dtype):
    """Both pairings, positions in any order, per sequence, shared by heads."""
    x = random(2, 3, 5, 8, dtype=dtype)
    positions = torch.tensor([[0, 1, 2, 3, 4], [9, 9, 2, 30, 0]]).unsqueeze(1)
    turned = RotaryEmbedding(100.0, 8, 31, pairing=pairing, dtype=dtype)(x, positions)
    names = {"interleaved": "interleaved", "half": "half_split"}
    for b in range(2):
        x_THK = x[b].double().transpose(0, 1).numpy()
        expected = torch.from_numpy(rope(x_THK, positions[b, 0].numpy(), 100.0, names[pairing])).transpose(0, 1)
        near = 1e-6 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(turned[b].double(), expected, rtol=0, atol=near)


def test_rope_turns_by_the_formula_and_keeps_distances():
    turn = RotaryEmbedding(10_000.0, 2, 100, dtype=torch.float64)
    one = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    at = turn(one, torch.tensor([3]))
    torch.testing.assert_close(at, torch.tensor([[math.cos(3), math.sin(3)]], dtype=torch.float64))
    turn = RotaryEmbedding(10_000.0, 16, 100, dtype=torch.float64)
    q, k = random(1, 16, dtype=torch.float64), random(2, 8, dtype=torch.float64).reshape(1, 16)
    near = turn(q, torch.tensor([7])) @ turn(k, torch.tensor([2])).T
    far = turn(q, torch.tensor([95])) @ turn(k, torch.tensor([90])).T
    torch.testing.assert_close(near, far)


def test_rope_tables_are_never_rounded_to_half():
    x, positions = random(1, 64), torch.tensor([1003])
    turn = RotaryEmbedding(10_000.0, 64, 2048)
    expected = turn(x, positions)
    rounded = turn.to(torch.bfloat16)
    assert rounded.cos.dtype == torch.float32
    torch.testing.assert_close(rounded(x, positions), expected, rtol=0, atol=0)
    made = RotaryEmbedding(10_000.0, 64, 2048, device="meta").to_empty(device="cpu")
    torch.testing.assert_close(made(x, positions), expected, rtol=0, atol=0)
    assert not turn.state_dict()


def test_rope_refuses():
    with pytest.raises(ValueError, match="odd"):
        RotaryEmbedding(10.0, 7, 4)
    with pytest.raises(ValueError, match="interleaved, half"):
        RotaryEmbedding(10.0, 8, 4, pairing="half_split")
    turn = RotaryEmbedding(10.0, 8, 4)
    with pytest.raises(ValueError, match="max_seq_len = 4"):
        turn(torch.zeros(5, 8))
    for bad in (-1, 4):
        with pytest.raises((IndexError, RuntimeError)):
            turn(torch.zeros(1, 8), torch.tensor([bad]))


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_in_and_out(dtype):
    """Every module in half precision keeps the dtype and stays near what float64 says."""
    for make in (
        lambda **kind: Linear(7, 5, **kind),
        lambda **kind: RMSNorm(7, **kind),
        lambda **kind: SwiGLU(7, 9, **kind),
        lambda **kind: SiLUFeedForward(7, 9, **kind),
    ):
        torch.manual_seed(1)
        layer = make(dtype=dtype)
        x = random(3, 7, dtype=dtype)
        got = layer(x)
        assert {got.dtype, *(p.dtype for p in layer.parameters())} == {dtype}
        torch.testing.assert_close(got.double(), layer.double()(x.double()), rtol=0, atol=HALVES[dtype])
    x = random(3, 8, dtype=dtype)
    turned = RotaryEmbedding(10_000.0, 8, 9)(x)
    assert turned.dtype == dtype
    exact = RotaryEmbedding(10_000.0, 8, 9, dtype=torch.float64)(x.double())
    torch.testing.assert_close(turned.double(), exact, rtol=0, atol=HALVES[dtype])
    assert Embedding(3, 2, dtype=dtype)(torch.tensor([1])).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_initial_weights(dtype):
    """No weight beyond three deviations; what is left has a deviation of 0.98658 std, within 5 standard errors."""
    torch.manual_seed(3)
    for weight, std in ((Linear(300, 700, dtype=dtype).weight, math.sqrt(2 / 1000)), (Embedding(700, 300).weight, 1.0)):
        w = weight.detach().double() / std
        error = 1 / math.sqrt(2 * w.numel())
        assert abs(w.std().item() - 0.98658) < 5 * error + (1e-3 if weight.dtype.itemsize == 2 else 0)
        assert abs(w.mean().item()) < 5 / math.sqrt(w.numel())
        assert 2.9 < w.abs().max().item() <= 3 * (1 + torch.finfo(weight.dtype).eps)
    assert RMSNorm(4).weight.tolist() == [1] * 4
