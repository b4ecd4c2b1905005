"""weightless export --to gguf and --to mlx, weightless import FILE.gguf, as a user types them.

Oracles: what `import` says of the model that was exported; one line and exit code 2 for what cannot be.
"""

from __future__ import annotations

import json

import pytest
from export.foreign_folders import small_tokenizer
from export.small_models import V, made

from weightless.export.packed import open_packed
from weightless.models import qwen3


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.wl"
    config = qwen3.Config(V, 64, 2, 4, 2, 32, 96, 63, weight_format="int8", kv_format="int8")
    made(path, "qwen3", config, small_tokenizer())
    return path


def test_there_and_back(model, tmp_path, command):
    code, told, _ = command("export", model, "--to", "gguf")
    path = model.with_suffix(".gguf")
    assert code == 0 and told.startswith(f"{path}: qwen3, 15 tensors in Q8_0, 9 tensors in F32; ")
    code, told, _ = command("import", path, "--out", tmp_path / "again.wl", "--json")
    found = json.loads(told)
    assert code == 0 and (found["weight_format"], found["plan"], found["kv_format"]) == ("int8", {}, "int8")
    again, before = open_packed(tmp_path / "again.wl"), open_packed(model)
    assert again.artifact.data.tobytes() == before.artifact.data.tobytes()
    code, _, noted = command("import", path, "--out", tmp_path / "b.wl", "--tokenizer", "none", "--context", "21")
    assert code == 0 and "without a tokenizer" in noted
    assert not open_packed(tmp_path / "b.wl").has_tokenizer


def test_a_type_and_a_folder_for_mlx(model, tmp_path, command):
    code, told, _ = command("export", model, "--to", "gguf", "--type", "f16", "--out", tmp_path / "half.gguf")
    assert code == 0 and "15 tensors in F16" in told
    code, told, _ = command("export", model, "--to", "mlx", "--out", tmp_path / "mlx")
    assert code == 0 and "Qwen3ForCausalLM" in told
    said = json.loads((tmp_path / "mlx" / "config.json").read_text())["quantization"]
    assert (said["group_size"], said["bits"]) == (64, 8)
    assert said["model.layers.0.mlp.down_proj"] == {"group_size": 32, "bits": 8}  # rows of 96 numbers


@pytest.mark.parametrize("to", ["gguf", "hf", "mlx"])
def test_rounded_activations_are_told_to_be_ours(tmp_path, command, to):
    config = qwen3.Config(V, 64, 1, 2, 1, 32, 64, 31, weight_format="int8", activation_format="int8")
    made(tmp_path / "model.wl", "qwen3", config, small_tokenizer())
    code, _, noted = command("export", tmp_path / "model.wl", "--to", to, "--out", tmp_path / "out.gguf")
    assert code == 0 and "activation_format" in noted


def test_what_cannot_be_is_one_line(model, tmp_path, command):
    def refused(*arguments) -> str:
        code, out, wrong = command(*arguments)
        assert code == 2 and not out and len(wrong.strip().split("\n")) == 1
        return wrong

    assert "--type does nothing without --to gguf" in refused("export", model, "--type", "f16")
    assert "--tokenizer does nothing without --to gguf" in refused("export", model, "--to", "mlx", "--tokenizer", "x")
    assert "has a tokenizer of its own" in refused("export", model, "--to", "gguf", "--tokenizer", "x.model")
    assert "is the model that is exported" in refused("export", model, "--to", "gguf", "--out", model)
    assert "is a folder" in refused("export", model, "--to", "gguf", "--out", tmp_path)
    assert "is no GGUF file" in refused("import", model, "--out", tmp_path / "x.wl")
    assert "or a GGUF file" in refused("import", tmp_path / "nowhere.gguf", "--out", tmp_path / "x.wl")
    assert command("export", model, "--to", "gguf", "--type", "q5_1")[0] == 2
    assert list(tmp_path.iterdir()) == []
