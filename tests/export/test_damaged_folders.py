"""Folders from strangers, damaged at random: refused in one line, or imported as something sound, never a traceback.

Oracle: nothing but WeightlessError may be raised; what is imported opens, checksums and program included.
"""

from __future__ import annotations

import json
import random

import pytest
from export.foreign_folders import CONFIGS, make_folder

from weightless.base.errors import WeightlessError
from weightless.export.foreign_folder import describe
from weightless.export.from_folder import import_folder
from weightless.export.packed import open_packed

NUMBERS = [0, -1, 1, 2, 7, 10**6, 2**31, 2**63, 10**30, 0.5, 1e308]
ODD = [*NUMBERS, True, False, None, "", "silu", "x" * 999, [], [1], {"a": 1}]
MORE = ["quantization_config", "rope_parameters", "sliding_window", "n_inner", "attention_bias", "layer_types"]


def outcome(folder, out) -> str:
    try:
        import_folder(folder, out, tokenizer="none")
    except WeightlessError as error:
        assert "\n" not in str(error)
        return "refused"
    open_packed(out)
    return "imported"


@pytest.mark.parametrize(
    "kind", ["gpt2", *(pytest.param(kind, marks=pytest.mark.slow) for kind in CONFIGS if kind != "gpt2")]
)
def test_every_key_with_every_odd_value(kind, tmp_path):
    """Sizes from nowhere must not fill the memory either: the test would not end."""
    folder = make_folder(tmp_path / "a", CONFIGS[kind], tokenizer=False)
    outcomes = set()
    for key in [*CONFIGS[kind], *MORE]:
        for value in ODD:
            (folder / "config.json").write_text(json.dumps({**CONFIGS[kind], key: value}))
            try:
                found = describe(folder)
                found.family.decode_program(found.config)  # what counting does
            except WeightlessError:
                pass
            outcomes.add(outcome(folder, tmp_path / "x.wl"))
    assert outcomes == {"refused", "imported"}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_bytes_changed_at_random(name, tmp_path):
    """Of the weights only the header: damage behind it is another number."""
    folder, rng = make_folder(tmp_path / "a", CONFIGS["gpt2"], tokenizer=False), random.Random(3)
    whole = (folder / name).read_bytes()
    end = len(whole) if name == "config.json" else 8 + int.from_bytes(whole[:8], "little")
    outcomes = []
    for _ in range(250):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            content[rng.randrange(end)] = rng.randrange(256)
        (folder / name).write_bytes(bytes(content))
        outcomes.append(outcome(folder, tmp_path / "x.wl"))
    assert outcomes.count("refused") > 150
