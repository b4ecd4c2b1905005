"""The plan: first match decides, and nothing is ever left to chance."""

import pytest

from weightless.base.errors import ConfigError
from weightless.quant.plan import Plan

NAMES = ["embed", "blocks.0.norm", "blocks.0.qkv", "blocks.1.norm", "head"]


def test_first_match_decides():
    plan = Plan.of({"embed": "int8", "blocks.*.norm": "f32", "*": "int4"})
    assert plan.formats_of(NAMES) == {
        "embed": "int8",
        "blocks.0.norm": "f32",
        "blocks.0.qkv": "int4",
        "blocks.1.norm": "f32",
        "head": "int4",
    }
    assert Plan.of({"*": "int4", "embed": "int8"}).format_of("embed") == "int4"


def test_a_pattern_without_a_tensor_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'blocks.\*.norms' matches no tensor: did you mean 'blocks.[01].norm'"):
        Plan.of({"blocks.*.norms": "f32", "*": "int4"}).formats_of(NAMES)
    with pytest.raises(ConfigError, match="the model has none"):
        Plan.of({"*": "f32"}).formats_of([])


def test_a_tensor_without_a_pattern_is_refused():
    with pytest.raises(ConfigError, match=r"nothing about tensor 'head': end it with a rule for '\*'"):
        Plan.of({"embed": "int8"}).format_of("head")


def test_unknown_format_and_double_pattern_are_refused():
    with pytest.raises(ConfigError, match="unknown format 'int9'"):
        Plan.of({"*": "int9"})
    with pytest.raises(ConfigError, match="twice"):
        Plan((("*", "f32"), ("*", "int4")))


def test_case_matters():
    with pytest.raises(ConfigError, match="nothing about"):
        Plan.of({"Embed": "f32"}).format_of("embed")
