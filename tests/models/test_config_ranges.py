"""Every number of every configuration is held to its range when the configuration is made.

Oracle: the table of what may be; NaN, both infinities and what lies just outside are refused by the field's name.  A
float field that comes later is found by itself and refuses NaN and infinity, or this fails.
"""

from __future__ import annotations

import dataclasses
import math
import typing

import pytest

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError
from weightless.models.catalog import families, family
from weightless.train.config import TrainConfig

ENDLESS_IS_A_MEANING = {("train", "checkpoint_every")}  # inf seconds: only at the end
SMALL = {"vocab_size": 300}
TRAIN = {"batch_size": 2, "context": 8, "num_steps": 3}


def made(name: str, **values):
    if name == "train":
        if values.get("seconds") is not None:
            return TrainConfig(**{**TRAIN, "num_steps": None, **values})
        return TrainConfig(**{**TRAIN, **values})
    return from_dict(family(name).Config, {**SMALL, **values})


def floats() -> list[tuple[str, str]]:
    found = []
    for name in (*families(), "train"):
        cls = TrainConfig if name == "train" else family(name).Config
        hints = typing.get_type_hints(cls)
        found += [(name, f.name) for f in dataclasses.fields(cls) if "float" in str(hints[f.name])]
    return found


@pytest.mark.parametrize(("name", "field"), floats())
def test_what_is_no_number_is_refused(name, field):
    for value in (math.nan, math.inf, -math.inf, -1e-310, -1.0):
        if value == math.inf and (name, field) in ENDLESS_IS_A_MEANING:
            continue
        with pytest.raises(ConfigError, match=field):
            made(name, **{field: value})


BAD = [
    ("dense", "rope_theta", [0.0, 0.5, 1.0, 1e308]),
    ("feather", "rope_theta", [0.0, 0.5, 1.0, 1e308]),
    ("dense", "eps", [0.0, 1e-310, 1.5]),
    ("feather", "eps", [0.0, 1e-310, 1.5]),
    ("dense", "n_heads", [-1]),
    ("dense", "n_kv_heads", [-1]),
    ("dense", "d_ff", [-8]),
    ("feather", "d_ff", [0, -8]),
    ("infinigram", "max_tokens", [-1]),
    ("train", "beta1", [1.0, 1.5]),
    ("train", "beta2", [1.0, 1.5]),
    ("train", "seconds", [0.0]),
    ("train", "warmup", [1.0, 1.5]),
]
GOOD = [("dense", "rope_theta", 1e6), ("dense", "eps", 1e-30), ("feather", "eps", 1.0), ("train", "beta1", 0.0)]


@pytest.mark.parametrize(("name", "field", "values"), BAD)
def test_what_lies_outside_is_refused(name, field, values):
    for value in values:
        with pytest.raises(ConfigError):
            made(name, **{field: value})


@pytest.mark.parametrize(("name", "field", "value"), GOOD)
def test_the_edges_are_taken(name, field, value):
    assert getattr(made(name, **{field: value}), field) == value
