"""Oracle: data in which the truth is planted.  Simulations count false words, with three standard errors of room."""

from __future__ import annotations

import numpy as np
import pytest
from study.planted import arms, cell, evidence

from weightless.base.errors import ArgumentError
from weightless.study.verdicts import judge, verdicts

SEEDS = [0.0, 0.01, -0.012]
TRUE = arms(A=[2.0 + e for e in SEEDS], B=[2.1 + 1.1 * e for e in SEEDS], noisy=[2.3, 1.8, 2.1])


def word(text, cells):
    return judge(text, evidence(cells)).word


@pytest.mark.parametrize(
    "text, expected",
    [
        ("A < B", "confirmed"),
        ("B < A", "refuted"),
        ("A < noisy", "undecided"),
        ("A - B < 0.02 nats", "confirmed"),
        ("B - A < 0.02 nats", "refuted"),
        ("B - A >= 0.02 nats", "confirmed"),
        ("A < 2.5 nats", "confirmed"),
        ("A < 2 nats", "undecided"),
        ("1.5 bits <= A", "refuted"),
        ("order(A, B)", "confirmed"),
        ("order(B, A)", "refuted"),
        ("order(A, noisy, B)", "undecided"),
        ("diverges(A)", "refuted"),
    ],
)
def test_planted_truths_get_their_word(text, expected):
    assert word(text, TRUE) == expected


def test_the_numbers_are_told():
    assert judge("A - B < 0.02 nats", evidence(TRUE)).reason == (
        "-0.0999 ± 0.0027 nats, bound 0.02 nats (paired over 3 seeds)"
    )
    assert judge("A < B", evidence(TRUE)).reason == "A - B = -0.0481 ± 0.0013 bits (paired over 3 seeds)"


def test_a_single_seed_decides_only_what_is_counted():
    cells = [cell("A", 0, 1.0, touched=10.0), cell("B", 0, 2.0, touched=200.0)]
    found = judge("A < B", evidence(cells))
    assert found.word == "undecided" and found.reason.startswith("single seed")
    counted = judge("A.touched / B.touched < 0.1", evidence(cells))
    assert counted.word == "confirmed" and "single seed" in counted.reason
    assert word("A.touched > B.touched", cells) == "refuted"


@pytest.mark.parametrize("status", ["missing", "failed", "lost", "running", "diverged"])
def test_an_arm_that_is_not_whole_decides_nothing(status):
    found = judge("A < B", evidence([*TRUE, cell("A", 3, status=status)]))
    assert found.word == "undecided" and f"A: 1 {status} of 4 cells" in found.reason and "so far" in found.reason


def test_an_arm_that_diverged_is_above_all():
    cells = [*TRUE, cell("none", 0, status="diverged"), cell("none", 1, status="diverged")]
    assert word("A < none", cells) == "confirmed" and word("none <= A", cells) == "refuted"
    assert word("order(A, B, none)", cells) == "confirmed" and word("diverges(none)", cells) == "confirmed"
    assert word("none - A < 0.1 nats", cells) == "refuted" and word("A - none < 0.1 nats", cells) == "confirmed"
    assert word("A < none", [*TRUE, cell("none", 0, status="diverged")]) == "undecided"


def test_a_figure_that_is_not_there_and_a_division_by_zero():
    assert "A has no memory" in judge("A.memory < B.memory", evidence(TRUE)).reason
    cells = [cell(arm, seed, 1.0, touched=0.0) for arm in "AB" for seed in (0, 1)]
    assert judge("A.touched / B.touched < 1", evidence(cells)).reason == "it divides by zero"


def test_no_number_is_refused():
    with pytest.raises(ArgumentError, match="diverged"):
        word("A < B", [*TRUE, cell("A", 5, float("nan"))])


def rates(best_at, lost_from=None, seeds=3, noise=0.001):
    """A valley over rates of powers of two with its floor at `best_at`."""
    rng = np.random.default_rng(1)
    cells = []
    for k in range(-4, 5):
        setting = {"train.max_lr": 2.0**k}
        for seed in range(seeds):
            lost = lost_from is not None and 2.0**k >= lost_from
            loss = None if lost else 2 + 0.05 * (k - np.log2(best_at)) ** 2 + rng.normal(0, noise)
            cells.append(cell(f"lr={2.0**k:g}", seed, loss, "diverged" if lost else "done", setting))
    return cells


CLAIM = "best(train.max_lr) within 4x of edge(train.max_lr)"


@pytest.mark.parametrize(
    "cells, expected, told",
    [
        (rates(2.0, 4.0), "confirmed", "a factor of 2"),
        (rates(0.25, 8.0), "refuted", "a factor of 32"),
        (rates(1.0, 4.0, noise=0.3), "undecided", "not told apart"),
        (rates(8.0), "undecided", "nothing diverged up to train.max_lr = 16"),
        (rates(0.25), "refuted", "at least"),
        (rates(2.0, 4.0, seeds=1), "undecided", "single seed"),
        ([*rates(2.0, 4.0), cell("lr=1", 3, status="lost", setting={"train.max_lr": 1.0})], "undecided", "1 lost"),
    ],
)
def test_best_and_edge(cells, expected, told):
    found = judge(CLAIM, evidence(cells))
    assert (found.word, told in found.reason) == (expected, True), found.reason


def test_false_words_are_rarer_than_alpha():
    """At the very bound, where half of the noise is on either side: 2,000 draws of three seeds, 5 % + 3 * 0.5 %."""
    rng = np.random.default_rng(3)
    wrong = 0
    for a, b in rng.normal(0, 0.05, (2000, 2, 3)):
        found = judge("A - B < 0.5 nats", evidence(arms(A=2.5 + a, B=2.0 + b)))
        wrong += found.word != "undecided"
    assert wrong / 2000 <= 0.05 + 3 * 0.005
    assert wrong > 0, "with an interval of 95 % some draws fall beyond it"


def test_a_true_prediction_is_found_and_an_order_is_not_refuted_by_chance():
    """Power: ten times the noise is confirmed in most draws.  Three equal arms in an order: refuted in at most 5 %."""
    rng = np.random.default_rng(4)
    draws = rng.normal(0, 0.01, (300, 2, 3))
    assert sum(word("A < B", arms(A=2 + a, B=2.1 + b)) == "confirmed" for a, b in draws) >= 240
    equal = rng.normal(2, 0.1, (500, 3, 3))
    assert sum(word("order(A, B, C)", arms(A=a, B=b, C=c)) == "refuted" for a, b, c in equal) / 500 <= 0.05 + 0.03


def test_every_prediction_of_a_study_has_a_verdict():
    assert [v.word for v in verdicts(evidence(TRUE, ["A < B", "B < A"]))] == ["confirmed", "refuted"]
    assert verdicts(evidence(TRUE)) == []
