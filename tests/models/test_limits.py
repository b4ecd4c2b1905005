"""A number from a recipe must not decide how much memory reading the recipe takes.  Oracle: the error, at once."""

from __future__ import annotations

import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.models import dense, experts, feather, memory


@pytest.mark.parametrize("family", [dense, experts, feather, memory])
def test_more_layers_than_any_model_has_are_refused(family):
    with pytest.raises(ConfigError, match="n_layers 4294967296 is above 4096"):
        family.Config(n_layers=2**32)


def test_a_context_of_any_length_is_refused_in_words():
    with pytest.raises(WeightlessError, match="positions is above"):
        dense.FAMILY.decode_program(dense.Config(context=10**400))
