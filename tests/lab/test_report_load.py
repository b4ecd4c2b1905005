"""The load of experts on the report page and behind `train`: busiest, idle, a bar for each.

Oracle: shares written down here, and what follows from them by hand.
"""

from __future__ import annotations

import re

import pytest
from lab.example_summary import example

from weightless.base.errors import CorruptFileError
from weightless.lab.report.load import loads_of
from weightless.lab.report.page import page
from weightless.lab.report.summary import check_summary
from weightless.train.usage import load_told

USED = {"block 0": [0.2, 0.3, 0.1, 0.0, 0.4, 0.0, 0.0, 0.0], "block 1": [0.25] * 4}


def with_loads(used):
    summary = example()
    summary["models"][0]["used"] = used
    return summary


def test_each_block_has_its_bars_its_busiest_and_its_idle():
    shown = page(check_summary(with_loads(USED)))
    section = shown[shown.index("Are all experts used?") : shown.index("All numbers")]
    assert re.findall(r"<td>([\d.]+) times even</td><td>(\d+) of (\d+)</td>", section) == [
        ("3.20", "4", "8"),
        ("1.00", "0", "4"),
    ]
    assert section.count("<rect") == 12
    assert "expert 4: 3.20 times even" in section and "expert 3: 0.00 times even" in section


def test_a_page_without_experts_says_nothing_of_them():
    assert "experts" not in page(check_summary(example()))


def test_a_load_is_the_share_times_the_number():
    assert loads_of([0.5, None, 0.5, float("nan")]) == [2.0, 0.0, 2.0, 0.0]


@pytest.mark.parametrize("used", [[], {"block 0": 3}, {"block 0": ["much"]}])
def test_a_damaged_load_is_refused_by_its_key(used):
    with pytest.raises(CorruptFileError, match=r"models\[0\].used"):
        check_summary(with_loads(used))


def test_names_from_a_file_are_shown_as_text():
    assert "<script>x" not in page(check_summary(with_loads({"<script>x": [1.0]}))).partition("All numbers")[0]


SLOTS = {"n": 65536, "ever": 0.93125, "lately": 0.5, "effective": 1234.5, "busiest": 17.25}


def test_slots_have_a_table_of_their_own_and_no_bars():
    shown = page(check_summary(with_loads({"slots of block 1": SLOTS})))
    section = shown[shown.index("Are all slots used?") : shown.index("All numbers")]
    cells = re.findall(r"<td>([^<]*)</td>", section)
    assert cells == ["block 1", "65,536", "93.1%", "50.0%", "1,234", "17.25 times even"]
    assert "<rect" not in section and "experts" not in section and "Are all experts" not in shown


def test_a_model_with_both_has_both():
    shown = page(check_summary(with_loads({**USED, "slots of block 2": SLOTS})))
    assert "Are all experts used?" in shown and "Are all slots used?" in shown


@pytest.mark.parametrize("damage", [{"n": "many"}, {"ever": []}, {"busiest": True}])
def test_a_damaged_summary_of_slots_is_refused_by_its_key(damage):
    with pytest.raises(CorruptFileError, match=rf"models\[0\].used.slots of block 1.{next(iter(damage))}"):
        check_summary(with_loads({"slots of block 1": {**SLOTS, **damage}}))
    with pytest.raises(CorruptFileError, match=r"used.slots of block 1.lately is missing"):
        check_summary(with_loads({"slots of block 1": {key: SLOTS[key] for key in ("n", "ever")}}))


def test_one_line_tells_of_all_blocks():
    (told,) = load_told(USED)
    assert told == "experts: the busiest is used 3.20 times as often as even (block 0), 4 of 12 never"
