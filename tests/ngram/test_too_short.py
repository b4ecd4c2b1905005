"""A text shorter than one n-gram is refused in one line.  Oracle: the order itself."""

from __future__ import annotations

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.models import ngram


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_tokens_than_the_order_are_refused(n):
    with pytest.raises(ConfigError, match=f"{n} training tokens"):
        ngram.count(ngram.Config(vocab_size=10, order=3, context=8), np.zeros(n, np.uint16))


def test_as_many_as_the_order_are_counted():
    config, arrays = ngram.count(ngram.Config(vocab_size=10, order=3, context=8), np.arange(3, dtype=np.uint16))
    assert config.nodes == (10, 1) and arrays
