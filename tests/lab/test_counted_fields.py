"""A recipe cannot set what counting fills in: it would be overwritten without a word.

Oracle: the fields that `count` returns changed, found by counting a small text.
"""

from __future__ import annotations

import numpy as np
import pytest

from weightless.base.config import to_dict
from weightless.base.errors import ConfigError
from weightless.lab.recipe import ModelRecipe
from weightless.models.catalog import Counted, families, family

TOKENS = np.random.default_rng(5).integers(0, 40, 600)
COUNTED = [name for name in families() if isinstance(family(name), Counted)]


def filled_in(name):
    """{field: value} of what counting changes."""
    before = family(name).Config(vocab_size=40, context=16)
    after, _ = family(name).count(before, TOKENS)
    return {key: value for key, value in to_dict(after).items() if to_dict(before)[key] != value}


@pytest.mark.parametrize("name", COUNTED)
def test_each_field_is_refused_by_its_name(name):
    fields = filled_in(name)
    assert set(fields) == set(family(name).from_text)
    first = next(iter(fields))
    with pytest.raises(ConfigError, match=rf"config\.{first} = .* is counted from the text: leave it out"):
        ModelRecipe("m", name, config=fields).build_config(40)


@pytest.mark.parametrize("name", COUNTED)
def test_in_the_counted_part_of_a_mixture_too(name):
    config = {"counted": name, "counted_config": filled_in(name), "context": 16}
    with pytest.raises(ConfigError, match=r"config\.counted_config\.\w+ = .* is counted from the text"):
        ModelRecipe("m", "mixture", config=config).build_config(40)
