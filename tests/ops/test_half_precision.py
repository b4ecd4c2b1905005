"""float16 in, float16 out, float32 at least in between: what leaves the range of a half on the way is no matter.

Oracle: the same function on the same numbers in float64, rounded to float16 at the end.  Tolerance: one rounding to
float16 (2^-11) and one more for the rounding of a few intermediate results that are returned and used again.
"""

from __future__ import annotations

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.decode.cache_attention import attend_pieces
from weightless.kernels import fast_ops
from weightless.ops import flash_attention
from weightless.ops.attention import causal_attention, decode_attention, softmax
from weightless.ops.class_head import class_log_probs, slot_log_prob
from weightless.ops.cross_entropy import log_softmax, nll
from weightless.ops.feedforward import ACTIVATIONS, feedforward
from weightless.ops.flash_attention import flash_attention_bwd, flash_attention_fwd
from weightless.ops.layer_norm import layer_norm_forward
from weightless.ops.naive_attention import naive_attention_bwd, naive_attention_fwd
from weightless.ops.norm import rms_norm
from weightless.ops.rope import rope
from weightless.ops.softmax_topk import softmax_topk
from weightless.ops.ternary import ternary_linear_forward

ROUNDING = 2.0**-10


def halves(*shape, scale=1.0, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float16)


LARGE = halves(2, 3, 63, scale=400, seed=1)
QKV = [halves(9, 2, 16, scale=60, seed=i) for i in range(3)]
BHND = [np.ascontiguousarray(z.transpose(1, 0, 2)[None]) for z in (QKV[0] / 8, QKV[1] / 8, QKV[2])]
CASES = {
    "rms_norm": (lambda x: rms_norm(x, None, 1e-5), LARGE),
    "rms_norm of tiny numbers": (lambda x: rms_norm(x, None, 1e-12), halves(3, 63, scale=3e-5)),
    "layer_norm": (lambda x: layer_norm_forward(x, np.ones(63, x.dtype), np.zeros(63, x.dtype))[0], LARGE),
    "rope": (lambda x: rope(x, np.arange(2000, 2009), 1e4), QKV[0]),
    "log_softmax of many": (log_softmax, halves(1, 70_000, scale=0.1)),
    "nll": (lambda x: nll(x, np.arange(5)), halves(5, 63, scale=30)),
    "softmax of many": (softmax, halves(1, 70_000, scale=0.1)),
    "softmax_topk": (lambda x: softmax_topk(x, 3)[1], halves(2, 70_000)),
    "causal_attention": (lambda q, k, v: causal_attention(q, k, v), *QKV),
    "decode_attention": (lambda q, k, v: decode_attention(q[-1], k, v), *QKV),
    "flash": (lambda q, k, v: flash_attention_fwd(q, k, v, 4, return_cache=False), *BHND),
    "naive": (lambda q, k, v: naive_attention_fwd(q, k, v)[0], *BHND),
    "pieces": (lambda q, k, v: attend_pieces(q[0], [(0, k[0], v[0])], 9, 2), *BHND),
    "ternary": (lambda x, w: ternary_linear_forward(x, w)[0], halves(4, 2000, scale=9), halves(5, 2000, seed=2)),
    "class_log_probs": (
        lambda h, c, w: class_log_probs(h, c, w, 20),
        halves(3, 40),
        halves(4, 40, seed=1),
        halves(20, 40, seed=2),
    ),
    **{
        f"feedforward {name}": (
            lambda x, u, d, name=name: feedforward(x, u, d, name),
            halves(3, 40, scale=8),
            halves(126 if name == "swiglu" else 63, 40, scale=9, seed=1),
            halves(5, 63, scale=2e-3, seed=2),
        )
        for name in ACTIVATIONS
    },
}


@pytest.mark.parametrize("name", CASES)
def test_halves_are_worked_out_in_more(name):
    function, *arrays = CASES[name]
    found, exact = function(*arrays), function(*(array.astype(np.float64) for array in arrays))
    assert found.dtype == np.float16 and np.isfinite(found).all()
    size = np.abs(exact).max()
    np.testing.assert_allclose(found, exact, rtol=ROUNDING, atol=ROUNDING * min(size, 1e-3))


@pytest.mark.parametrize(
    "backward",
    [
        lambda dO, *z: naive_attention_bwd(dO, *z),
        lambda dO, *z: flash_attention_bwd(dO, flash_attention_fwd(*z, 4, return_cache=True)[1], 4),
    ],
    ids=["naive", "flash"],
)
def test_gradients_of_attention_in_halves(backward):
    """A gradient may cancel, so the tolerance is of the largest; flash reads O as it was rounded."""
    dO = halves(1, 2, 9, 16, seed=7)
    found, exact = (backward(*(z.astype(dtype) for z in (dO, *BHND))) for dtype in (np.float16, np.float64))
    for mine, theirs in zip(found, exact, strict=True):
        assert mine.dtype == np.float16
        np.testing.assert_allclose(mine, theirs, rtol=ROUNDING, atol=8 * ROUNDING * np.abs(theirs).max())


def test_the_gain_does_not_decide_the_dtype():
    x, gain = halves(2, 300, scale=400), np.full(300, 2.0, np.float32)
    for dtype in (np.float16, np.float32):
        y = rms_norm(x.astype(dtype), gain.astype(np.float64), 1e-5)
        assert y.dtype == dtype
        np.testing.assert_allclose(np.mean(y.astype(np.float64) ** 2, axis=-1), 4, rtol=1e-3)


def test_a_slot_of_halves_is_that_of_the_whole():
    h, classes, words = halves(40), halves(4, 40, seed=1), halves(20, 40, seed=2)
    whole = class_log_probs(h[None].astype(np.float64), *(a.astype(np.float64) for a in (classes, words)), 20)
    found = [slot_log_prob(h, classes, words, 20, slot) for slot in range(20)]
    np.testing.assert_allclose(found, whole[0], rtol=1e-5)


@pytest.mark.parametrize("theta", [0.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e308])
def test_a_theta_that_cannot_turn_is_refused(theta):
    with pytest.raises(ConfigError, match="rope_theta"):
        rope(np.ones((3, 2, 4)), np.arange(3), theta)


@pytest.mark.parametrize("eps", [0.0, -1e-5, np.inf, np.nan, 1e-310, 2.0])
def test_an_eps_that_cannot_divide_is_refused(eps):
    with pytest.raises(ConfigError, match="eps"):
        rms_norm(np.zeros(4, np.float32), None, eps)


@pytest.mark.parametrize("twin", [flash_attention, fast_ops], ids=["readable", "fast"])
def test_what_query_heads_share_is_summed_in_more(twin):
    """64 query heads on one head of keys: one rounding to float16 at the end (and O rounded once), not 64."""
    Q, dO = halves(1, 64, 9, 16, seed=1), halves(1, 64, 9, 16, seed=2)
    K, V = halves(1, 1, 9, 16, seed=3), halves(1, 1, 9, 16, seed=4)
    _, cache = twin.flash_attention_fwd(Q, K, V, 4, return_cache=True)
    exact = naive_attention_bwd(*(z.astype(np.float64) for z in (dO, Q, K, V)))
    for mine, theirs in zip(twin.flash_attention_bwd(dO, cache, 4), exact, strict=True):
        assert mine.dtype == np.float16
        assert np.abs(mine - theirs).max() < ROUNDING * np.abs(theirs).max()
