"""Strict configs: nothing is dropped, nothing is guessed. Oracle: a config written as TOML reads back equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.config import from_dict, load_toml, save_toml, to_dict
from weightless.base.errors import ConfigError, WeightlessError


@dataclass(frozen=True)
class Schedule:
    kind: Literal["cosine", "linear"] = "cosine"
    warmup_steps: int = 10


@dataclass(frozen=True)
class Recipe:
    name: str
    d_model: int = 64
    max_lr: float = 1e-3
    tied: bool = True
    seeds: tuple[int, ...] = (1, 2)
    betas: tuple[float, float] = (0.9, 0.95)
    context: int | None = None
    level: Literal[1, 2] = 1
    limit: int | str = "none"
    weights: dict[str, float] = field(default_factory=dict)
    schedule: Schedule = Schedule()
    stages: tuple[Schedule, ...] = ()
    extra: Any = 0
    derived: int = field(init=False, default=7)


def build(**values):
    return from_dict(Recipe, {"name": "x", **values})


def test_values_arrive_converted():
    recipe = build(max_lr=1, seeds=[3], betas=[0, 1], stages=[{"kind": "linear"}], weights={"a": 1}, context=5)
    assert recipe.max_lr == 1.0
    assert type(recipe.max_lr) is float
    assert recipe.seeds == (3,)
    assert recipe.betas == (0.0, 1.0)
    assert recipe.stages == (Schedule("linear"),)
    assert type(recipe.weights["a"]) is float
    assert recipe.context == 5
    assert build(limit=3).limit == 3


REFUSED = [
    ({"d_modle": 3}, r"unknown key 'd_modle': did you mean 'd_model'\?"),
    ({"zzzzzz": 3}, r"unknown key 'zzzzzz': known: betas, context"),
    ({"derived": 3}, r"unknown key 'derived'"),
    ({"schedule": {"warmup": 3}}, r"unknown key 'schedule\.warmup': did you mean 'warmup_steps'\?"),
    ({"stages": [{}, {"knid": 1}]}, r"unknown key 'stages\[1\]\.knid': did you mean 'kind'\?"),
    ({"d_model": "64"}, r"d_model should be int, not '64'"),
    ({"d_model": True}, r"d_model should be int, not True"),
    ({"d_model": 64.0}, r"d_model should be int, not 64\.0"),
    ({"tied": 1}, r"tied should be bool, not 1"),
    ({"max_lr": "1e-3"}, r"max_lr should be float"),
    ({"max_lr": True}, r"max_lr should be float"),
    ({"max_lr": 10**400}, r"max_lr: an integer of 1329 bits"),
    ({"context": "long"}, r"context should be int, not 'long'"),
    ({"seeds": 3}, r"seeds should be a list, not 3"),
    ({"seeds": [1, "2"]}, r"seeds\[1\] should be int"),
    ({"betas": [0.9]}, r"betas should have 2 items, not 1"),
    ({"betas": [0.9, 0.9, 0.9]}, r"betas should have 2 items, not 3"),
    ({"schedule": {"kind": "cosin"}}, r"schedule\.kind = 'cosin': did you mean 'cosine'\?"),
    ({"schedule": 3}, r"schedule should be dict, not 3"),
    ({"level": True}, r"level = True: "),
    ({"weights": {"a": "b"}}, r"weights\.a should be float, not 'b'"),
    ({"name": None}, r"name should be str, not None"),
]


@pytest.mark.parametrize(("values", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_is_wrong_is_named(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(**values)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match="missing key 'name'"):
        from_dict(Recipe, {})
    with pytest.raises(ConfigError, match=r"missing key 'model\.name'"):
        from_dict(Recipe, {}, "model")


@pytest.mark.parametrize("values", [[], [1], "text", None, 3])
def test_what_is_no_table_is_refused(values):
    with pytest.raises(ConfigError, match="Recipe should be a table"):
        from_dict(Recipe, values)


recipes = st.builds(
    Recipe,
    name=st.text(st.characters(exclude_categories=["Cs"])),
    d_model=st.integers(-(2**63), 2**63 - 1),
    max_lr=st.floats(allow_nan=False),
    seeds=st.lists(st.integers(-9, 9)).map(tuple),
    betas=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    context=st.none() | st.integers(0, 9),
    level=st.sampled_from([1, 2]),
    limit=st.integers(0, 9) | st.text("ab"),
    weights=st.dictionaries(st.text("ab."), st.floats(0, 1)),
    stages=st.lists(st.builds(Schedule, warmup_steps=st.integers(0, 9))).map(tuple),
)


@given(recipe=recipes)
def test_toml_comes_back_equal(recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("toml") / "recipe.toml"
    save_toml(path, recipe)
    assert from_dict(Recipe, load_toml(path)) == recipe


def test_to_dict_leaves_out_what_cannot_be_given():
    assert {"context", "derived"}.isdisjoint(to_dict(build()))


@pytest.mark.parametrize(
    "content", [b"a = ", b"a = 1\na = 2", b"\xff", b"a = " + b"[" * 100_000, b"a = " + b"9" * 5000]
)
def test_damaged_toml_names_the_file(tmp_path, content):
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.toml is not valid TOML"):
        load_toml(tmp_path / "x.toml")


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(WeightlessError, match=r"no such file: .*gone\.toml"):
        load_toml(tmp_path / "gone.toml")
    with pytest.raises(WeightlessError, match="cannot read"):
        load_toml(tmp_path)
