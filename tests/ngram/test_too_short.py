"""A text shorter than one n-gram is refused in one line.  Oracle: the order itself."""

from __future__ import annotations

import numpy as np
import pytest

from weightless.base.errors import ConfigError
from weightless.lab.making import counted
from weightless.models import ngram


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_tokens_than_the_order_are_refused(n):
    with pytest.raises(ConfigError, match=f"{n} training tokens"):
        ngram.count(ngram.Config(vocab_size=10, order=3, context=8), np.zeros(n, np.uint16))


def test_as_many_as_the_order_are_counted():
    config, arrays = ngram.count(ngram.Config(vocab_size=10, order=3, context=8), np.arange(3, dtype=np.uint16))
    assert config.nodes == (10, 1) and arrays


def test_an_order_of_which_no_ngram_is_frequent_enough_is_refused():
    """Text in which nothing repeats, seen twice by a table that wants three, and text that repeats."""
    tokens = np.arange(300, dtype=np.uint16)
    config = ngram.Config(vocab_size=320, order=5, context=8, min_counts=(1, 1, 1, 1, 3))
    with pytest.raises(ConfigError, match=r"no n-gram of order 5 is counted 3 times .* take order = 4"):
        ngram.count(config, np.tile(tokens, 2))
    assert ngram.count(config, np.tile(tokens, 3))[0].entries[3] > 0


def test_a_text_that_begins_without_repeating_is_counted(tmp_path):
    """What compiles beforehand takes the first tokens, which need not hold what the whole text does."""
    text = np.random.default_rng(0).permutation(5000).astype(np.uint16) % 4099
    config = ngram.Config(vocab_size=4099, order=5, context=8, min_counts=(1, 1, 1, 1, 3))
    made = counted(ngram.FAMILY, config, np.tile(text, 3))
    assert made.record["tokens_seen"] == 15_000 and min(made.config.entries) > 0
