"""weightless import, export and count of somebody else's model.

Oracles: parameters as they are published; the counters, which must agree on what was imported.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from export.foreign_folders import (
    CONFIGS,
    GPT2,
    LLAMA,
    QWEN3,
    V,
    make_folder,
    save_tensors,
    small_tokenizer,
    tensors_of,
)

from weightless.artifact.safetensors import SIZES
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.models import dense
from weightless.models.catalog import family
from weightless.program.cached import first_weights
from weightless.quant.formats import decode_rows
from weightless.train.initialise import initial_parameters

DATA = Path(os.environ.get("WEIGHTLESS_DATA", "/nonexistent"))
LLAMA_3_2_1B = {
    **LLAMA,
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
    },
}
QWEN3_0_6B = {
    **QWEN3,
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "sliding_window": None,
    "rope_theta": 1000000,
}
GPT2_SMALL = {**GPT2, "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
LLAMA_2_7B = {
    **LLAMA,
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": None,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_counter_agrees_on_what_was_imported(kind, tmp_path, command):
    """Five counters and the poison, from the artifact; `pages` may be skipped where the system lacks them."""
    folder = make_folder(tmp_path / "theirs", CONFIGS[kind])
    code, told, _ = command("import", folder, "--out", tmp_path / "model.wl", "--json")
    found = json.loads(told)
    assert code == 0 and found["family"] == kind and found["weight_format"] == "bf16"
    code, told, _ = command("count", tmp_path / "model.wl", "--verify", "--json")
    (verified,) = json.loads(told)
    assert code == 0 and {c["verdict"] for c in verified["counters"]} <= {"reference", "agrees", "skipped"}
    code, told, _ = command("count", tmp_path / "model.wl", "--json")
    (ledger,) = json.loads(told).values()
    assert ledger["touched"]["T"]["mean"] == found["bytes_per_token"]
    code, told, _ = command("count", folder, "--json")
    (ledger,) = json.loads(told).values()
    assert code == 0 and ledger["parameters"] == found["parameters"]


@pytest.mark.skipif(not (DATA / "gpt2").is_dir(), reason="WEIGHTLESS_DATA has no gpt2 folder")
def test_a_small_gpt2_with_the_real_vocabulary_writes_and_is_scored(tmp_path, command):
    """Untrained: text comes out of whole tokens, and the loss is near log V = 10.8 nats."""
    given = {**GPT2, "vocab_size": 50257, "n_embd": 24, "n_head": 2, "n_layer": 1, "eos_token_id": 50256}
    folder = make_folder(tmp_path / "theirs", given, "F32", tokenizer=False)
    tensors = {name: array * 0.1 if array.ndim == 2 else array for name, array in tensors_of(given).items()}
    save_tensors(folder / "model.safetensors", tensors)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((DATA / f"gpt2/gpt2_{name}").read_bytes())
    model, text = tmp_path / "model.wl", tmp_path / "text.txt"
    text.write_text("A feather weighs less than the word for it. " * 20)
    assert command("import", folder, "--out", model)[0] == 0
    code, told, _ = command("generate", model, "--prompt", "A feather", "--max_tokens", "9", "--json")
    assert code == 0 and json.loads(told)["prompt"] == "A feather" and json.loads(told)["n_tokens"] <= 9
    code, told, _ = command("eval", model, "--text", text, "--json")
    assert code == 0 and 9 < json.loads(told)["nats_per_token"] < 13 and json.loads(told)["bits_per_byte"] > 0
    assert command("export", model, "--out", tmp_path / "ours")[0] == 0
    assert len(json.loads((tmp_path / "ours/tokenizer.json").read_text())["model"]["merges"]) == 50000


@pytest.mark.parametrize(
    ("given", "published"),
    [(GPT2_SMALL, 124_439_808), (QWEN3_0_6B, 596_049_920), (LLAMA_3_2_1B, 1_235_814_400), (LLAMA_2_7B, 6_738_415_616)],
    ids=["gpt2", "qwen3", "llama", "llama-7b"],
)
def test_published_sizes_from_config_json_alone(given, published, tmp_path, command):
    (tmp_path / "config.json").write_text(json.dumps(given))
    code, told, _ = command("count", tmp_path / "config.json", "--set", "weight_format=int8", "--json")
    (ledger,) = json.loads(told).values()
    assert code == 0 and ledger["parameters"] == published
    if given is not LLAMA_2_7B:
        code, told, _ = command("count", given["model_type"], "--json")
        assert code == 0 and json.loads(told)[given["model_type"]]["parameters"] == published


def test_a_scaling_of_angles_is_counted_and_not_run(tmp_path, command):
    scaled = {**QWEN3_0_6B, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
    (tmp_path / "config.json").write_text(json.dumps(scaled))
    code, told, _ = command("count", tmp_path)
    assert code == 0 and "rope_scaling of type yarn" in told and "changes no byte; import refuses it" in told
    code, _, wrong = command("import", tmp_path, "--out", tmp_path / "x.wl")
    assert code == 2 and "rope_scaling of type yarn" in wrong and wrong.count("\n") == 1


def test_seven_billion_zeros_are_counted_in_under_a_second(tmp_path, command):
    """The weights are a sparse file of 13.5 GB, which reading would take many seconds.

    The best of three counts, in processor time, which a busy machine hardly lengthens; on an idle one it is the wall's.
    """
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_2_7B))
    entries, end = {}, 0
    for name, shape in {"model.embed_tokens.weight": (32000, 4096), "rest": (1_000_000, 6607)}.items():
        size = shape[0] * shape[1] * SIZES["F16"]
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    assert (tmp_path / "model.safetensors").stat().st_size > 13e9
    took = []
    for _ in range(3):
        began = time.process_time()
        assert command("count", tmp_path, "--json")[0] == 0
        took.append(time.process_time() - began)
    assert min(took) < 1.0
    code, _, wrong = command("import", tmp_path, "--out", tmp_path / "x.wl", "--tokenizer", "none")
    assert code == 2 and "lacks the tensor" in wrong


def test_a_folder_without_text_or_with_that_of_another(tmp_path, command):
    folder, out = make_folder(tmp_path / "a", LLAMA, tokenizer=False), tmp_path / "x.wl"
    code, _, wrong = command("import", folder, "--out", out)
    assert code == 2 and "--tokenizer none" in wrong and wrong.count("\n") == 1
    small_tokenizer().save(tmp_path / "other.json")
    larger = small_tokenizer(V - 257 + 9)
    larger.save(tmp_path / "larger.json")
    code, _, wrong = command("import", folder, "--out", out, "--tokenizer", tmp_path / "larger.json")
    assert code == 2 and f"has {V + 9} tokens and the model {V}: it belongs to another" in wrong
    assert command("import", folder, "--out", out, "--tokenizer", tmp_path / "other.json")[0] == 0
    code, _, wrong = command("import", folder, "--out", out, "--context", "64")
    assert code == 2 and "--context 64 is more than the 63 positions" in wrong
    code, told, noted = command("import", folder, "--out", out, "--tokenizer", "none", "--weight_format", "int8")
    assert code == 0 and "in int8, cache in bf16" in told and "knows ids and no text" in noted
    code, _, wrong = command("import", tmp_path / "nowhere", "--out", out)
    assert code == 2 and "is no folder" in wrong


VARIANTS = {
    "norm": "post",
    "positions": "learned",
    "activation": "gelu",
    "softcap": 9.0,
    "q_gain": 1.5,
    "bigram_rows": 7,
}


@pytest.mark.parametrize("field", VARIANTS)
def test_what_cannot_be_expressed_is_named(field, tmp_path, command):
    config = dense.Config(131, 32, 1, 2, context=16, **{field: VARIANTS[field]})
    drawn = initial_parameters(dense.FAMILY.Model(config).tensors(), seed=1)
    pack(tmp_path / "model.wl", "dense", config, {name: value.detach().numpy() for name, value in drawn.items()})
    code, _, wrong = command("export", tmp_path / "model.wl", "--to", "hf", "--out", tmp_path / "hf")
    assert code == 2 and f"{field} = {VARIANTS[field]!r} is in neither llama nor qwen3" in wrong
    assert not (tmp_path / "hf").exists()


CARRIED = "vocab_size d_model n_layers n_heads n_kv_heads d_ff context tied qk_norm rope_theta eps"
STORED = "weight_format kv_format plan activation_format"
NOTHING_ALONE = "match_d_ff window_pattern zero_init n_classes classes_by exit_threshold exit_loss exit_weight"


def test_every_field_of_dense_is_carried_over_or_refused():
    """A field that a later variant adds must be thought of: what is neither would be lost without a word."""
    thought_of = [*dense.AS_LLAMA, *CARRIED.split(), *STORED.split(), *NOTHING_ALONE.split()]
    assert sorted(thought_of) == sorted(field.name for field in dataclasses.fields(dense.Config))


def test_a_model_of_several_formats_is_written_as_the_numbers_it_computes_with(tmp_path, command):
    """bf16 for all would round what a plan stores as codes: the file has the artifact's numbers, to the bit."""
    config = dense.Config(131, 64, 1, 2, context=16, plan={"*.down": "int8", "*.up": "t2_g32@lsq"})
    drawn = initial_parameters(dense.FAMILY.Model(config).tensors(), seed=1)
    pack(tmp_path / "model.wl", "dense", config, {name: value.detach().numpy() for name, value in drawn.items()})
    assert command("export", tmp_path / "model.wl", "--to", "hf", "--out", tmp_path / "hf")[0] == 0
    assert command("import", tmp_path / "hf", "--out", tmp_path / "again.wl", "--tokenizer", "none")[0] == 0
    first, again = (open_packed(tmp_path / name) for name in ("model.wl", "again.wl"))
    for tensor in first.program.stored():
        values, back = (
            decode_rows(p.artifact.view(tensor.name), p.program.by_name[tensor.name].format, tensor.shape[1])
            for p in (first, again)
        )
        assert np.array_equal(values, back), tensor.name


@pytest.mark.parametrize("name", ["dense", "gpt2", "llama", "qwen3"])
def test_a_model_that_leaves_early_is_not_written_as_one_that_never_does(name, tmp_path, command):
    config = dataclasses.replace(family(name).Config.at(1, V), exit_after=(1,), exit_threshold=0.5)
    drawn = initial_parameters(family(name).Model(config).tensors(), seed=1)
    arrays = {key: value.detach().numpy() for key, value in drawn.items()}
    pack(tmp_path / "model.wl", name, config, {**arrays, "exit.threshold": np.full((1, 1), 0.5, np.float32)})
    code, _, wrong = command("export", tmp_path / "model.wl", "--out", tmp_path / "hf")
    assert code == 2 and "exit_after = " in wrong and wrong.count("\n") == 1
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("name", ["dense", "gpt2", "llama", "qwen3"])
def test_a_window_cache_is_not_left_behind_without_a_word(name, tmp_path, command):
    config = dataclasses.replace(family(name).Config.at(1, V), window_cache=2)
    drawn = initial_parameters(family(name).Model(config).tensors(), seed=1)
    arrays = {key: value.detach().numpy() for key, value in drawn.items()} | first_weights(2)
    pack(tmp_path / "model.wl", name, config, arrays)
    code, _, wrong = command("export", tmp_path / "model.wl", "--out", tmp_path / "hf")
    assert code == 2 and "window_cache = 2" in wrong and wrong.count("\n") == 1
    assert not (tmp_path / "hf").exists()


def test_exports_that_cannot_be(small_run, tmp_path, command):
    run = small_run[0]
    code, _, wrong = command("export", run / "models/feather/model.wl", "--out", tmp_path / "hf")
    assert code == 2 and "family 'feather' has no form in transformers" in wrong
    assert command("export", run / "models/dense/model.wl", "--out", tmp_path / "hf")[0] == 0
    code, _, wrong = command("export", run / "models/dense/model.wl", "--out", tmp_path / "hf")
    assert code == 2 and "holds a model already" in wrong
    (tmp_path / "file").write_text("")
    code, _, wrong = command("export", run / "models/dense/model.wl", "--out", tmp_path / "file")
    assert code == 2 and "is no folder" in wrong


def test_codes_are_exported_as_the_numbers_they_stand_for(tmp_path, command):
    """int8 and back as float32: coding those again gives the same file."""
    folder = make_folder(tmp_path / "a", LLAMA)
    formats = ("--weight_format", "int8", "--kv_format", "int8")
    assert command("import", folder, "--out", tmp_path / "one.wl", *formats)[0] == 0
    assert command("export", tmp_path / "one.wl", "--out", tmp_path / "b")[0] == 0
    assert json.loads((tmp_path / "b/config.json").read_text())["torch_dtype"] == "float32"
    assert command("import", tmp_path / "b", "--out", tmp_path / "two.wl", *formats)[0] == 0
    assert np.array_equal(np.fromfile(tmp_path / "one.wl", "u1"), np.fromfile(tmp_path / "two.wl", "u1"))
