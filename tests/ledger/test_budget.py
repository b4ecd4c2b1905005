"""The search for the largest point within budgets.  Oracle: brute force over the whole grid."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError
from weightless.ledger.budget import Dial, Impossible, exceeded, largest, last_true


@given(st.integers(0, 1000), st.one_of(st.none(), st.integers(0, 1000)))
def test_last_true_is_the_last(edge, bound):
    asked = []

    def holds(n: int) -> bool:
        asked.append(n)
        return n <= edge

    assert last_true(holds, bound) == (edge if bound is None else min(edge, bound))
    assert len(asked) <= 22 and (bound is None or max(asked, default=0) <= bound)


def bilinear(coefficients):
    """Costs that grow with every dial: weights (1 + a) (1 + b), state (1 + a) + c."""
    p, q, r = coefficients

    def costs(point):
        a, b, c = point
        return {"weights": {"core": p * (1 + a) * (1 + b), "rows": q * c}, "state": {"all": r * (1 + a) + c}}

    return costs


@given(
    st.tuples(*[st.integers(1, 5)] * 3),
    st.tuples(st.integers(1, 60), st.integers(1, 40)),
    st.tuples(*[st.integers(0, 6)] * 3),
)
def test_the_result_is_the_greatest_point_of_the_grid(coefficients, amounts, bounds):
    costs, limits = bilinear(coefficients), {"weights": amounts[0], "state": amounts[1]}
    assume(not exceeded(costs((0, 0, 0)), limits))
    grid = itertools.product(*(range(bound + 1) for bound in bounds))
    wanted = max(point for point in grid if not exceeded(costs(point), limits))
    dials = [Dial(name, lambda before, bound=bound: bound) for name, bound in zip("abc", bounds, strict=True)]
    found = largest(dials, costs, limits)
    assert tuple(turned.value for turned in found) == wanted
    for i, turned in enumerate(found):
        beyond = (*wanted[:i], wanted[i] + 1, *[0] * (2 - i))
        assert wanted[i] == bounds[i] or exceeded(costs(beyond), limits)
        assert bool(turned.stopped_by) == (wanted[i] < bounds[i])


def test_a_dial_that_no_budget_sees_is_left_alone():
    dials = [Dial("seen", lambda before: None), Dial("unseen", lambda before: None)]
    found = largest(dials, lambda point: {"bytes": {"all": 3 * point[0] + 1}}, {"bytes": 11})
    assert [turned.value for turned in found] == [3, 0]


def test_a_budget_that_is_used_up_exactly_is_kept():
    found = largest([Dial("a", lambda before: None)], lambda point: {"bytes": {"all": 3 * point[0] + 1}}, {"bytes": 10})
    assert found[0] == ("a", 3, ("bytes",))


def test_a_bound_may_depend_on_the_dials_before():
    dials = [Dial("a", lambda before: 2), Dial("b", lambda before: before[0] + 1)]
    found = largest(dials, lambda point: {"bytes": {"all": sum(point)}}, {"bytes": 100})
    assert [(turned.value, turned.stopped_by) for turned in found] == [(2, ()), (3, ())]


def test_an_impossible_budget_names_its_largest_component():
    costs = {"touched": {"head": 90.0, "body": 20.0}, "stored": {"head": 1.0}}
    with pytest.raises(Impossible, match=r"touched 100: .* takes 110, 90 of it for head") as caught:
        largest([Dial("a", lambda before: None)], lambda point: costs, {"stored": 5, "touched": 100})
    assert (caught.value.budget, caught.value.component) == ("touched", "head")


def test_no_budget_and_endless_searches_are_refused():
    with pytest.raises(ConfigError, match="at least one budget"):
        largest([], lambda point: {}, {})
    with pytest.raises(ConfigError, match="no budget limits"):
        last_true(lambda n: True)
