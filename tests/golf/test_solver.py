"""The solver.  Oracle: all plans made and measured, the best of those that fit; entropies by hand, in theory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from golf.laplace_models import made
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.artifact.squeezed import squeezed_bytes
from weightless.base.errors import ConfigError
from weightless.export.packed import open_packed
from weightless.export.repack import repack
from weightless.golf.solver import Option, Tried, entropy, entropy_bytes, k_formats, plans, refined, solve
from weightless.golf.solving import menu, solved
from weightless.quant.formats import decode_rows, encode_rows

CODERS = ("zlib",)
"""The fastest: the solver does not know which it is."""


def all_plans(groups):
    """(error, bytes, formats) of every plan there is."""
    for picks in itertools.product(*groups):
        yield sum(o.error for o in picks), sum(o.n_bytes for o in picks), tuple(o.format for o in picks)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1, max_size=4), min_size=1, max_size=4
    ),
    st.integers(1, 250),
    st.sampled_from([1.0, 0.97, 1.02]),
)
@settings(max_examples=150, deadline=None)
def test_the_answer_is_that_of_brute_force(grid, limit, off):
    """Predictions are all wrong by the same share, as those of one coder are; ties in error may fall to either."""
    groups = [
        [Option(f"{g}.{i}", 1000.0 * size, float(error)) for i, (size, error) in enumerate(options)]
        for g, options in enumerate(grid)
    ]
    sizes = {formats: round(off * size) for _, size, formats in all_plans(groups)}
    fitting = [error for error, _, formats in all_plans(groups) if sizes[formats] <= 1000 * limit]
    if not fitting:
        with pytest.raises(ConfigError, match="nothing fits"):
            solve(groups, 0.0, 1000 * limit, sizes.__getitem__)
        return
    found = solve(groups, 0.0, 1000 * limit, sizes.__getitem__)
    assert found.chosen.real == sizes[found.chosen.formats] <= 1000 * limit
    assert found.chosen.error == min(fitting)


def test_no_plan_is_left_out_that_another_does_not_beat():
    groups = [[Option("a", 5, 1), Option("b", 3, 2), Option("c", 4, 3)], [Option("d", 2, 0.5), Option("e", 1, 4)]]
    front = plans(groups)
    for error, size, _ in all_plans(groups):
        assert any(e <= error and s <= size for e, s, _ in front)
    assert [(e, s) for e, s, _ in front] == [(1.5, 7), (2.5, 5), (6, 4)]


def test_a_better_plan_that_is_predicted_to_miss_by_little_is_measured():
    options = [Option("better", 100_030.0, 1.0), Option("safe", 99_000.0, 2.0), Option("far", 101_000.0, 0.5)]
    real, asked = {"better": 99_990, "safe": 99_000, "far": 90_000}, []

    def measure(formats):
        asked.append(formats[0])
        return real[formats[0]]

    assert solve([options], 0.0, 100_000, measure).chosen.formats == ("better",) and asked == ["safe", "better"]


def test_few_measurements_are_enough():
    """192 plans of which every file would take a minute: the boundary is found in a handful."""
    coarse = [Option(fmt, 1e6 * 2 ** (-i / 16), 2.0**i) for i, fmt in enumerate(k_formats())]
    options, asked = refined(coarse), []

    def measure(formats):
        asked.append(formats)
        return round(1.015 * next(o.n_bytes for o in options if o.format == formats[0]))

    found = solve([options], 0.0, 800_000, measure)
    best = max(o.n_bytes for o in options if round(1.015 * o.n_bytes) <= 800_000)
    assert found.chosen.real == round(1.015 * best) and len(asked) <= 6
    assert len(options) == 12 * 16 + 1 and len({o.format for o in options}) == len(options)


def test_entropy_by_hand():
    assert entropy(np.array([4, 4, 0, 8])) == 1.5
    x = np.array([[1.0, -1.0, 1.0, 1.0]], np.float32)
    size, error = entropy_bytes(x, "int8_row")
    assert size == pytest.approx((4 * entropy(np.array([1, 3]))) / 8) and error < 1e-6


@pytest.mark.parametrize("fmt", ["int8_row@std8", "int6_g32", "int3_row", "t2_g128", "int4_s8"])
def test_errors_are_those_of_the_format(fmt):
    x = np.random.default_rng(0).laplace(size=(31, 96)).astype(np.float32)
    back = decode_rows(encode_rows(x, fmt), fmt, 96)
    wanted = x.size * float(((back - x) ** 2).sum() / (x.astype(np.float64) ** 2).sum())
    assert entropy_bytes(x, fmt)[1] == pytest.approx(wanted, rel=1e-5)


def test_bits_fall_by_one_when_k_doubles():
    """b - log2 k + const: of normal numbers const is log2(127/256 sqrt(2 pi e)); 0.02 for what is clipped."""
    x = np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32)
    for k in (4.0, 8.0, 16.0, 32.0):
        bits = 8 * (entropy_bytes(x, f"int8_row@std{k:g}")[0] - 2 * 64) / x.size
        assert bits == pytest.approx(
            8 - math.log2(k) + math.log2(127 / 256 * math.sqrt(2 * math.pi * math.e)), abs=0.02
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made(tmp_path_factory.mktemp("solver") / "model.wl")


@pytest.mark.parametrize(
    ("dial", "formats", "share"),
    [("bits", ["int8_row@std", "int4_row@std"], 0.7), ("k", k_formats()[2:9:2], 0.85)],
)
def test_a_small_model_against_all_files(model, tmp_path, dial, formats, share):
    """Every plan of a small grid is packed and squeezed; the prediction errs by less than half a percent."""
    whole = len(squeezed_bytes(model, CODERS)) // 4  # of float32: about what int8 takes
    limit = int(share * whole)
    found, content, by_group = solved(model, dial, formats, limit, CODERS, tmp_path)
    assert len(content) == found.chosen.real <= limit
    assert abs(found.prediction_error) < 0.005
    (tmp_path / "out.wlz").write_bytes(content)
    assert {t.format for t in open_packed(tmp_path / "out.wlz").program.stored()} == {*by_group.values(), "f32"}
    for plan in found.tried:
        if plan.error < found.chosen.error:
            real = plan.real or real_size(model, plan, by_group, tmp_path)
            assert real > limit and abs(plan.predicted / real - 1) < 0.01


def real_size(model, plan: Tried, by_group, folder) -> int:
    from weightless.golf.matrices import by_component, matrices

    groups = by_component(matrices(open_packed(model)))
    chosen = dict(zip(by_group, plan.formats))
    formats = {name: chosen.get(group, plan.formats[0]) for group, names in groups.items() for name in names}
    repack(model, folder / "brute.wl", plan=formats)
    return len(squeezed_bytes(folder / "brute.wl", CODERS))


def test_menus(tmp_path, model):
    assert menu("k") == k_formats() and menu("k", ["int6"])[3].startswith("int6_row@std")
    for dial, formats, told in (
        ("k", ("int8", "int6"), "one base"),
        ("bits", ("f16",), "no codes"),
        ("bits", ("int4", "int4"), "twice"),
        ("bits", ("int44",), "did you mean"),
    ):
        with pytest.raises(ConfigError, match=told):
            menu(dial, formats)
    with pytest.raises(ConfigError, match="nothing fits 9,000 bytes: the smallest plan"):
        solved(model, "bits", ["int4_row@std"], 9000, CODERS, tmp_path)
