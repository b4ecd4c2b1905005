"""The table of bytes at the head of recipes/feather_anew.toml is what its models touch.

Oracle: the formula, from each configuration alone; the table has one decimal.
"""

from __future__ import annotations

import re

import pytest

from weightless.lab.recipe import load_recipe
from weightless.models.catalog import trained
from weightless.program.cost import touched_by_formula

COLUMNS = (
    (),  # all of them
    ("feed-forward", "experts", "router"),
    ("attention", "scan"),
    ("kv cache", "recurrent state"),
    ("activations",),
    ("head",),
)
ROW = re.compile(r"^#   ([a-z0-9-]+) +((?:[\d.]+ +){6})\S", re.MULTILINE)


@pytest.fixture(scope="module")
def path(request):
    return request.config.rootpath / "recipes" / "feather_anew.toml"


@pytest.fixture(scope="module")
def models(path):
    return {model.name: model for model in load_recipe(path).model}


def test_the_table_of_bytes_is_that_of_its_models(path, models):
    table = {name: numbers.split() for name, numbers in ROW.findall(path.read_text())}
    assert table.keys() == models.keys() and len(table) == 12
    for name, stated in table.items():
        config = models[name].build_config(4096)
        parts = touched_by_formula(trained("feather").decode_program(config)).components
        for column, words in zip(COLUMNS, stated, strict=True):
            found = sum(T for line, (T, _, _) in parts.items() if not column or line in column)
            assert f"{found / 1e3:.1f}" == words, (name, column)


def test_five_of_its_models_touch_less_than_half(models):
    """Of 125.2 kB; their names stand in the table."""
    fewer = [name for name in models if name.startswith(("one-block", "two-"))]
    assert len(fewer) == 5
    for name in fewer:
        program = trained("feather").decode_program(models[name].build_config(4096))
        assert touched_by_formula(program).T.mean <= 62_588
