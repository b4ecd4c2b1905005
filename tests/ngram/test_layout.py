"""Every promise of the layout, broken one at a time, is noticed by name before anything walks the arrays."""

from __future__ import annotations

import numpy as np
import pytest
from ngram.streams import zipfian

from weightless.base.errors import CorruptFileError
from weightless.ngram.kneser_ney import build
from weightless.ngram.layout import array_names, check_layout, order_of, vocab_of


@pytest.fixture
def arrays():
    return build(zipfian(1023, 30), 30, 4)


def test_a_whole_model_passes(arrays):
    check_layout(arrays)
    assert order_of(arrays) == 4 and vocab_of(arrays) == 30
    assert set(array_names(4)) == set(arrays)


@pytest.mark.parametrize("name", array_names(4))
def test_a_missing_or_retyped_array_is_noticed(arrays, name):
    with pytest.raises(CorruptFileError):
        check_layout({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(CorruptFileError):
        check_layout(arrays | {name: arrays[name].astype(np.int64)})
    with pytest.raises(CorruptFileError):
        check_layout(arrays | {name: arrays[name][:-1]})


@pytest.mark.parametrize(
    "name, row, value",
    [
        ("cont.0.cum", 3, 0),
        ("cont.0.cum", 29, 5),
        ("cont.2.cum", 0, 0),
        ("cont.1.cum", 0, 2**32 - 1),
        ("cont.3.word", 0, 30),
        ("ctx.2.word", 1, 0),
        ("ctx.3.word", 0, 30),
        ("ctx.1.node", (0, 0), 1),
        ("ctx.1.node", (1, 1), 2**31),
        ("ctx.2.node", (-1, 1), 7),
        ("ctx.3.node", (1, 0), 2**32 - 1),
    ],
)
def test_a_damaged_value_is_noticed(arrays, name, row, value):
    damaged = arrays[name].copy()
    damaged[row] = value
    with pytest.raises(CorruptFileError, match=name.replace(".", "\\.")):
        check_layout(arrays | {name: damaged})
