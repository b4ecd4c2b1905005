"""The record of a finished model is held against its shape before anything is made of it.

Oracle: an entry that the report draws is taken as it is; with a key gone or of another kind it is refused in one line
that names the file, the key and the remedy.
"""

from __future__ import annotations

import copy
import json

import pytest
from lab.example_summary import example

from weightless.base.errors import CorruptFileError
from weightless.lab.report import read_summary
from weightless.lab.stages import DONE, UNMEASURED, read_done
from weightless.lab.trained import RECORD, trained_on

ENTRY = {key: value for key, value in example()["models"][0].items() if key != "commands"}


def _read(folder, entry, asked="0" * 16):
    (folder / DONE).write_text(json.dumps({"asked": asked, "entry": entry}))
    return read_done(folder)


def test_whole_records_are_taken_as_they_are(tmp_path):
    assert _read(tmp_path, ENTRY)["entry"] == ENTRY
    diverged = {**ENTRY, **UNMEASURED, "diverged": {"detail": "diverged at step 3", "tokens": 9, "seconds": 1.5}}
    assert _read(tmp_path, diverged)["entry"]["diverged"]["tokens"] == 9


@pytest.mark.parametrize("key", ["name", "seed", "sample", "artifact", "touched", "stored", "curve", "checks"])
def test_a_record_without_a_key_is_refused(tmp_path, key):
    with pytest.raises(CorruptFileError, match=f"done.json is damaged: delete it.*{key} is missing"):
        _read(tmp_path, {name: value for name, value in ENTRY.items() if name != key})


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("name",), 7),
        (("sample",), "text"),
        (("sample", "text"), None),
        (("artifact",), [1]),
        (("artifact", "sha256"), 7),
        (("touched", "T"), 7),
        (("touched", "T", "mean"), "many"),
        (("components",), {}),
        (("checks", 0, "ok"), 1),
        (("curve", 0), None),
        (("optimizer_bytes",), 10**400),
        (("flops_per_token",), 1e300),
    ],
)
def test_a_record_with_a_key_of_another_kind_is_refused(tmp_path, keys, value):
    entry = copy.deepcopy(ENTRY)
    place = entry
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    with pytest.raises(CorruptFileError, match="done.json is damaged: delete it, and the model is measured again"):
        _read(tmp_path, entry)


def test_a_record_that_does_not_say_what_was_asked_is_damaged_and_not_of_another_recipe(tmp_path):
    with pytest.raises(CorruptFileError, match="damaged.*asked"):
        _read(tmp_path, ENTRY, asked=None)


def test_a_summary_file_holds_only_numbers_that_can_be_written_again(tmp_path):
    odd = json.dumps({**example(), "wall_seconds": float("nan"), "infinite": float("-inf")})
    (tmp_path / "summary.json").write_text(odd[:-1] + ', "beyond": 1e999}')
    read = read_summary(tmp_path)
    assert (read["wall_seconds"], read["infinite"], read["beyond"]) == (None, None, None)
    for value in (10**400, -1e300):
        whole = example()
        whole["models"][0]["optimizer_bytes"] = value
        (tmp_path / "summary.json").write_text(json.dumps(whole))
        with pytest.raises(CorruptFileError, match="optimizer_bytes should be a number"):
            read_summary(tmp_path)


def test_an_infinite_seed_of_a_training_is_damage(tmp_path):
    of = '"corpus": {"name": "a", "sha256": "b"}, "settings": {}'
    (tmp_path / RECORD).write_text(f'{{"data": "d", {of}, "seed": 1e999}}')
    with pytest.raises(CorruptFileError, match="damaged.*train the model again"):
        trained_on(tmp_path)
