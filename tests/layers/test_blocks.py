"""Oracles: autograd's numerical check in float64, PyTorch's own functions, and the readable NumPy blocks of `ops`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.layers import functions as L
from weightless.ops.attention import causal_attention as slow_attention
from weightless.ops.feedforward import feedforward
from weightless.ops.hashing import last_tokens, row_index_scalar
from weightless.ops.norm import rms_norm as slow_rms_norm
from weightless.ops.rope import rope
from weightless.quant.formats import decode_rows, encode_rows

TIGHT = {"rtol": 1e-12, "atol": 1e-12}  # float64
SINGLE = {"rtol": 2e-5, "atol": 2e-6}  # float32 sums of up to 63 terms in another order


def random(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (2, 3, 9)])
def test_rms_norm_equals_torch_and_numpy_with_its_gradients(shape, weighted):
    x = random(*shape).requires_grad_()
    weight = random(1, shape[-1], seed=1).requires_grad_() if weighted else None
    mine, theirs = L.rms_norm(x, weight, 1e-5), F.rms_norm(x, shape[-1:], None if weight is None else weight[0], 1e-5)
    torch.testing.assert_close(mine, theirs, **TIGHT)
    numpy_weight = None if weight is None else weight.detach().numpy()
    np.testing.assert_allclose(mine.detach(), slow_rms_norm(x.detach().numpy(), numpy_weight, 1e-5), rtol=1e-12)
    leaves = [x] if weight is None else [x, weight]
    upstream = random(*shape, seed=2)
    for a, b in zip(*(torch.autograd.grad(y, leaves, upstream) for y in (mine, theirs)), strict=True):
        torch.testing.assert_close(a, b, **TIGHT)
    assert torch.autograd.gradcheck(lambda *given: L.rms_norm(given[0], *given[1:] or (None,), 1e-5), leaves)


def test_rms_norm_of_zeros_is_zero_and_wrong_widths_are_told():
    x = torch.zeros(3, 5, requires_grad=True)
    y = L.rms_norm(x, None, 1e-5)
    y.sum().backward()
    assert torch.equal(y, x) and torch.isfinite(x.grad).all()
    with pytest.raises(ValueError, match="width"):
        L.rms_norm(x, torch.ones(4), 1e-5)


@pytest.mark.parametrize("theta", [100.0, 10_000.0])
def test_rotation_equals_numpy_and_turns_back_in_its_gradient(theta):
    x = random(2, 9, 3, 6).requires_grad_()
    cos, sin = (table.double() for table in L.rotary_tables(9, 6, theta, torch.device("cpu")))
    wanted = rope(x.detach().numpy(), np.arange(9), theta)
    # the tables are float32: 2^-24 of numbers up to 4
    np.testing.assert_allclose(L.rotate(x, cos, sin).detach(), wanted, rtol=0, atol=1e-6)
    assert torch.autograd.gradcheck(lambda z: L.rotate(z, cos, sin), x)


def test_rotary_tables_are_exact_at_distant_positions():
    """Angles are computed in float64: at position 100,000 the worst error is still float32's own."""
    cos, sin = L.rotary_tables(100_001, 4, 10_000.0, torch.device("cpu"))
    angles = 100_000 * 10_000.0 ** (-np.arange(0, 4, 2) / 4)
    np.testing.assert_allclose(cos[-1], np.cos(angles), atol=1e-7)
    np.testing.assert_allclose(sin[-1], np.sin(angles), atol=1e-7)


def slow_causal(qkv_TC, heads, kv, d, theta, qk_norm, kv_format):
    """The same attention from the readable blocks, with the cache packed and unpacked."""
    T = len(qkv_TC)
    q, k, v = np.split(qkv_TC, [heads * d, (heads + kv) * d], axis=1)
    q, k = q.reshape(T, heads, d), k.reshape(T, kv, d)
    if qk_norm:
        q, k = slow_rms_norm(q, None, 1e-6), slow_rms_norm(k, None, 1e-6)
    q, k = rope(q, np.arange(T), theta), rope(k, np.arange(T), theta)
    rows = np.concatenate([k.reshape(T, -1), v], axis=1)
    rows = decode_rows(encode_rows(rows, kv_format), kv_format, rows.shape[1])
    k, v = np.split(rows.reshape(T, 2 * kv, d), 2, axis=1)
    return slow_attention(q, k, v).reshape(T, -1)


@pytest.mark.parametrize(("heads", "kv"), [(3, 3), (4, 2), (3, 1)])
@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize("kv_format", ["f32", "bf16", "int8"])
def test_attention_equals_numpy(heads, kv, qk_norm, kv_format):
    """With a rounded cache a last-bit difference may reach the next code: half a code of numbers up to 4 shows."""
    qkv = random(2, 23, (heads + 2 * kv) * 6, dtype=torch.float32)
    have = L.causal_attention(qkv, heads, kv, 6, 500.0, qk_norm, kv_format).numpy()
    for row, mine in zip(qkv.numpy(), have, strict=True):
        wanted = slow_causal(row, heads, kv, 6, 500.0, qk_norm, kv_format)
        np.testing.assert_allclose(mine, wanted, rtol=0, atol=5e-6 if kv_format == "f32" else 4 / 127)
        assert np.mean(np.abs(mine - wanted) < 5e-6) > 0.98


def test_attention_gradient_passes_the_rounding_unchanged():
    """Straight-through: the gradient at the rounded cache, with respect to what was rounded."""
    qkv = random(1, 7, 24, dtype=torch.float32).requires_grad_()
    for kv_format in ("bf16", "int8"):
        rounded, plain = (
            torch.autograd.grad(L.causal_attention(qkv, 2, 1, 6, 500.0, kv_format=f).sum(), qkv)[0]
            for f in (kv_format, "f32")
        )
        torch.testing.assert_close(rounded, plain, rtol=0.05, atol=0.05)
        assert (rounded[0, 3] != 0).any()


@pytest.mark.parametrize("activation", ["swiglu", "silu", "relu2"])
def test_feed_forward_equals_numpy(activation):
    x, down = random(2, 5, 7, dtype=torch.float32), random(7, 9, seed=1, dtype=torch.float32)
    up = random(18 if activation == "swiglu" else 9, 7, seed=2, dtype=torch.float32)
    wanted = feedforward(x.numpy(), up.numpy(), down.numpy(), activation)
    torch.testing.assert_close(L.ffn(x, up, down, activation), torch.from_numpy(wanted), **SINGLE)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_hashed_rows_are_exact_integers_and_look_only_back(order):
    tokens = torch.randint(0, 60_000, (2, 11), generator=torch.Generator().manual_seed(0))
    rows = L.hashed_rows(tokens, order, 77, 1009, pad=60_001)
    assert rows.shape == tokens.shape and rows.dtype == torch.int64
    for row, line in zip(rows.tolist(), last_tokens(tokens.numpy(), order, 60_001).tolist(), strict=True):
        assert row == [row_index_scalar(ngram, 77, 1009) for ngram in line]
    later = tokens.clone()
    later[:, 6:] += 1
    assert torch.equal(L.hashed_rows(later, order, 77, 1009, pad=60_001)[:, :6], rows[:, :6])


def test_looked_up_rows_have_a_gradient_only_where_they_are():
    table = random(13, 3).requires_grad_()
    rows = torch.tensor([[4, 4, 9]])
    torch.testing.assert_close(L.looked_up(table, rows), table[rows], rtol=0, atol=0)
    L.looked_up(table, rows).sum().backward()
    assert table.grad.is_sparse
    wanted = torch.zeros(13, 3, dtype=torch.float64)
    wanted[4], wanted[9] = 2, 1
    assert torch.equal(table.grad.to_dense(), wanted)
