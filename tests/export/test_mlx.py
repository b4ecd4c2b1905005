"""Folders for MLX: every code by the documented layout, decoded here without any of our formats.

    value = scale * u + bias, u in words of 32 bits, the first in the lowest bits

Oracle: this decoder, in float32; exact.  (mlx-lm 0.32.2 on a processor loads these folders, too, and gives our log-
probabilities to 3e-5; it is no dependency.)
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from export.foreign_folders import small_tokenizer
from export.small_models import V, made

from weightless.artifact.safetensors import open_safetensors
from weightless.base.errors import ConfigError, CorruptFileError
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.export.to_mlx import export_mlx
from weightless.models import gpt2, llama, qwen3
from weightless.quant.formats import decode_rows

WIDTHS = {
    "qwen3": qwen3.Config(V, 128, 2, 4, 2, 32, 192, 63),
    "llama": llama.Config(V, 96, 2, 3, 1, 32, 160, 63, False),
}
BITS = {"t2": 2, "t5": 2, "int2": 2, "binary": 2, "int3": 4, "int4": 4, "int6": 8, "int8": 8}


def decoded(words: np.ndarray, scales: np.ndarray, biases: np.ndarray, bits: int, group: int) -> np.ndarray:
    out = np.empty((len(words), words.shape[1] * 32 // bits), np.float32)
    for j in range(out.shape[1]):
        word, place = divmod(j * bits, 32)
        u = (words[:, word] >> np.uint32(place)) & np.uint32(2**bits - 1)
        out[:, j] = scales[:, j // group] * u.astype(np.float32) + biases[:, j // group]
    return out


def read(folder) -> dict[str, np.ndarray]:
    """Every tensor that a model has, as numbers."""
    file, said = open_safetensors(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    kinds, codes = {"U32": "<u4", "F32": "<f4"}, said.get("quantization", {})
    raw = {n: file.bytes_of(n).view(kinds[e.dtype]).reshape(e.shape) for n, e in file.entries.items()}
    out = {}
    for name, array in raw.items():
        module = name.removesuffix(".weight")
        if f"{module}.scales" in raw:
            how = codes.get(module, codes)
            assert raw[f"{module}.scales"].shape == (
                len(array),
                array.shape[1] * 32 // how["bits"] // how["group_size"],
            )
            parts = (raw[f"{module}.scales"], raw[f"{module}.biases"], how["bits"], how["group_size"])
            out[name] = decoded(array, *parts)
        elif not name.endswith((".scales", ".biases")):
            out[name] = array
    return out


@pytest.mark.parametrize("fmt", ["t2_g128", "t5", "int2", "binary_row", "int3", "int4_g32", "int6", "int8"])
@pytest.mark.parametrize("name", WIDTHS)
def test_codes_are_kept_exactly(name, fmt, tmp_path):
    packed = made(tmp_path / "m.wl", name, dataclasses.replace(WIDTHS[name], weight_format=fmt), small_tokenizer())
    architecture = export_mlx(packed, tmp_path / "out")
    found = read(tmp_path / "out")
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert said["architectures"] == [architecture] and said["quantization"]["bits"] == BITS[fmt.partition("_")[0]]
    assert (tmp_path / "out" / "tokenizer.json").exists()
    ours = {t.name: decode_rows(packed.artifact.view(t.name), t.format, t.shape[1]) for t in packed.program.stored()}
    assert np.array_equal(found["model.embed_tokens.weight"], ours["embed"])
    parts = [found[f"model.layers.1.self_attn.{part}_proj.weight"] for part in "qkv"]
    assert np.array_equal(np.concatenate(parts), ours["block.1.qkv"])
    assert np.array_equal(found["model.layers.0.mlp.down_proj.weight"], ours["block.0.down"])
    assert np.array_equal(found["model.norm.weight"], ours["final_norm"][0])
    n_parameters = sum(array.size for array in ours.values())
    assert sum(array.size for array in found.values()) == n_parameters


def test_ternary_weights_are_a_scale_and_minus_a_scale(tmp_path):
    packed = made(tmp_path / "m.wl", "qwen3", dataclasses.replace(WIDTHS["qwen3"], weight_format="t2_g128"))
    export_mlx(packed, tmp_path / "out")
    file = open_safetensors(tmp_path / "out" / "model.safetensors")
    scales, biases = (file.bytes_of(f"model.embed_tokens.{part}").view("<f4") for part in ("scales", "biases"))
    assert (scales > 0).all() and np.array_equal(biases, -scales)


def test_what_has_no_codes_there_is_written_as_numbers(tmp_path):
    """Scales of 8 bits, rows that are no multiple of 32, and floats."""
    plan = {"embed": "int4_g32_s8", "block.*.down": "int8", "block.0.out": "f32"}
    config = llama.Config(V, 64, 1, 2, 2, 32, 45, 63, weight_format="int4", plan=plan)
    packed = made(tmp_path / "m.wl", "llama", config)
    export_mlx(packed, tmp_path / "out")
    names = open_safetensors(tmp_path / "out" / "model.safetensors").entries
    assert {name for name in names if name.endswith(".scales")} == {
        *(f"model.layers.0.self_attn.{part}_proj.scales" for part in "qkv"),
        *(f"model.layers.0.mlp.{part}_proj.scales" for part in ("gate", "up")),
    }
    ours = decode_rows(packed.artifact.view("embed"), "int4_g32_s8", 64)
    assert np.array_equal(read(tmp_path / "out")["model.embed_tokens.weight"], ours)


def test_gpt2_and_numbers_that_are_none_are_refused(tmp_path):
    packed = made(tmp_path / "g.wl", "gpt2", gpt2.Config(V, 64, 1, 2, 0, 63))
    with pytest.raises(ConfigError, match="a gpt2 cannot be written for MLX"):
        export_mlx(packed, tmp_path / "out")
    config = llama.Config(V, 64, 1, 2, 2, 32, 45, 63, weight_format="f32")
    found = made(tmp_path / "m.wl", "llama", config)
    arrays = {t.name: decode_rows(found.artifact.view(t.name), "f32", t.shape[1]) for t in found.program.stored()}
    arrays["block.0.out"][3, 1] = np.inf
    pack(tmp_path / "inf.wl", "llama", config, arrays)
    with pytest.raises(CorruptFileError, match="'block.0.out' holds NaN or infinity"):
        export_mlx(open_packed(tmp_path / "inf.wl"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
