"""The NumPy truth against PyTorch in float64 (1e-12: both sum in the same precision, in another order)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from weightless.base.errors import ConfigError
from weightless.ops.attention import causal_attention, decode_attention
from weightless.ops.class_head import class_log_probs, slot_log_prob
from weightless.ops.cross_entropy import log_softmax, nll
from weightless.ops.feedforward import feedforward, silu
from weightless.ops.norm import rms_norm
from weightless.ops.rope import Stretch, half_split_order, rope, rope_angles

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def torched(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("width", [1, 63, 64])
def test_rms_norm(width):
    x, weight = random(3, 5, width), random(1, width, seed=1)
    tx, tw = torched(x, weight[0])
    np.testing.assert_allclose(rms_norm(x, weight, 1e-5), F.rms_norm(tx, (width,), tw, 1e-5), **CLOSE)
    np.testing.assert_allclose(rms_norm(x, None, 1e-6), F.rms_norm(tx, (width,), None, 1e-6), **CLOSE)
    assert rms_norm(x.astype(np.float32), weight.astype(np.float32), 1e-5).dtype == np.float32
    assert (rms_norm(np.zeros((2, width)), weight, 1e-5) == 0).all()


def rope_by_complex_numbers(x: torch.Tensor, positions: torch.Tensor, theta: float) -> torch.Tensor:
    """The paper's form: interleaved pairs as complex numbers times exp(i angle)."""
    width = x.shape[-1]
    angle = torch.outer(positions.double(), theta ** (-torch.arange(0, width, 2).double() / width))
    turned = (
        torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2)) * torch.polar(torch.ones_like(angle), angle)[:, None]
    )
    return torch.view_as_real(turned).flatten(-2)


@pytest.mark.parametrize("width", [2, 6, 64])
def test_rope_both_pairings(width):
    x, positions = random(7, 3, width), np.array([0, 1, 2, 5, 100, 511, 4095])
    wanted = rope_by_complex_numbers(*torched(x, positions), 10000.0).numpy()
    np.testing.assert_allclose(rope(x, positions, 10000.0, "interleaved"), wanted, **CLOSE)
    order = half_split_order(width)
    np.testing.assert_allclose(rope(x[..., order], positions, 10000.0), wanted[..., order], **CLOSE)


def test_rope_keeps_lengths_and_depends_on_distance_only():
    q, k = random(1, 1, 16), random(1, 1, 16, seed=1)
    scores = [float((rope(q, np.array([t + 9]), 100.0) * rope(k, np.array([t]), 100.0)).sum()) for t in (0, 3, 1000)]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-11)
    np.testing.assert_allclose(np.linalg.norm(rope(q, np.array([77]), 100.0)), np.linalg.norm(q), **CLOSE)


@pytest.mark.parametrize("by", [Stretch(8.0, 1.0, 4.0, 40), Stretch(32.0, 1.0, 4.0, 8192), Stretch(1.5, 0.25, 3.0, 7)])
def test_stretched_angles_are_the_three_published_cases(by):
    """Long waves are slowed, short ones stay, and those between are mixed: one wave at a time."""
    theta, K = 500.0, 22
    for j in range(K // 2):
        frequency = theta ** (-2 * j / K)
        wave = 2 * np.pi / frequency
        if wave < by.learned / by.high:
            wanted = frequency
        elif wave > by.learned / by.low:
            wanted = frequency / by.factor
        else:
            smooth = (by.learned / wave - by.low) / (by.high - by.low)
            wanted = (1 - smooth) * frequency / by.factor + smooth * frequency
        np.testing.assert_allclose(rope_angles(np.array([0, 9]), K, theta, by)[:, j], [0, 9 * wanted], rtol=1e-12)


def test_rope_refusals():
    with pytest.raises(ConfigError, match="must be even"):
        rope_angles(np.arange(2), 3, 10000.0)
    with pytest.raises(ConfigError, match="did you mean 'half_split'"):
        rope(random(1, 1, 4), np.arange(1), 10000.0, "half-split")


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(1, 1), (4, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("window", [None, 1, 4, 100])
def test_causal_attention(n_heads, n_kv_heads, window):
    n_positions, width = 9, 6
    q, k, v = random(n_positions, n_heads, width), *random(2, n_positions, n_kv_heads, width, seed=1)
    age = torch.arange(n_positions)[:, None] - torch.arange(n_positions)
    mask = (age >= 0) & (age < (window or n_positions))
    heads_first = [z.transpose(0, 1) for z in torched(q, k, v)]
    wanted = F.scaled_dot_product_attention(*heads_first, attn_mask=mask, enable_gqa=True).transpose(0, 1)
    np.testing.assert_allclose(causal_attention(q, k, v, window), wanted, **CLOSE)


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(1, 1), (4, 4), (6, 2), (5, 1)])
@pytest.mark.parametrize("window", [None, 1, 4])
def test_decoding_equals_every_row_of_causal_attention(n_heads, n_kv_heads, window):
    q, k, v = random(9, n_heads, 6), *random(2, 9, n_kv_heads, 6, seed=1)
    whole = causal_attention(q, k, v, window)
    for t in range(9):
        np.testing.assert_allclose(decode_attention(q[t], k[: t + 1], v[: t + 1], window), whole[t], **CLOSE)


def test_attention_survives_huge_scores_and_refuses_uneven_heads():
    q, k, v = 1e4 * random(3, 2, 4), 1e4 * random(3, 2, 4, seed=1), random(3, 2, 4, seed=2)
    assert np.isfinite(causal_attention(q, k, v)).all()
    with pytest.raises(ConfigError, match="multiple of n_kv_heads"):
        causal_attention(random(3, 3, 4), k, v)


@pytest.mark.parametrize("activation", ["swiglu", "silu", "relu2"])
@pytest.mark.parametrize("d_ff", [1, 63])
def test_feedforward(activation, d_ff):
    x, down = random(5, 7), random(7, d_ff, seed=1)
    up = random(2 * d_ff if activation == "swiglu" else d_ff, 7, seed=2)
    tx, tu, td = torched(x, up, down)
    hidden = tx @ tu.T
    acts = {
        "swiglu": lambda: F.silu(hidden[:, :d_ff]) * hidden[:, d_ff:],
        "silu": lambda: F.silu(hidden),
        "relu2": lambda: F.relu(hidden).square(),
    }
    np.testing.assert_allclose(feedforward(x, up, down, activation), acts[activation]() @ td.T, **CLOSE)


def test_silu_at_the_ends_and_feedforward_refusals():
    z = np.array([-1e4, -50.0, -1.0, 0.0, 1.0, 50.0, 1e4])
    np.testing.assert_allclose(silu(z), F.silu(torch.from_numpy(z)), **CLOSE)
    with pytest.raises(ConfigError, match="did you mean 'swiglu'"):
        feedforward(random(1, 2), random(4, 2), random(2, 4), "swigl")
    with pytest.raises(ConfigError, match="needs 8 rows of `up`, got 4"):
        feedforward(random(1, 2), random(4, 2), random(2, 4), "swiglu")


def test_cross_entropy():
    logits, targets = 30 * random(2, 5, 63), np.random.default_rng(1).integers(0, 63, (2, 5))
    tl, tt = torched(logits, targets)
    np.testing.assert_allclose(log_softmax(logits), F.log_softmax(tl, -1), **CLOSE)
    wanted = F.cross_entropy(tl.flatten(0, 1), tt.flatten(), reduction="none").view(2, 5)
    np.testing.assert_allclose(nll(logits, targets), wanted, **CLOSE)
    assert np.isfinite(log_softmax(1e300 * np.array([[1.0, -1.0, 0.5]]))).all()
    assert log_softmax(np.array([0.0, -np.inf])).tolist() == [0.0, -np.inf]
    for bad in (-1, 63):
        with pytest.raises(ConfigError, match="the vocabulary has 63"):
            nll(logits[0, 0], np.array(bad))


@pytest.mark.parametrize(
    ("n_classes", "n_words", "n_valid"), [(5, 7, 35), (5, 7, 29), (5, 7, 31), (1, 9, 9), (9, 1, 9)]
)
def test_class_head(n_classes, n_words, n_valid):
    """Sums to one; equals torch's log-softmax per level; one slot's path equals the full distribution."""
    h, classes = random(4, 6), random(n_classes, 6, seed=1)
    words = random(n_classes * n_words, 6, seed=2)
    full = class_log_probs(h, classes, words, n_valid)
    assert full.shape == (4, n_valid)
    np.testing.assert_allclose(np.exp(full).sum(1), 1, **CLOSE)
    th, tc, tw = torched(h, classes, words)
    for n in range(4):
        for slot in range(n_valid):
            c, w = divmod(slot, n_words)
            members = tw[c * n_words : min((c + 1) * n_words, n_valid)]
            wanted = F.log_softmax(tc @ th[n], 0)[c] + F.log_softmax(members @ th[n], 0)[w]
            np.testing.assert_allclose(full[n, slot], wanted, **CLOSE)
            np.testing.assert_allclose(slot_log_prob(h[n], classes, words, n_valid, slot), wanted, **CLOSE)


def test_class_head_refusals():
    h, classes, words = random(1, 4), random(3, 4), random(12, 4)
    with pytest.raises(ConfigError, match="do not divide"):
        class_log_probs(h, classes, words[:11], 11)
    for n_valid in (8, 13):
        with pytest.raises(ConfigError, match="only the last of 3 classes"):
            class_log_probs(h, classes, words, n_valid)
    with pytest.raises(ConfigError, match="slot 10 is not one of the 10 words"):
        slot_log_prob(h[0], classes, words, 10, 10)
