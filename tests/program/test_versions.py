"""Programs outlive the code: what a former version packed opens and scores the same for ever.

`tests/golden/*.wl` were packed by weightless 0.1.0 at commit 0db2b99, before operators had versions; together they use
every operator of then.  Oracle: what that commit's compiled engine gave for them (`scores.json`), nats to 2e-5 because
processors add the same products in another order, bytes exactly.  The files are never made anew: whoever changes an
operator's fields adds a version to `operators.json`, and a file beside these if there is something new to see.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from weightless.base.config import from_dict
from weightless.base.errors import CorruptFileError, NewerFileError
from weightless.export.packed import open_packed
from weightless.models.catalog import family
from weightless.program.cost import formula
from weightless.program.operator import REGISTRY, operator
from weightless.program.operators.attention import MatvecAdd
from weightless.program.program import HEADS, Program

GOLDEN = Path(__file__).parents[1] / "golden"
SCORES = json.loads((GOLDEN / "scores.json").read_text())
FIELDS = json.loads((GOLDEN / "operators.json").read_text())
CAME_LATER = {
    "gather_position",
    "add_row",
    "keep",
    "add_kept",
    "group_score",
    "group_sample",
    "group_full",
    "route",
    "add_slots",
    "choose_slots",
    "experts_add",
    "norm_keep",
    "mix_kept",
    "scan",
    "convolve",
    "exit_test",
    "cache_update",
    "cache_score",
    "cache_sample",
    "cache_full",
    "linear_attend",
    "countmix_window",
    "countmix_score",
    "countmix_sample",
    "countmix_full",
}
"""Operators that no file of the first version can have."""


def plain(name: str = "dense") -> dict:
    return open_packed(GOLDEN / f"{name}.wl").program.to_plain()


@pytest.mark.parametrize("name", SCORES)
def test_a_file_of_a_former_version_scores_and_touches_the_same(name):
    packed, recorded = open_packed(GOLDEN / f"{name}.wl"), SCORES[name]
    stream = np.array(recorded["tokens"])
    for engine in (packed.engine(poison=True), packed.audit_engine(poison=True)):
        np.testing.assert_allclose(engine.score_stream(stream[:-1], stream[1:]), recorded["nats"], atol=2e-5)
    _, traffic = packed.engine().score_stream_with_traffic(stream[:-1], stream[1:])
    assert traffic.sum() == recorded["decided_bytes"]
    for head in HEADS:
        touched = formula(packed.program, 7, head).values()
        assert [sum(b.T for b in touched), sum(b.U for b in touched)] == recorded["bytes_at_7"][head]
    from_dict(family(packed.family).Config, packed.artifact.meta["config"])


def test_the_files_of_the_first_version_use_every_operator_of_then():
    programs = [open_packed(GOLDEN / f"{name}.wl").program for name in SCORES]
    used = {op.name for program in programs for head in HEADS for op in program.operators(head)}
    assert used == FIELDS.keys() - CAME_LATER


def test_the_tokenizer_of_a_former_version_reads_the_same_ids():
    tokenizer = open_packed(GOLDEN / "text.wl").tokenizer
    text = "the fox and the crow, then the moth; the end<|endoftext|>the owl"
    assert list(tokenizer.encode(text))[:20] == SCORES["text"]["tokens"]


@pytest.mark.parametrize("name", REGISTRY)
def test_an_operator_that_changes_its_fields_gets_a_version(name):
    """`operators.json` holds the fields of every version; whatever came after version 1 needs a default."""
    cls, versions = REGISTRY[name], FIELDS.get(name, {})
    now = {field.name: field.type for field in dataclasses.fields(cls)}
    assert versions.get(str(cls.version)) == now, f"raise the version of {name!r}, and record its fields: {now}"
    assert set(versions) == {str(n) for n in range(1, cls.version + 1)}
    assert set(now.values()) <= {"str", "int", "float", "bool"}, "the JSON form knows these types only"
    needed = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
    assert needed <= set(versions["1"]), "a field that came later has a default, or files of version 1 cannot be opened"


@pytest.fixture
def later(monkeypatch):
    """matvec_add as a later version might have it: one field more, whose default means what was done before."""
    monkeypatch.setitem(REGISTRY, "matvec_add", REGISTRY["matvec_add"])

    @operator("matvec_add", version=MatvecAdd.version + 1)
    class Later(MatvecAdd):
        turned: float = 1.0

    return Later


def test_an_operator_that_gains_a_field_opens_the_files_of_before(later):
    packed = open_packed(GOLDEN / "dense.wl")
    ops = [op for op in packed.program.body if op.name == "matvec_add"]
    assert ops and all(type(op) is later and op.turned == 1.0 for op in ops)
    stream = np.array(SCORES["dense"]["tokens"])
    nats = packed.engine().score_stream(stream[:-1], stream[1:])
    np.testing.assert_allclose(nats, SCORES["dense"]["nats"], atol=2e-5)
    written = packed.program.to_plain()
    assert written["operators"]["matvec_add"] == MatvecAdd.version + 1 and written["operators"]["attend"] == 1
    assert Program.from_plain(written) == packed.program


def test_a_file_of_a_later_operator_is_refused_by_name_and_versions():
    values = plain()
    known = REGISTRY["matvec_add"].version
    values["operators"]["matvec_add"] = known + 1
    for entry in values["body"]:
        if entry["op"] == "matvec_add":
            entry["turned"] = 1.0
    told = rf"version {known + 1} of operator 'matvec_add'.* version {known}: update"
    with pytest.raises(NewerFileError, match=told) as caught:
        Program.from_plain(values)
    assert "\n" not in str(caught.value) and "pack" not in str(caught.value)


def test_an_operator_that_this_version_lacks_is_told_with_its_version():
    values = plain()
    values["body"].append({"op": "teleport", "to": "e"})
    values["operators"]["teleport"] = 3
    with pytest.raises(NewerFileError, match=r"'teleport' \(version 3\)"):
        Program.from_plain(values)


def test_a_later_program_or_container_is_told_as_later(tmp_path):
    values = {**plain(), "version": 2, "passes": []}
    with pytest.raises(NewerFileError, match=r"of version 2, .* reads version 1: update"):
        Program.from_plain(values)
    data = bytearray((GOLDEN / "dense.wl").read_bytes())
    data[8] = 2
    (tmp_path / "later.wl").write_bytes(data)
    with pytest.raises(NewerFileError, match=r"later\.wl has format version 2, .* reads 1: update"):
        open_packed(tmp_path / "later.wl")


@pytest.mark.parametrize(
    "versions", [None, [], {"attend": 1}, {"attend": "1"}, {"attend": 0}, {"attend": True}, {"attend": 2**70}]
)
def test_a_table_of_versions_that_is_none_is_refused(versions):
    with pytest.raises(CorruptFileError, match="version"):
        Program.from_plain({**plain(), "operators": versions})


def test_absent_fields_of_a_tensor_mean_their_defaults():
    values = plain()
    weight = next(entry for entry in values["tensors"] if entry["kind"] == "weight" and not entry["by_row"])
    expected = Program.from_plain(values)
    del weight["kind"], weight["by_row"]
    assert Program.from_plain(values) == expected
