"""Packing a packed model: what keeps its format keeps its bytes, what changes is what rounding its values gives."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from contract.cases import bench

from weightless.base.errors import ConfigError
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.export.repack import load_plan, repack
from weightless.quant.formats import decode_rows, encode_rows

DENSE = ("dense", "tied_mqa_swiglu_int8")


@pytest.fixture
def packed(tmp_path):
    """An artifact whose codes no rule would choose again: encoded by least squares, ternary and of 8-bit scales."""
    b = bench(*DENSE)
    config = dataclasses.replace(b.config, plan={"*.down": "t2@lsq", "*.up": "int4_g32_s8@lsq", "embed": "int3@lsq"})
    pack(tmp_path / "first.wl", b.name, config, b.arrays, '{"a": "tokenizer"}', {"seed": 3})
    return tmp_path / "first.wl"


def test_nothing_asked_for_is_the_same_file(packed, tmp_path):
    repack(packed, tmp_path / "again.wl")
    assert (tmp_path / "again.wl").read_bytes() == packed.read_bytes()
    repack(packed, packed)
    assert (tmp_path / "again.wl").read_bytes() == packed.read_bytes()


def test_codes_stay_where_only_the_rule_is_another(packed, tmp_path):
    again = repack(packed, tmp_path / "again.wl", plan={"*.down": "t2", "*.up": "int4_g32_s8", "embed": "int3"})
    assert np.array_equal(again.artifact.data, open_packed(packed).artifact.data)


def test_other_formats_round_the_values_there_are(packed, tmp_path):
    before, again = open_packed(packed), repack(packed, tmp_path / "again.wl", "int6", {"*.down": "t5_g128@lsq"})
    for tensor in again.program.stored():
        old, cols = before.program.by_name[tensor.name], tensor.shape[1]
        values = decode_rows(before.artifact.view(tensor.name), old.format, cols)
        if tensor.format == old.format:
            assert np.array_equal(again.artifact.view(tensor.name), before.artifact.view(tensor.name))
        else:
            stored = again.artifact.view(tensor.name)[:, : tensor.row_bytes]
            assert np.array_equal(stored, encode_rows(values, tensor.format))
    formats = {tensor.name: tensor.format for tensor in again.program.stored()}
    assert formats["block.0.down"] == "t5_g128@lsq" and formats["block.0.up"] == formats["embed"] == "int6"
    assert formats["final_norm"] == "f32"


@pytest.mark.parametrize("case", [("ngram", "order_3"), ("feather", "as_it_comes")], ids="-".join)
def test_counted_and_looked_up_tables_too(case, tmp_path):
    b = bench(*case)
    pack(tmp_path / "first.wl", b.name, b.config, b.arrays)
    repack(tmp_path / "first.wl", tmp_path / "again.wl")
    assert (tmp_path / "again.wl").read_bytes() == (tmp_path / "first.wl").read_bytes()


def test_what_cannot_be_is_refused_before_anything_is_written(packed, tmp_path):
    out = tmp_path / "out.wl"
    for plan, told in (
        ({"blok.*": "int4"}, "matches no tensor: did you mean"),
        ({"*": "int9"}, "unknown format"),
        ({"*": "u8"}, "no format of weights"),
        ({"*_norm": "int4"}, "only vectors"),
    ):
        with pytest.raises(ConfigError, match=told):
            repack(packed, out, plan=plan)
    b = bench("ngram", "order_3")
    pack(tmp_path / "ngram.wl", b.name, b.config, b.arrays)
    with pytest.raises(ConfigError, match="family 'ngram' has no weight_format to change"):
        repack(tmp_path / "ngram.wl", out, "int4")
    assert not out.exists()


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path):
    b = bench(*DENSE)
    arrays = {**b.arrays, "block.1.up": b.arrays["block.1.up"] * np.float32(np.nan)}
    with pytest.raises(ConfigError, match="tensor 'block.1.up': .* NaN or infinity"):
        pack(tmp_path / "out.wl", b.name, b.config, arrays)
    assert not (tmp_path / "out.wl").exists()


def test_plans_are_read_in_order_with_dotted_keys(tmp_path):
    (tmp_path / "plan.toml").write_text('"block.0.*" = "int8"\nhead.words = "t2"\n"*" = "int4"\n')
    assert list(load_plan(tmp_path / "plan.toml").items()) == [
        ("block.0.*", "int8"),
        ("head.words", "t2"),
        ("*", "int4"),
    ]
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(ConfigError, match="names no tensor"):
        load_plan(tmp_path / "empty.toml")
