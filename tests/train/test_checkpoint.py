"""Oracle: what was saved; damage of every kind must be told in one line and cost at most the newest generation."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.train.checkpoint import copy_into, load_checkpoint, save_checkpoint

PARAMETERS = {"a.b": torch.arange(6.0).view(2, 3), "c": torch.ones(1)}
OPTIMIZER = {"a.b/momentum": torch.full((2, 3), 0.1)}
CONSTANTS = {"slots": torch.tensor([3, 1, 65535], dtype=torch.uint16)}


def _save(folder: Path, step: int) -> Path:
    save_checkpoint(folder, step, PARAMETERS, OPTIMIZER, CONSTANTS, {"counters": {"seconds": 0.1 + 0.2}})
    return folder / f"step_{step:09d}"


@pytest.mark.parametrize("name", [b"plain", b"m\xefx"])
def test_round_trip_keeps_bits_and_only_the_latest(tmp_path: Path, name: bytes) -> None:
    tmp_path = tmp_path / os.fsdecode(name)
    assert load_checkpoint(tmp_path) is None
    _save(tmp_path, 1)
    _save(tmp_path, 12)
    saved = load_checkpoint(tmp_path)
    assert saved is not None and saved.state["next_step"] == 12 and saved.state["counters"]["seconds"] == 0.1 + 0.2
    for ours, theirs in ((PARAMETERS, saved.parameters), (OPTIMIZER, saved.optimizer), (CONSTANTS, saved.constants)):
        assert set(ours) == set(theirs) and all(torch.equal(ours[n], theirs[n]) for n in ours)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "step_000000012"]


def test_leftovers_of_a_kill_are_ignored_and_cleared(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    for name in (".step_000000002.part", "step_000000002"):  # killed while writing, or before the switch
        (tmp_path / name).mkdir()
        (tmp_path / name / "tensors.safetensors").write_bytes(b"half")
    saved = load_checkpoint(tmp_path)
    assert saved is not None and saved.state["next_step"] == 1
    _save(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "step_000000002"]


def test_a_mismatched_pair_is_noticed(tmp_path: Path) -> None:
    path = _save(tmp_path, 3) / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="SHA-256"):
        load_checkpoint(tmp_path)
    path.unlink()
    with pytest.raises(WeightlessError, match="cannot read"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("latest.json", '{"generation": "../../etc"}', "does not name"),
        ("latest.json", "{", "not valid JSON"),
        ("step_000000003/state.json", "[]", "not a checkpoint"),
        (
            "step_000000003/state.json",
            '{"format": "weightless-checkpoint", "version": 9}',
            "version 9, .* reads 1: .* update",
        ),
        ("step_000000003/state.json", '{"format": "weightless-checkpoint", "version": 0}', "version 1"),
    ],
)
def test_damaged_json(tmp_path: Path, file: str, text: str, message: str) -> None:
    _save(tmp_path, 3)
    (tmp_path / file).write_text(text)
    with pytest.raises(CorruptFileError, match=message):
        load_checkpoint(tmp_path)


def test_a_hash_of_other_content_does_not_make_it_tensors(tmp_path: Path) -> None:
    import hashlib

    path = _save(tmp_path, 3)
    (path / "tensors.safetensors").write_bytes(b"\xff" * 64)
    state = json.loads((path / "state.json").read_text())
    state["tensors_sha256"] = hashlib.sha256(b"\xff" * 64).hexdigest()
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(CorruptFileError, match="not a safetensors file"):
        load_checkpoint(tmp_path)


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    _save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(WeightlessError, match="previous one is intact"):
            save_checkpoint(tmp_path, 2, {"big": torch.zeros(1 << 17)}, {}, {}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saved = load_checkpoint(tmp_path)
    assert saved is not None and saved.state["next_step"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest.json", "step_000000001"]


def test_copying_into_another_model_is_refused() -> None:
    live = {"w": torch.zeros(2, 3)}
    copy_into(live, {"w": torch.ones(2, 3)}, "parameter")
    assert torch.equal(live["w"], torch.ones(2, 3))
    for saved, message in (
        ({}, "missing"),
        ({"w": torch.ones(2, 3), "x": torch.ones(1)}, "unknown"),
        ({"w": torch.ones(3, 2)}, "the model has"),
        ({"w": torch.ones(2, 3).double()}, "float64"),
    ):
        with pytest.raises(CorruptFileError, match=message):
            copy_into(live, saved, "parameter")
