"""Several processes train as one does.

Oracles: one process with the same global batch (losses to 1e-5: only the order of float32 sums differs; of two
processes with a whole batch each not even that, so bit for bit), and an uninterrupted run for resumed ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several_processes as several

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.data.batches.packing import Batch
from weightless.train.checkpoint import read_state
from weightless.train.config import TrainConfig
from weightless.train.processes import ALONE, Processes
from weightless.train.shares import Share, numbers
from weightless.train.sharing import Sharing

TO_THE_BIT = ("adamw", "muon", "qat", "balance_loss", "whole")
"""Two batches, one for each process: a + b is b + a, and nothing else is added."""
SAME = (*TO_THE_BIT, "adamw_rows", "tables", "tables_rounded", "balance_bias", "taught", "muon_rows")
LOOSE = {"muon_rows": 1e-4, "tables_rounded": 5e-3}
"""Five iterations of Newton-Schulz multiply what is small by up to 3.4^5, the rounding of a sum of gradients too; and a
number beside the edge of a code may be rounded to the other one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All small cases in two processes at once, because starting them is what costs."""
    folder = tmp_path_factory.mktemp("two")
    assert "raised" in several.told(several.CASES["cut"]._replace(stop=(0, 5)), folder / "resumed")
    (folder / "resumed").rename(folder / "whole")  # so that two processes go on where one was stopped
    codes = several.together(2, folder, *SAME, "cut", "clock", "diverged", "refused", "odd")
    assert [code for code, _ in codes] == [0, 0], codes
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("one")
    return {name: several.told(several.CASES[name], folder / name) for name in SAME}


@pytest.mark.parametrize("name", SAME)
def test_two_processes_train_as_one_does(folder: Path, alone: dict[str, dict[str, Any]], name: str) -> None:
    one, (first, second) = alone[name], (several.left(folder, name, rank) for rank in (0, 1))
    assert "raised" not in one and "raised" not in first, (one, first)
    for key in ("losses", "beside"):
        ours, theirs = (np.array(found[key], float) for found in (one, first))
        assert ours.shape == theirs.shape and len(ours) == 12 and (np.isnan(ours) == np.isnan(theirs)).all()
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=0 if name in TO_THE_BIT else LOOSE.get(name, 1e-5))
    assert (one["sha256"] == first["sha256"]) == (name in TO_THE_BIT)
    assert first["sha256"] == second["sha256"] and first["losses"] == second["losses"]
    assert first["tokens"] == one["tokens"] and first["used"] == one["used"]
    assert one["losses"][-1][0] < one["losses"][0][0]
    record = first["observed"].pop("processes")
    assert record["ok"] and "2 (gloo)" in record["detail"] and "all 2 hold the same weights" in record["detail"]
    assert "processes" not in one["observed"] and one["observed"].keys() == first["observed"].keys()
    assert all(check["ok"] for check in first["observed"].values()), first["observed"]


def test_only_the_first_process_writes(folder: Path, alone: dict[str, dict[str, Any]]) -> None:
    lines = [json.loads(line) for line in (folder / "adamw" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    state = read_state(folder / "adamw" / "checkpoint")
    assert state is not None and state["processes"] == [[0, 2, "gloo"]]
    assert len(list((folder / "taught" / "answers").glob("*/chunk_*"))) >= 1


def test_one_goes_on_where_two_were_stopped_and_two_where_one_was(folder: Path, alone: Any) -> None:
    """A signal to the second process alone stops both behind one step, and the first has saved it."""
    for rank in (0, 1):
        assert several.left(folder, "cut", rank)["raised"] == "SystemExit: 143"
    assert (read_state(folder / "cut" / "checkpoint") or {})["next_step"] == 5
    resumed = several.told(several.CASES["whole"], folder / "cut")
    assert resumed["losses"] == alone["whole"]["losses"] and resumed["sha256"] == alone["whole"]["sha256"]
    assert "2 (gloo) from step 0 on; 1 from step 5 on" in resumed["observed"]["processes"]["detail"]
    detail = several.left(folder, "whole", 0)["observed"]["processes"]["detail"]
    assert detail.startswith("1 from step 0 on; 2 (gloo) from step 5 on; 1 of the 2 batches of every step each")


def test_the_clock_is_that_of_the_first(folder: Path) -> None:
    first, second = (several.left(folder, "clock", rank) for rank in (0, 1))
    assert first["steps"] == second["steps"] > 0 and first["sha256"] == second["sha256"]
    assert first["seconds"] == second["seconds"] < 1.0  # of 0.5: a step is not begun that would not fit


def test_all_agree_that_a_training_has_diverged(folder: Path) -> None:
    first, second = (several.left(folder, "diverged", rank) for rank in (0, 1))
    assert first["diverged"] == second["diverged"] and "diverged at step" in first["diverged"]
    assert "diverged" in (read_state(folder / "diverged" / "checkpoint") or {})


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("refused", "takes a loss of whole batches .*2 processes would cut each of the 1: give a grad_accumulation"),
        ("odd", "2 processes can share neither grad_accumulation = 3 nor batch_size = 3"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_is_written(folder: Path, case: str, told: str) -> None:
    for rank in (0, 1):
        with pytest.raises(AssertionError, match=told):
            raise AssertionError(several.left(folder, case, rank)["raised"])
    assert not (folder / case).exists()


@pytest.mark.parametrize("case", ["killed", pytest.param("first_killed", marks=pytest.mark.slow)])
def test_a_process_that_is_killed_ends_the_others_and_leaves_the_checkpoint(tmp_path: Path, case: str) -> None:
    gone = 1 if case == "killed" else 0
    codes = several.together(2, tmp_path, case, seconds=60)
    assert codes[gone][0] == -9
    if gone:  # whoever keeps the store is gone otherwise, and what is left has no place to say it but its own error
        assert codes[0][0] == 0
    found = several.left(tmp_path, case, 1 - gone)
    assert found["is_told"] and f"process {gone} of 2 is gone, so this training stops; the che" in found["raised"]
    step = (read_state(tmp_path / case / "checkpoint") or {})["next_step"]
    assert step >= 5 and f"the checkpoint of step {step} in" in found["raised"]


@pytest.mark.parametrize(("n_batches", "n_rows", "world"), [(6, 5, 3), (1, 6, 3), (2, 4, 4), (3, 1, 1), (8, 2, 2)])
def test_shares_are_the_whole(n_batches: int, n_rows: int, world: int) -> None:
    """Every row of every batch of five steps once, in order."""
    shares = [Share(rank, world, n_batches, n_rows) for rank in range(world)]
    for step in range(5):
        seen: list[tuple[int, int]] = []
        for share in shares:
            for i in numbers(share, step):
                batch = share.cut(Batch(np.arange(n_rows)[:, None] + 100 * i, np.zeros((n_rows, 1)), None))
                seen += [divmod(int(value), 100) for value in batch.inputs_BT[:, 0]]
        wanted = [(i, row) for i in range(step * n_batches, (step + 1) * n_batches) for row in range(n_rows)]
        assert sorted(seen) == wanted


def test_what_a_checkpoint_says_of_processes_is_checked() -> None:
    share = Share.of(TrainConfig(batch_size=2, context=4, num_steps=1), 0, 1)
    assert Sharing.of(ALONE, share, "cpu", 3, None).to_plain() == {} == Sharing.of(ALONE, share, "cpu", 3, None).told()
    assert Sharing.of(ALONE, share, "cpu", 3, [[0, 2, "gloo"]]).to_plain() == {
        "processes": [[0, 2, "gloo"], [3, 1, ""]]
    }
    two = Processes(0, 2)
    assert Sharing.of(two, share, "cuda", 3, [[0, 2, "gloo"]]).sessions == [(0, 2, "gloo"), (3, 2, "nccl")]
    assert Sharing.of(two, share, "cpu", 3, None).sessions == [(0, 1, ""), (3, 2, "gloo")]
    for damaged in (5, [[1]], [["a", 2, "gloo"]]):
        with pytest.raises(CorruptFileError, match="list of processes is damaged"):
            Sharing.of(ALONE, share, "cpu", 3, damaged)
    with pytest.raises(ConfigError, match="4 processes can share neither grad_accumulation = 6 nor batch_size = 2"):
        Share(0, 4, 6, 2)
