"""The plan: first match decides, and nothing is ever left to chance."""

import pytest

from weightless.base.errors import ConfigError
from weightless.quant.plan import Plan

FORMATS = dict.fromkeys(["embed", "block.0.norm", "block.0.qkv", "block.1.norm", "block.1.qkv", "head"], "bf16")
VECTORS = frozenset({"block.0.norm", "block.1.norm"})


def test_first_match_decides_and_the_rest_stays():
    plan = Plan.of({"embed": "int8", "block.1.*": "t2_g128@lsq", "block.*": "int4"})
    assert plan.applied(FORMATS, VECTORS) == {
        **FORMATS,
        "embed": "int8",
        "block.0.qkv": "int4",
        "block.1.qkv": "t2_g128@lsq",
    }
    assert Plan().applied(FORMATS) == FORMATS


def test_a_pattern_without_a_tensor_names_the_nearest():
    with pytest.raises(ConfigError, match=r"'blok.\*.qkv' matches no tensor: did you mean 'block.[01].qkv'"):
        Plan.of({"blok.*.qkv": "f32"}).applied(FORMATS)
    with pytest.raises(ConfigError, match="the model has none"):
        Plan.of({"*": "f32"}).applied({})


def test_a_pattern_that_decides_nothing_is_refused():
    with pytest.raises(ConfigError, match="'embed' decides about no tensor: those before it meet all that it does"):
        Plan.of({"*": "int4", "embed": "int8"}).applied(FORMATS, VECTORS)
    with pytest.raises(ConfigError, match="meets only vectors"):
        Plan.of({"*.norm": "int8"}).applied(FORMATS, VECTORS)


def test_unknown_format_and_double_pattern_are_refused():
    with pytest.raises(ConfigError, match="unknown format 'int9'"):
        Plan.of({"*": "int9"})
    with pytest.raises(ConfigError, match="no format of weights"):
        Plan.of({"*": "u8"})
    with pytest.raises(ConfigError, match="twice"):
        Plan((("*", "f32"), ("*", "int4")))
