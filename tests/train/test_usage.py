"""Counts of used parts: shares of few, a summary of many, and both through a checkpoint's state.

Oracle: the counts themselves; entropies written out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import toy_tokens

from weightless.base.errors import CorruptFileError
from weightless.layers.layer import SLOTS
from weightless.models import memory
from weightless.train.config import TrainConfig
from weightless.train.loop import train
from weightless.train.usage import Usage, load_told

NAME = f"{SLOTS}block 1"


def counted(*steps: list[float]) -> Usage:
    usage = Usage()
    for i, counts in enumerate(steps):
        if i == len(steps) - 1:
            usage.close()
        usage.add({NAME: torch.tensor(counts), "block 0": torch.tensor([1.0, 3.0])})
    usage.close()
    return usage


def test_slots_are_summed_up_and_experts_are_listed():
    """Lately 4, 2, 2 of 8 and five never; the first step hit one slot more."""
    usage = counted([0, 0, 0, 1, 0, 0, 0, 0], [4, 0, 2, 0, 0, 0, 0, 2])
    summary = usage.shares()[NAME]
    assert summary == {"n": 8, "ever": 0.5, "lately": 0.375, "effective": round(2**1.5, 1), "busiest": 4.0}
    assert usage.shares()["block 0"] == [0.25, 0.75]
    experts, slots = load_told(usage.shares())
    assert experts.startswith("experts: the busiest is used 1.50 times") and "of 8 slots 50.0% ever used" in slots


def test_even_use_is_as_many_slots_used_alike():
    assert counted([0.0] * 63, [5.0] * 63).shares()[NAME]["effective"] == 63


def test_nothing_counted_is_nothing_used():
    assert counted([0.0] * 5, [0.0] * 5).shares()[NAME]["effective"] == 0


def test_a_checkpoint_brings_all_of_it_back():
    usage = counted([0, 0, 0, 1, 0], [2**31, 0, 2, 0, 0])
    usage.add({NAME: torch.tensor([0.0, 1, 0, 0, 0])})
    again = Usage.from_plain(json.loads(json.dumps(usage.to_plain())))
    assert again.to_plain() == usage.to_plain() and again.shares() == usage.shares()
    again.add({NAME: torch.ones(5)})
    again.close()
    assert again.shares()[NAME] == {
        "n": 5,
        "ever": 1.0,
        "lately": 1.0,
        "effective": pytest.approx(4.8, abs=0.05),
        "busiest": pytest.approx(5 / 3, abs=1e-3),
    }  # 2 1 1 1 1


def test_a_checkpoint_of_before_has_no_slots():
    before = {"since": {}, "before": {"block 0": [1.0, 2.0]}}
    assert Usage.from_plain(before).shares() == {"block 0": pytest.approx([1 / 3, 2 / 3], abs=1e-6)}
    assert Usage.from_plain(None).shares() == {}


@pytest.mark.parametrize(
    "damage",
    [
        [],
        {"since": {}},
        {"ever": 3},
        {"since": {NAME: "?"}},
        {"since": {NAME: "AAA="}},
        {"before": {NAME: [-1]}},
        {"before": {NAME: []}},
    ],
)
def test_a_damaged_table_is_told(damage):
    plain = {**counted([1.0] * 3, [1.0] * 3).to_plain(), **damage} if isinstance(damage, dict) else damage
    if damage == {"since": {}}:
        plain = damage
    with pytest.raises(CorruptFileError, match="counts of used parts are damaged"):
        Usage.from_plain(plain)


def test_adding_does_not_change_what_was_added():
    counts = torch.ones(3)
    usage = Usage()
    usage.add({NAME: counts})
    usage.add({NAME: counts})
    assert counts.tolist() == [1, 1, 1] and np.array_equal(usage.since[NAME], [2, 2, 2])


def test_a_resumed_training_has_counted_what_an_uninterrupted_one_has(tmp_path: Path):
    """Slots, their row-wise optimizer and the counts: bit for bit, and the share ever used over both parts."""
    config = memory.Config(61, 16, 2, 1, 1, 20, n_slots=81, top_k=2, d_key=4, context=9)
    steps = TrainConfig(
        4, 9, 16, log_every=1, eval_every=8, eval_tokens=200, checkpoint_every=1e9, threads=1, table_lr=0.02
    )
    model, tokens, val = memory.FAMILY.Model(config), toy_tokens(4_000), toy_tokens(1_000, seed=1)

    def interrupt(line: dict[str, Any]) -> None:
        if line["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, tokens, val, steps, tmp_path / "cut", on_metrics=interrupt)
    resumed = train(model, tokens, val, steps, tmp_path / "cut")
    whole = train(model, tokens, val, steps, tmp_path / "whole")
    assert all(torch.equal(whole.params[name], resumed.params[name]) for name in whole.params)
    (summary,) = whole.used.values()
    assert whole.used == resumed.used and isinstance(summary, dict)
    assert 0 < summary["lately"] <= summary["ever"] <= 1 and summary["n"] == 2 * 81
    assert [line["train_loss"] for line in whole.curve] == [line["train_loss"] for line in resumed.curve]
