"""Oracles: values that scipy 1.17 gave (and scipy itself where it is installed), Holm by its definition, simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from study.planted import arms, cell, evidence

from weightless.base.errors import ArgumentError
from weightless.study.statistics import beside, difference, holm, known, loss_figure, mean, ranking

A = [1.9310, 1.9422, 1.9273, 1.9391, 1.9350]
B = [1.9391, 1.9460, 1.9344, 1.9402, 1.9447]


def by_seed(values, first=0):
    return {first + seed: value for seed, value in enumerate(values)}


@pytest.mark.parametrize(
    "n, p, low, high",
    [
        (5, 0.018442410757837202, -0.010268055191572291, -0.0016519448084276406),
        (3, 0.03959527838976787, -0.011923103191344098, -0.0007435634753225054),
        (2, 0.2207449445231833, -0.03326834018277541, 0.021368340182775395),
    ],
)
def test_paired_t_is_scipys(n, p, low, high):
    """scipy.stats.ttest_rel and its confidence_interval; 80 bisections leave 1e-12 of t."""
    found = difference(by_seed(A[:n]), by_seed(B[:n]))
    assert found.pairs == n and found.how == f"paired over {n} seeds"
    assert found.p() == pytest.approx(p, rel=1e-9)
    assert (found.value - found.half(), found.value + found.half()) == pytest.approx((low, high), rel=1e-9)


def test_welch_is_scipys():
    """scipy.stats.ttest_ind(equal_var=False); the slopes are central differences, good to 1e-9."""
    found = difference(by_seed(A), by_seed(B[:3], first=100))
    assert found.pairs == 0 and found.how == "unpaired, 5 and 3 seeds"
    assert found.df == pytest.approx(4.446550810164633, rel=1e-7)
    assert found.p() == pytest.approx(0.31157126816997976, rel=1e-7)
    ends = (found.value - found.half(), found.value + found.half())
    assert ends == pytest.approx((-0.016410243015266605, 0.006583576348599955), rel=1e-6)


def test_of_one_arm_it_is_the_t_interval():
    found = mean(by_seed(A))
    assert found.p(1.93) == pytest.approx(0.14054709603388119, rel=1e-9)
    assert found.value - found.half() == pytest.approx(1.9274723962470113, rel=1e-12)
    assert found.value + found.half(0.99) == pytest.approx(1.947270135854942, rel=1e-9)


@pytest.mark.parametrize("n, m, shared", [(3, 3, True), (7, 7, True), (2, 5, False), (4, 3, False)])
def test_random_samples_agree_with_scipy_where_it_is_installed(n, m, shared):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(n)
    x, y = rng.normal(2, 0.1, n), rng.normal(2.05, 0.3, m)
    told = stats.ttest_rel(x, y) if shared else stats.ttest_ind(x, y, equal_var=False)
    found = difference(by_seed(x), by_seed(y, 0 if shared else 50))
    interval = told.confidence_interval(0.95)
    assert found.p() == pytest.approx(told.pvalue, rel=1e-6)
    assert (found.value - found.half(), found.value + found.half()) == pytest.approx((interval.low, interval.high))


def test_a_ratio_unpaired_has_the_error_of_its_first_order():
    """Oracle: the textbook's (s_x / x)^2 + (s_y / y)^2 for a quotient."""
    x, y = by_seed([10.0, 11.0, 12.0]), by_seed([4.0, 5.0], first=10)
    found = known(lambda at: at["x"] / at["y"], {"x": x, "y": y})
    expected = 11 / 4.5 * math.sqrt((1 / 3) / 11**2 + 0.5 / 2 / 4.5**2)
    assert found.value == pytest.approx(11 / 4.5) and found.error == pytest.approx(expected, rel=1e-9)


def test_without_spread_and_without_seeds():
    same = difference(by_seed([2.0, 2.0]), by_seed([1.0, 1.0]))
    assert (same.value, same.half(), same.p()) == (1.0, 0.0, 0.0)
    assert difference(by_seed([2.0, 2.0]), by_seed([2.0, 2.0])).p() == 1.0
    one = difference({0: 2.0}, by_seed([1.0, 1.5, 3.0]))
    assert (one.value, one.half(), one.p(), one.how) == (1.0, None, None, "single seed")
    assert difference({0: 2.0, 1: 2.1}, {1: 1.0}).value == pytest.approx(1.1)


def test_no_number_is_refused():
    for values in ({0: math.nan, 1: 1.0}, {0: math.inf}):
        with pytest.raises(ArgumentError, match="seed 0.*diverged"):
            difference(values, {0: 1.0, 1: 2.0})


def test_holm_by_its_definition():
    """Reject the i-th smallest while p <= alpha / (m - i + 1): the same set at every level as adjusted p <= alpha."""
    rng = np.random.default_rng(7)
    for m in (1, 2, 5, 9):
        ps = list(rng.uniform(0, 0.1, m))
        adjusted = holm(ps)
        for alpha in (0.01, 0.05, 0.2):
            rejected = set()
            for i, j in enumerate(sorted(range(m), key=lambda k: ps[k])):
                if ps[j] > alpha / (m - i):
                    break
                rejected.add(j)
            assert {j for j in range(m) if adjusted[j] <= alpha} == rejected
    assert holm([0.01, None, 0.03]) == [0.02, None, 0.03] and holm([]) == []


def test_arms_beside_the_base_have_words_for_it():
    study = evidence(arms(base=[2.0, 2.1, 2.2], low=[1.9, 2.001, 2.1], same=[2.1, 2.0, 2.25], one=[1.0]))
    found = beside(study, dict.fromkeys(study.arms(), "base"), "nats_per_token")
    assert {arm: b.word for arm, b in found.items()} == {
        "low": "lower",
        "same": "not told apart",
        "one": "single seed",
    }
    assert beside(study, dict.fromkeys(study.arms(), "base"), "memory") == {}


def test_a_winner_within_the_noise_is_none():
    """Five arms of one truth, 1,000 times: a winner is named in at most 5 % (and three standard errors of 0.7 %)."""
    rng = np.random.default_rng(0)
    named = 0
    for draw in rng.normal(2, 0.1, (1000, 5, 3)):
        named += ranking({f"a{i}": by_seed(row) for i, row in enumerate(draw)}).winner is not None
    assert named / 1000 <= 0.05 + 3 * 0.007


def test_a_winner_beyond_the_noise_is_one():
    found = ranking({"a": by_seed([2.0, 2.1, 2.2]), "b": by_seed([2.51, 2.6, 2.7]), "c": by_seed([2.9, 3.02, 3.1])})
    assert found.winner == "a" and found.order == ("a", "b", "c") and not found.tied
    tied = ranking({"a": by_seed([2.0, 2.1, 2.2]), "b": by_seed([2.51, 1.6, 2.7]), "c": by_seed([2.9, 3.02, 3.1])})
    assert tied.winner is None and tied.tied == ("b",)
    assert ranking({"a": {0: 1.0}, "b": {0: 2.0}}).winner is None and ranking({}).order == ()


def test_arms_are_compared_by_the_loss_that_all_have():
    assert loss_figure(evidence(arms(A=[1.0], B=[2.0]))) == "bits_per_byte"
    assert loss_figure(evidence([*arms(A=[1.0]), cell("B", 0, nats_per_token=2.0)])) == "nats_per_token"
