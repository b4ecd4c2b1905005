"""What the variants of attention, residual stream and embedding compute.

Oracles: formulas written out position by position with PyTorch's own functions, in float64; NumPy's `ops`.
Tolerance: the rotary tables are float32, 2^-24 of numbers up to 4; everything else float64.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError
from weightless.kernels.codes import ACTIVATION_CODES
from weightless.kernels.numba.layers import activate, layer_norm
from weightless.layers import functions as L
from weightless.layers.layer import Window
from weightless.layers.residual import Residual
from weightless.models import dense
from weightless.ops.feedforward import activate as slow_activate
from weightless.ops.norm import layer_norm as slow_layer_norm
from weightless.ops.rope import rope

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
TURNED = {"rtol": 0, "atol": 1e-5}
EXACT = {"weight_format": "f32", "kv_format": "f32"}
THETA = 500.0


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gelu_is_that_of_torch_in_every_engine():
    """Compiled in float32 with an exponential of a few units in the last place: 1e-6 of numbers up to 9."""
    z = torch.linspace(-9, 9, 63, dtype=torch.float64)
    wanted = F.gelu(z, approximate="tanh")
    np.testing.assert_allclose(slow_activate(z.numpy(), "gelu"), wanted, rtol=1e-12, atol=1e-14)
    identity = torch.eye(63, dtype=torch.float64)
    torch.testing.assert_close(L.ffn(z, identity, identity, "gelu"), wanted, **TIGHT)
    hidden, out = z.numpy().astype(np.float32), np.empty(63, np.float32)
    activate(hidden, 63, ACTIVATION_CODES["gelu"], out)
    np.testing.assert_allclose(out, wanted, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("offset", [0, 300])
def test_layer_norm_is_the_same_in_every_engine(offset):
    """Oracle: PyTorch in float64.  Float32 sums of 63 numbers around 300: 63 units in the last place of 300, 1e-3."""
    x, weight, bias = random(3, 63) + offset, random(1, 63, seed=1), random(1, 63, seed=2)
    wanted = F.layer_norm(x, (63,), weight[0], bias[0], 1e-3)
    torch.testing.assert_close(L.layer_norm(x, weight, bias, 1e-3), wanted, **TIGHT)
    np.testing.assert_allclose(slow_layer_norm(x.numpy(), weight.numpy(), bias.numpy(), 1e-3), wanted, atol=1e-12)
    arrays = [z.numpy().astype(np.float32) for z in (x[0], weight[0], bias[0])]
    out = np.empty(63, np.float32)
    layer_norm(*arrays, 1e-3, out)
    np.testing.assert_allclose(out, wanted[0], rtol=0, atol=1e-3 if offset else 2e-6)


def test_layer_norm_stands_before_a_branch_only():
    with pytest.raises(ConfigError, match=r"LayerNorm stands before a branch, not 'post'"):
        Residual("x", 8, 1e-5, "post", centred=True)


def turned_by_pairs(x_THK: torch.Tensor, positions: list[int], interleaved: bool) -> torch.Tensor:
    """x cos + partner(x) sin, as model code elsewhere writes it: partners (-x[2j+1], x[2j]), or those of halves."""
    K = x_THK.shape[-1]
    angle_TJ = torch.tensor(positions, dtype=torch.float64)[:, None] * THETA ** (-torch.arange(0, K, 2) / K).double()
    if interleaved:
        angle_TK = angle_TJ.repeat_interleave(2, dim=-1)
        partner = torch.stack([-x_THK[..., 1::2], x_THK[..., 0::2]], dim=-1).flatten(-2)
    else:
        angle_TK = torch.cat([angle_TJ, angle_TJ], dim=-1)
        partner = torch.cat([-x_THK[..., K // 2 :], x_THK[..., : K // 2]], dim=-1)
    return x_THK * angle_TK.cos()[:, None] + partner * angle_TK.sin()[:, None]


def test_interleaved_rotation_equals_the_formula_and_numpy():
    x = random(2, 9, 3, 6).requires_grad_()
    cos, sin = (table.double() for table in L.rotary_tables(9, 6, THETA, torch.device("cpu")))
    have = L.rotate(x, cos, sin, interleaved=True)
    torch.testing.assert_close(have[0], turned_by_pairs(x[0], list(range(9)), True), **TURNED)
    wanted = rope(x.detach().numpy(), np.arange(9), THETA, "interleaved")
    np.testing.assert_allclose(have.detach(), wanted, rtol=0, atol=1e-5)
    assert torch.autograd.gradcheck(lambda z: L.rotate(z, cos, sin, True), x)


H, KV, K = 4, 2, 6


def by_definition(qkv_TC, documents, rotary, norms, gain, window):
    """Attention of one row, every query by itself over the keys that it may see."""
    q, k, v = (z.unflatten(-1, (-1, K)) for z in qkv_TC.split([H * K, KV * K, KV * K], dim=-1))
    if norms is not None:
        q, k = (F.rms_norm(z, (K,), norm, 1e-6) for z, norm in zip((q, k), norms, strict=True))
    place = [sum(documents[s] == documents[t] for s in range(t)) for t in range(len(documents))]
    if rotary != "none":
        q, k = (turned_by_pairs(z, place, rotary == "interleaved") for z in (q, k))
    if gain is not None:
        q = q * gain[:, None]
    rows = []
    for t in range(len(documents)):
        seen = [s for s in range(t + 1) if documents[s] == documents[t] and (window is None or t - s < window)]
        for h in range(H):
            weight = torch.softmax(k[seen, h // (H // KV)] @ q[t, h] / K**0.5, 0)
            rows.append(weight @ v[seen, h // (H // KV)])
    return torch.cat(rows).view(len(documents), H * K)


@pytest.mark.parametrize("documents", [[0] * 11, [0] * 4 + [1] * 6 + [2]], ids=["one document", "three documents"])
@pytest.mark.parametrize("window", [None, 1, 3, 10, 11, 50])
@pytest.mark.parametrize(
    ("rotary", "normed", "gained"), [("half_split", False, True), ("interleaved", True, True), ("none", True, False)]
)
def test_attention_equals_its_definition_with_its_gradients(rotary, normed, gained, window, documents):
    qkv = random(11, (H + 2 * KV) * K).requires_grad_()
    norms = [(1 + 0.3 * random(K, seed=s)).requires_grad_() for s in (1, 2)] if normed else None
    gain = (1.5 + 0.3 * random(H, seed=3)).requires_grad_() if gained else None
    layout = L.document_layout(torch.tensor([documents])) if documents[-1] else None
    q_norm, k_norm = norms or (None, None)
    vectors = {"q_norm": q_norm, "k_norm": k_norm, "q_gain": gain}
    have = L.causal_attention(qkv[None], H, KV, K, THETA, normed, "f32", layout, rotary, **vectors, window=window)[0]
    wanted = by_definition(qkv, documents, rotary, norms, gain, window)
    torch.testing.assert_close(have, wanted, **TURNED)
    leaves = [qkv, *(norms or []), *([gain] if gained else [])]
    upstream = random(11, H * K, seed=4)
    for a, b in zip(*(torch.autograd.grad(y, leaves, upstream) for y in (have, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-5)


def lively(config: dense.Config) -> tuple[object, dict[str, torch.Tensor]]:
    model = dense.FAMILY.Model(config)
    return model, {s.name: 0.3 * random(*s.shape, seed=i) for i, s in enumerate(model.tensors())}


@pytest.mark.parametrize(("positions", "sees_order"), [("none", False), ("rope", True), ("learned", True)])
def test_without_positions_one_layer_does_not_see_the_order_of_the_past(positions, sees_order):
    model, p = lively(dense.Config(61, 24, 1, n_heads=2, context=9, positions=positions, **EXACT))
    tokens = torch.tensor([[5, 11, 40, 2, 60, 7]])
    mixed = tokens[:, [3, 0, 4, 2, 1, 5]]
    here, there = (model.log_probs(p, given)[0, -1] for given in (tokens, mixed))
    assert ((here - there).abs().max() > 1e-3) == sees_order
    assert sees_order or (here - there).abs().max() < 1e-12


@pytest.mark.parametrize(("scale", "per_channel"), [(1.0, False), (0.25, False), (1.0, True)])
def test_placements_of_norms_are_their_formulas(scale, per_channel):
    x, W = random(3, 5), random(5, 5, seed=1)
    a, b, g = (1 + 0.3 * random(1, 5, seed=s) for s in (2, 3, 4))
    p = {"_norm": a, "_post_norm": b, "_scale": g}

    def norm(z, w):
        return z / (z.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w

    s = scale * (g if per_channel else 1.0)
    wanted = {
        "pre": x + s * (norm(x, a) @ W),
        "post": norm(x + s * (x @ W), b),
        "none": x + s * (x @ W),
        "sandwich": x + s * norm(norm(x, a) @ W, b),
    }
    for placement, y in wanted.items():
        residual = Residual("_", 5, 1e-5, placement, scale, per_channel)
        torch.testing.assert_close(residual.joined(p, x, residual.before(p, x) @ W), y, **TIGHT)


@pytest.mark.parametrize("tied", [True, False])
def test_two_factors_are_the_model_of_their_product(tied):
    c = {"vocab_size": 61, "d_model": 24, "n_layers": 1, "n_heads": 2, "context": 9, "tied": tied, **EXACT}
    model, p = lively(dense.Config(**c, d_embed=7))
    whole = {name: t for name, t in p.items() if name not in ("embed_widen", "head_narrow")}
    whole["embed"] = p["embed"] @ p["embed_widen"].T
    if not tied:
        whole["head"] = p["head"] @ p["head_narrow"]
    other = dense.FAMILY.Model(dense.Config(**c))
    assert {s.name for s in other.tensors()} == set(whole)
    tokens, targets = torch.tensor([[5, 11, 40, 2, 60, 7]]), torch.tensor([[11, 40, 2, 60, 7, 0]])
    torch.testing.assert_close(model.losses(p, tokens, targets), other.losses(whole, tokens, targets), **TIGHT)


def test_value_rows_are_added_to_the_values_of_their_token():
    """Attention is linear in v: a model whose rows equal -v of their token attends to nothing but zeros."""
    model, p = lively(dense.Config(61, 24, 1, n_heads=2, context=9, value_every=1, **EXACT))
    attention = model.stack.layers[1]
    tokens = torch.arange(61).repeat(2)[None, 30:40]
    x_BTD = model.stack.layers[0].forward(p, None, Window(tokens))
    qkv = attention.residual.before(p, p["embed"]) @ p[attention.qkv].T
    p[attention.value_rows] = -qkv[:, -24:]
    torch.testing.assert_close(attention.forward(p, x_BTD, Window(tokens)), x_BTD, **TIGHT)
    p[attention.value_rows] = 2 * p[attention.value_rows]
    doubled = attention.forward(p, x_BTD, Window(tokens))
    p[attention.value_rows] = 0 * p[attention.value_rows]
    plain = attention.forward(p, x_BTD, Window(tokens))
    torch.testing.assert_close(doubled - x_BTD, x_BTD - plain, **TIGHT)
