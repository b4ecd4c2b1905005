"""The verifier of ternary models against planted bytes.

Oracles: numbers rounded by hand (clip(round(w / s)) with s = mean |w| in fp16), and how many bytes were changed.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from weightless.audit.counters.ternary import named_tensors, other_matrices, ternary_tensors
from weightless.base.errors import ConfigError
from weightless.export.lower import StoredRows, pack
from weightless.export.packed import open_packed
from weightless.lab.ternary_audit import report
from weightless.models.qwen3 import FAMILY, Config
from weightless.quant.formats import encode_rows
from weightless.train.initialise import initial_parameters

SHAPE = {"vocab_size": 61, "d_model": 160, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "d_head": 16, "d_ff": 33}


def packed(folder: Path, fmt: str = "t2_g128", plan: dict[str, str] | None = None, planted=None):
    """A model of drawn weights; `planted(name, rows)` may change stored bytes before they are written."""
    config = Config(**SHAPE, context=8, weight_format=fmt, plan=plan or {})
    rows = {}
    for spec in FAMILY.Model(config).tensors():
        (w,) = initial_parameters([spec], 0).values()
        stored = encode_rows(w.detach().numpy(), spec.format)
        if planted is not None:
            planted(spec.name, stored)
        rows[spec.name] = StoredRows(spec.format, spec.shape, stored)
    pack(folder / "model.wl", "qwen3", config, rows)
    return open_packed(folder / "model.wl")


def by_hand(w: np.ndarray, size: int) -> np.ndarray:
    """Digits of groups of `size` columns."""
    out = np.empty(w.shape, int)
    for first in range(0, w.shape[1], size):
        part = w[:, first : first + size]
        s = np.abs(part).mean(axis=1, keepdims=True).astype(np.float16).astype(np.float32)
        out[:, first : first + size] = np.clip(np.rint(part / s), -1, 1)
    return out


@pytest.mark.parametrize(("fmt", "size"), [("t2_g128", 128), ("t2", 64), ("t5_g32", 32), ("t5_row_s8", 160)])
def test_fractions_are_those_of_rounding_by_hand(tmp_path, fmt, size):
    model = packed(tmp_path, fmt)
    tensors = {tensor.name: tensor for tensor in ternary_tensors(model)}
    assert list(tensors) == ["embed", "block.0.qkv", "block.0.out", "block.0.up", "block.0.down"]
    assert all(not t.fault and t.minus + t.zero + t.plus == t.weights and not t.others for t in tensors.values())
    for spec in FAMILY.Model(Config(**SHAPE, context=8)).tensors():
        if spec.name not in tensors or fmt.endswith("s8"):  # scales of 8 bits move some numbers over an edge
            continue
        (w,) = initial_parameters([spec], 0).values()
        digits, found = by_hand(w.detach().numpy(), size), tensors[spec.name]
        assert [found.minus, found.zero, found.plus] == [int((digits == d).sum()) for d in (-1, 0, 1)]
        assert found.groups == digits.shape[0] * -(-digits.shape[1] // size)
    told = report("m", model, ())
    assert told["ok"] and json.dumps(told) and sum(told["fractions"].values()) == pytest.approx(1)
    # t2_g128: 160 columns are 10 words and two scales, 44 bytes for 160 weights.
    assert fmt != "t2_g128" or tensors["embed"].bits_per_weight == pytest.approx(8 * 44 / 160)


def plant_code(name: str, rows: np.ndarray) -> None:
    """Two codes of 3, the one that is none."""
    if name == "block.0.up":
        rows[3, 5] |= 0b11000011


def plant_five(name: str, rows: np.ndarray) -> None:
    """A byte beyond 121 is none of five digits."""
    if name == "block.0.up":
        rows[3, 1] = 125


def plant_scale(name: str, rows: np.ndarray) -> None:
    if name == "block.0.out":
        rows[0, -2:] = np.frombuffer(np.float16(-0.5).tobytes(), np.uint8)
        rows[1, -2:] = np.frombuffer(np.float16(np.nan).tobytes(), np.uint8)


@pytest.mark.parametrize(
    ("fmt", "planted", "told"),
    [
        ("t2_g128", plant_code, "block.0.up: 2 weights are neither"),
        ("t5_g128", plant_five, "block.0.up: 5 weights are neither"),
        ("t2_g128", plant_scale, "block.0.out: 2 scales are negative or not finite"),
    ],
)
def test_planted_bytes_fail_by_name(tmp_path, fmt, planted, told):
    found = report("m", packed(tmp_path, fmt, planted=planted), ())
    failed = [f["detail"] for f in found["findings"] if f["verdict"] == "FAILED"]
    assert not found["ok"] and any(detail.startswith(told) for detail in failed)


def test_a_zero_group_is_no_fault(tmp_path):
    def nothing(name: str, rows: np.ndarray) -> None:
        if name == "embed":
            rows[7] = encode_rows(np.zeros((1, 160), np.float32), "t2_g128")[0]

    (embed, *_) = ternary_tensors(packed(tmp_path, planted=nothing))
    assert embed.empty_groups == 2 and not embed.fault and embed.zero >= 160


def test_a_tensor_in_another_format_fails_unless_it_is_not_asked_for(tmp_path):
    model = packed(tmp_path, plan={"embed": "int8"})
    whole, body = report("m", model, ()), report("m", model, ["block.*"])
    assert not whole["ok"] and "embed: stored as int8, which is not ternary" in whole["findings"][0]["detail"]
    assert body["ok"] and body["others"] == {"embed": "int8"} == other_matrices(model, ["block.*"])
    assert [t.name for t in named_tensors(model, ["embed"])] == ["embed"]
    only = report("m", model, ["embed"])
    assert not only["ok"] and {f["verdict"] for f in only["findings"][1:]} == {"not applicable"}
    with pytest.raises(ConfigError, match="--tensors 'blok.*' meets no matrix of the model: did you mean"):
        report("m", model, ["blok.*"])
