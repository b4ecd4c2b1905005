"""Oracles: a brute-force loop over windows, sets of targets, and bits per byte worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from contract.cases import bench
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, WeightlessError
from weightless.evals.bits_per_byte import Score, chosen_windows, evaluate, spread, whole_windows, windows
from weightless.export.lower import pack
from weightless.export.packed import open_packed


@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_every_target_is_scored_exactly_once(n, context, data):
    stride = data.draw(st.integers(1, context))
    cut = windows(n, context, stride)
    assert [target for _, scored, end in cut for target in range(scored, end)] == list(range(1, n))
    for i, (first, scored, end) in enumerate(cut):
        assert 0 <= first < scored < end <= n
        assert end - 1 - first <= context, "no window feeds more than the context"
        seen = scored - first  # tokens before the first target scored here
        assert seen >= (1 if i == 0 else min(scored, context - stride + 1)), "all the context that the stride promises"


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 60), st.integers(0, 320), st.data())
def test_a_stretch_has_the_same_targets_whatever_the_context(n, context, stretch, limit, data):
    """Oracle: the targets of evenly spaced windows that are as long as the stretch."""
    stride = data.draw(st.integers(1, context))
    wanted = [t for _, begin, stop in spread(windows(n, stretch, stretch), limit) for t in range(begin, stop)]
    cut, whole = chosen_windows(n, context, stride, limit, stretch), windows(n, context, stride)
    assert [target for _, scored, end in cut for target in range(scored, end)] == wanted
    for first, scored, end in cut:
        (window,) = {w for w in whole if w[1] <= scored and end <= w[2]}
        assert first == window[0], "as much context as without stretches"
    if stretch == context == stride:
        assert cut == chosen_windows(n, context, stride, limit)


@pytest.mark.parametrize("stride", [0, 9, -1])
def test_a_stride_outside_the_context_is_told(stride):
    with pytest.raises(ConfigError, match="stride"):
        windows(20, 8, stride)


@given(st.integers(2, 300), st.integers(1, 40))
def test_whole_windows_leave_no_partial_one(n, context):
    """Oracle: the windows themselves, of which none is shorter than the context."""
    if n <= context:
        with pytest.raises(WeightlessError, match="no whole window"):
            whole_windows(range(n), context)
        return
    kept = whole_windows(range(n), context)
    assert {end - scored for _, scored, end in windows(len(kept), context, context)} == {context}
    assert 0 <= n - len(kept) < context and list(kept) == list(range(len(kept)))


def test_windows_by_hand():
    assert windows(10, 4, 4) == [(0, 1, 5), (4, 5, 9), (5, 9, 10)]
    assert windows(8, 4, 2) == [(0, 1, 5), (2, 5, 7), (3, 7, 8)]
    assert windows(1, 4, 4) == [] and windows(2, 4, 4) == [(0, 1, 2)]


@pytest.fixture(params=[("dense", "tied_mha_swiglu_f32"), ("ngram", "order_3")], ids="-".join)
def packed(request, tmp_path):
    b = bench(*request.param)
    pack(tmp_path / "model.wl", b.name, b.config, b.arrays)
    return open_packed(tmp_path / "model.wl")


def brute_force(packed, tokens: np.ndarray, stride: int) -> float:
    """Every target on its own: a fresh engine, fed what its window holds before it."""
    context, total = packed.program.context, 0.0
    for target in range(1, len(tokens)):
        if target <= context:
            first = 0
        else:
            last = min(len(tokens) - 1, context + -(-(target - context) // stride) * stride)
            first = last - context
        engine = packed.engine(poison=True)
        for token in tokens[first:target]:
            engine.feed(int(token))
        total += engine.score(int(tokens[target]))
    return total


@pytest.mark.parametrize(("n", "stride"), [(2, None), (24, None), (101, None), (101, 5), (90, 1)])
def test_evaluate_is_the_brute_force_loop(packed, n, stride):
    """The same numbers in another order of summing: exact up to float64 rounding, with one thread or three."""
    tokens = np.random.default_rng(n).integers(0, 301, n)
    pieces = [b"x" * (i % 5) for i in range(301)]
    one, three = (evaluate(packed, tokens, pieces, stride=stride, n_threads=k) for k in (1, 3))
    wanted = brute_force(packed, tokens, stride or packed.program.context)
    assert one.nats == pytest.approx(wanted, rel=1e-12) and three.nats == one.nats
    assert one.n_tokens == n - 1 and one.n_bytes == sum(int(t) % 5 for t in tokens[1:])
    assert one.positions.min() >= 1 and one.positions.max() <= packed.program.context
    assert len(one.positions) == len(one.data_bytes) == n - 1
    assert (one.positions == three.positions).all() and (one.data_bytes == three.data_bytes).all()


@pytest.mark.parametrize(("stretch", "limit"), [(40, 60), (7, 20), (1000, 3)])
def test_evaluate_in_stretches_adds_up_their_targets(packed, stretch, limit):
    """Oracle: the nats of every target, from a pass over all of them."""
    tokens = np.random.default_rng(1).integers(0, 301, 200)
    context, nats = packed.program.context, np.zeros(200)
    for first, scored, end in windows(200, context, context):
        fed = packed.engine().score_stream(tokens[first : end - 1], tokens[first + 1 : end])
        nats[scored:end] = fed[scored - first - 1 :]
    at = [t for _, begin, stop in spread(windows(200, stretch, stretch), limit) for t in range(begin, stop)]
    found = evaluate(packed, tokens, [b"x"] * 301, limit=limit, stretch=stretch, n_threads=2)
    assert found.n_tokens == len(at) and found.nats == pytest.approx(nats[at].sum(), rel=1e-12)


def test_bits_per_byte_by_hand():
    """Three targets of 4 bytes in all, 8 nats: 8 / (4 ln 2) bits per byte."""
    score = Score(8.0, 3, 4, 1.0, np.zeros(3), np.ones(3))
    assert score.bits_per_byte == pytest.approx(8 / math.log(2) / 4, rel=1e-15)
    assert score.nats_per_token == 8 / 3
    plain = score.to_plain()
    assert plain["bytes_per_token"] == pytest.approx(4 / 3, rel=1e-14)
    assert plain["nats"] == 8.0 and plain["eval_tokens"] == 3 and plain["eval_bytes"] == 4


def test_a_model_of_equal_chances_costs_log_v(tmp_path):
    """Zero head: every one of 301 tokens costs ln 301 nats, whatever the text; 0 and 7 stand for none."""
    b = bench("dense", "untied_gqa_silu_f32")
    arrays = b.arrays | {"head": np.zeros_like(b.arrays["head"])}
    pack(tmp_path / "flat.wl", "dense", b.config, arrays)
    pieces = [b""] + [b"ab"] * 300
    tokens = np.array([0, 5, 0, 7, 300])
    score = evaluate(open_packed(tmp_path / "flat.wl"), tokens, pieces, no_bytes=[7], n_threads=1)
    # float32 nats
    assert score.nats == pytest.approx(4 * math.log(301), rel=1e-6)
    assert score.n_bytes == 4
    assert score.bits_per_byte == pytest.approx(4 * math.log2(301) / 4, rel=1e-6)


def test_too_short_a_text_and_foreign_tokens_are_told(packed):
    with pytest.raises(WeightlessError, match="nothing to score"):
        evaluate(packed, np.array([3]), [b"x"] * 301)
    with pytest.raises(ConfigError, match="vocabulary"):
        evaluate(packed, np.array([3, 301]), [b"x"] * 302)
