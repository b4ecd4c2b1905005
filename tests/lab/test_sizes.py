"""Series over training tokens: the table and the picture say what the summary says; oracle: the summary itself."""

from __future__ import annotations

import copy

import pytest
from lab.example_summary import example

from weightless.base.errors import WeightlessError
from weightless.lab.report.sizes import locator, series_of, sizes_png, sizes_table
from weightless.lab.report.summary import check_summary


def summary_of_sizes() -> dict:
    """The example's first model at three sizes and its second at two, the larger the better."""
    summary = copy.deepcopy(example())
    found, (one, two) = [], summary["models"][:2]
    for model, name, sizes in ((two, "slow", (3e6, 0.3e6)), (one, "quick", (0.3e6, 1e6, 3e6))):
        for size in sizes:
            entry = copy.deepcopy(model)
            entry |= {"name": f"{name}-{size / 1e6:g}M", "train_tokens": int(size), "seed": 0}
            entry["bits_per_byte"] = 2.0 - size / 1e7 + (0.5 if name == "slow" else 0)
            found.append(entry)
    return check_summary({**summary, "models": found})


def test_series_are_in_the_order_of_the_recipe_and_of_their_sizes():
    slow, quick = series_of(summary_of_sizes())
    assert (slow.name, quick.name) == ("slow", "quick")
    assert [p.tokens for p in slow.points] == [300_000, 3_000_000]
    assert [p.loss for p in quick.points] == pytest.approx([1.97, 1.9, 1.7])


def test_table_marks_the_least_of_each_size():
    lines = sizes_table(summary_of_sizes()).splitlines()
    assert lines[0].startswith("| training tokens | 0.3 M | 1 M | 3 M |")
    assert lines[2].startswith("| slow | 2.470 | – | 2.200 |")
    assert lines[3].startswith("| quick | **1.970** | **1.900** | **1.700** |")


@pytest.mark.parametrize("values", [(255, 777), (95, 104), (900, 5000), (311, 126_000), (9.5e6, 5e8), (1, 1e9), (7, 7)])
def test_an_axis_has_two_labels_at_least(values):
    """Within a decade, too, where a logarithmic axis has none; and never so many that they hide each other."""
    low, high = values[0] / 1.1, values[1] * 1.1
    inside = [x for x in locator(values).tick_values(low, high) if low <= x <= high]
    assert 2 <= len(inside) <= 10, inside


def test_picture_is_a_png_and_a_run_without_sizes_is_told(tmp_path):
    path = sizes_png(summary_of_sizes(), tmp_path / "sizes.png")
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000
    with pytest.raises(WeightlessError, match="train_tokens"):
        sizes_png(example(), tmp_path / "none.png")
