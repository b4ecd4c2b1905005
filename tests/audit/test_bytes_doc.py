"""docs/bytes.md: the worked example is read from the page, its arithmetic done, and the counters asked.

Oracle: the sums and products that stand in the table.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from weightless.models import dense
from weightless.program.cost import touched_by_formula

PAGE = (Path(__file__).parents[2] / "docs" / "bytes.md").read_text()
EXAMPLE = PAGE[PAGE.index("## An example to redo by hand") : PAGE.index("## Why believe it")]
ROW = re.compile(r"^\| ([a-z][a-z -]*?) \| (.*?) \| ([\d.· +]*?) ?\| ([\d,]+) \|$", re.MULTILINE)


def rows() -> dict[str, tuple[str, int]]:
    return {name: (sums, int(n.replace(",", ""))) for name, _, sums, n in ROW.findall(EXAMPLE)}


def program():
    settings = dict(pair.split("=") for pair in re.findall(r"(\w+=\d+)", EXAMPLE[:200]))
    return dense.FAMILY.decode_program(dense.Config(**{name: int(value) for name, value in settings.items()}))


def value(sums: str) -> float:
    return sum(math.prod(map(float, product.split("·"))) for product in sums.split("+"))


def test_the_table_has_a_row_for_every_component():
    touched = touched_by_formula(program())
    assert set(rows()) == {*touched.components, "sum"}


@pytest.mark.parametrize("name", [name for name in rows() if name != "sum"])
def test_the_arithmetic_gives_the_bytes_and_so_does_the_formula(name):
    sums, n_bytes = rows()[name]
    assert value(sums) == n_bytes == touched_by_formula(program()).components[name][0]


def test_the_sums_stand_as_counted():
    touched, found = touched_by_formula(program()), rows()
    assert (
        value(found["sum"][0])
        == found["sum"][1]
        == sum(n for name, (_, n) in found.items() if name != "sum")
        == touched.T.mean
    )
    assert f"U is {touched.U.mean:,.0f}" in EXAMPLE
    U = {name: unique for name, (_, unique, _) in touched.components.items()}
    less = {name: touched.components[name][0] - U[name] for name in U}
    assert [less[name] for name in ("head", "logits", "kv cache")] == [256, 201_028, 1_024]
    assert f"{U['activations']:,.0f} bytes instead of {touched.components['activations'][0]:,.0f}" in EXAMPLE
    assert f"Stored: {sum(t.nbytes for t in program().stored()):,} bytes" in EXAMPLE
    assert f"{touched.components['head'][0] / touched.T.mean:.1%}".replace("%", " %") in EXAMPLE


def test_what_the_page_names_exists():
    root = Path(__file__).parents[2]
    for name in re.findall(r"`((?:audit|layers)/\w+\.py)`", PAGE):
        assert (root / "src" / "weightless" / name).exists(), name
    for name in re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)`", PAGE):
        assert (root / name).exists(), name
