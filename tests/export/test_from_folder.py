"""Folders of Hugging Face's become artifacts: bit for bit where the format keeps them, refused by name otherwise.

Oracles: the tensors that were written into the folder; for the numbers that a model gives, tests/oracle.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from export.foreign_folders import CONFIGS, GPT2, LLAMA, QWEN3, V, make_folder, make_shards, save_tensors, tensors_of

import weightless
from weightless.base.errors import WeightlessError
from weightless.export.from_folder import import_folder
from weightless.export.packed import open_packed
from weightless.export.to_folder import export_folder
from weightless.quant.formats import decode_rows


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_same_bits_there_and_back(kind, tmp_path):
    """Importing, exporting and importing again gives the same file, byte for byte; tensors come back as they were."""
    folder = make_folder(tmp_path / "theirs", {**CONFIGS[kind], "eos_token_id": 300})
    import_folder(folder, tmp_path / "model.wl")
    packed = open_packed(tmp_path / "model.wl")
    assert packed.program.by_name["block.0.up"].format == "bf16" and packed.tokenizer.vocab_size == V
    export_folder(packed, tmp_path / "ours")
    assert json.loads((tmp_path / "ours/config.json").read_text())["eos_token_id"] == 300
    import_folder(tmp_path / "ours", tmp_path / "again.wl")
    assert (tmp_path / "again.wl").read_bytes() == (tmp_path / "model.wl").read_bytes()
    first = (folder / "model.safetensors").read_bytes()
    second = (tmp_path / "ours/model.safetensors").read_bytes()
    n = int.from_bytes(first[:8], "little")
    assert len(first) == len(second) or kind == "gpt2"  # whose names gain their prefix
    assert json.loads(first[8 : 8 + n]).keys() - {"__metadata__"} == tensors_of(CONFIGS[kind]).keys()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_every_bit_pattern_is_kept(dtype, tmp_path):
    """Zeros of both signs, subnormals, the largest numbers: what is stored is what stood in the file."""
    folder = make_folder(tmp_path, LLAMA, dtype)
    tensors = tensors_of(LLAMA)
    odd = np.array([0.0, -0.0, 2.0**-133, -(2.0**-14), 65280.0, 1e-38], np.float32)
    odd = (
        odd if dtype != "F16" else np.array([0.0, -0.0, 2.0**-24, -(2.0**-14), 65504.0, 6e-8], np.float16).astype("f4")
    )
    tensors["model.layers.1.self_attn.k_proj.weight"][3, :6] = odd
    save_tensors(folder / "model.safetensors", tensors, dtype)
    import_folder(folder, tmp_path / "model.wl")
    packed = open_packed(tmp_path / "model.wl")
    tensor = packed.program.by_name["block.1.qkv"]
    assert tensor.format == {"BF16": "bf16", "F16": "f16", "F32": "f32"}[dtype]
    row = decode_rows(packed.artifact.view("block.1.qkv"), tensor.format, 52)[4 * 18 + 3]
    wanted = tensors["model.layers.1.self_attn.k_proj.weight"][3]
    if dtype != "F32":
        wanted = wanted.astype(np.float16).astype("f4") if dtype == "F16" else wanted
    if dtype == "BF16":
        wanted = (wanted.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    assert row.tobytes() == wanted.astype("<f4").tobytes()


def test_shards_are_one_file_and_mixtures_are_kept_exactly(tmp_path):
    folder = make_folder(tmp_path / "a", QWEN3)
    import_folder(folder, tmp_path / "whole.wl")
    (folder / "model.safetensors").unlink()
    make_shards(folder, tensors_of(QWEN3), 3)
    import_folder(folder, tmp_path / "shards.wl")
    assert (tmp_path / "shards.wl").read_bytes() == (tmp_path / "whole.wl").read_bytes()
    name = "model-00001-of-00003.safetensors"
    first = {n: tensors_of(QWEN3)[n] for i, n in enumerate(tensors_of(QWEN3)) if i % 3 == 0}
    save_tensors(folder / name, first, "F32")
    assert import_folder(folder, tmp_path / "mixed.wl").config.weight_format == "f32"


def test_old_files_of_gpt2_and_heads_that_are_stored_twice(tmp_path):
    """Masks are skipped and told; names may have the prefix; a tied head that is stored has to be the embedding."""
    folder, tensors = make_folder(tmp_path / "a", GPT2), tensors_of(GPT2)
    import_folder(folder, tmp_path / "plain.wl")
    masks = {f"h.{i}.attn.bias": np.zeros((1, 1, 63, 63), np.float32) for i in range(2)}
    prefixed = {f"transformer.{name}": array for name, array in {**tensors, **masks}.items()}
    save_tensors(folder / "model.safetensors", {**prefixed, "lm_head.weight": tensors["wte.weight"]}, "BF16")
    made = import_folder(folder, tmp_path / "old.wl")
    assert any("2 tensors without weights skipped" in note for note in made.notes)
    assert (tmp_path / "old.wl").read_bytes() == (tmp_path / "plain.wl").read_bytes()
    other = {**prefixed, "lm_head.weight": tensors["wte.weight"] + 1}
    save_tensors(folder / "model.safetensors", other, "BF16")
    with pytest.raises(WeightlessError, match=r"lm_head\.weight is another matrix than transformer\.wte\.weight"):
        import_folder(folder, tmp_path / "x.wl")


def test_a_shorter_context_keeps_the_first_positions(tmp_path):
    folder = make_folder(tmp_path / "a", GPT2, "F32")
    import_folder(folder, tmp_path / "model.wl", context=20)
    packed = open_packed(tmp_path / "model.wl")
    rows = decode_rows(packed.artifact.view("position"), "f32", 42)
    assert packed.program.context == 20 and np.array_equal(rows, tensors_of(GPT2)["wpe.weight"][:20])


def test_a_llama_that_transformers_would_refuse_is_not_written(tmp_path):
    folder = make_folder(tmp_path / "a", {**LLAMA, "num_attention_heads": 6, "num_key_value_heads": 3})
    import_folder(folder, tmp_path / "model.wl")
    with pytest.raises(WeightlessError, match="d_model = 52 is no multiple of n_heads = 6"):
        export_folder(open_packed(tmp_path / "model.wl"), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_larger_vocabulary_than_the_tokenizer_has(tmp_path):
    """Rows without text stay in the model, as special tokens that stand for no bytes, and go when it is exported."""
    folder = make_folder(tmp_path / "a", {**LLAMA, "vocab_size": V + 10})
    made = import_folder(folder, tmp_path / "model.wl")
    assert any("ids 301 to 310 have no text" in note for note in made.notes)
    packed = open_packed(tmp_path / "model.wl")
    assert packed.tokenizer.vocab_size == V + 10 and packed.tokenizer.special_tokens["<|unused_301|>"] == 301
    assert list(packed.tokenizer.encode_ordinary_array(b"<|unused_301|>")) != [301]
    export_folder(packed, tmp_path / "b")
    assert len(json.loads((tmp_path / "b/tokenizer.json").read_text())["model"]["vocab"]) == V
    import_folder(tmp_path / "b", tmp_path / "again.wl")
    assert (tmp_path / "again.wl").read_bytes() == (tmp_path / "model.wl").read_bytes()


def test_importing_takes_the_memory_of_a_few_blocks(tmp_path):
    """A model of 200 MB whose largest tensor has 13 MB: at most that much again is ever held (tracemalloc).

    The maps of the file are no memory of the process's own, and each is let go of before the next.
    """
    sizes = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 7, "vocab_size": 3000}
    given = {**LLAMA, **sizes, "num_attention_heads": 8, "head_dim": 128}
    make_folder(tmp_path, given, tokenizer=False)
    total = (tmp_path / "model.safetensors").stat().st_size
    assert total > 170e6
    largest = 2 * 2 * 3072 * 1024  # gate and up, stacked
    tracemalloc.start()
    try:
        import_folder(tmp_path, tmp_path / "model.wl", tokenizer="none")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    blocks = 7 * (1 << 24)  # bits, float32, rounded, and temporaries of one block of 16 MiB
    assert peak < largest + blocks < total


KILLED = """
import sys
from pathlib import Path
from weightless.export import from_folder, lower
honest = lower.encode_rows
def slow(*given):
    print("writing", flush=True)
    sys.stdin.read()
    return honest(*given)
lower.encode_rows = slow
from_folder.import_folder(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_an_import_that_is_killed_leaves_nothing_that_looks_finished(tmp_path):
    folder, out = make_folder(tmp_path / "a", LLAMA), tmp_path / "out/model.wl"
    environment = {**os.environ, "PYTHONPATH": str(Path(weightless.__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, str(folder), str(out)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    assert not out.exists() and len(list(out.parent.iterdir())) == 1
    import_folder(folder, out)
    assert [path.name for path in out.parent.iterdir()] == ["model.wl"] and open_packed(out)


def refused(folder: Path, tmp_path: Path, told: str) -> None:
    began = time.monotonic()
    with pytest.raises(WeightlessError, match=told) as caught:
        import_folder(folder, tmp_path / "x.wl")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert not (tmp_path / "x.wl").exists() and time.monotonic() - began < 20


WRONG_CONFIGS = {
    "unknown_type": (LLAMA, {"model_type": "mistral"}, "'mistral'; supported are gpt2, llama, qwen3"),
    "experts": (QWEN3, {"model_type": "qwen3_moe"}, "'qwen3_moe'.*did you mean 'qwen3'"),
    "no_type": (LLAMA, {"model_type": None}, "says no model_type"),
    "another_head": (LLAMA, {"architectures": ["LlamaForSequenceClassification"]}, "architectures"),
    "llama3_angles": (LLAMA, {"rope_scaling": {"rope_type": "llama3", "factor": 32.0}}, "rope_scaling of type llama3"),
    "yarn": (QWEN3, {"rope_parameters": {"type": "yarn", "rope_theta": 1e6}}, "rope_parameters of type yarn"),
    "partial_angles": (
        LLAMA,
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
        "partial_rot",
    ),
    "angles_are_a_list": (LLAMA, {"rope_scaling": [1]}, "rope_scaling should be an object"),
    "window": (QWEN3, {"use_sliding_window": True}, "use_sliding_window = True is not supported, only False"),
    "window_layers": (QWEN3, {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    "window_of_llama": (LLAMA, {"sliding_window": 4096}, "key 'sliding_window' that is not known of llama"),
    "activation": (LLAMA, {"hidden_act": "gelu"}, "hidden_act = 'gelu' is not supported, only 'silu'"),
    "activation_of_gpt2": (GPT2, {"activation_function": "relu"}, "only 'gelu_new' or 'gelu_pytorch_tanh'"),
    "scores_by_layer": (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    "cross_attention": (GPT2, {"add_cross_attention": True}, "add_cross_attention"),
    "quantised": (LLAMA, {"quantization_config": {"bits": 4}}, "quantization_config.*not quantised"),
    "unknown_key": (LLAMA, {"hiden_size": 3}, "key 'hiden_size'.*did you mean 'hidden_size'"),
    "no_width": (LLAMA, {"hidden_size": None}, "lacks 'hidden_size'"),
    "text": (LLAMA, {"hidden_size": "52"}, "d_model should be int"),
    "truth": (LLAMA, {"num_hidden_layers": True}, "n_layers should be int"),
    "huge_width": (LLAMA, {"hidden_size": 10**30}, "d_model = 1000"),
    "huge_head": (LLAMA, {"head_dim": 10**12}, "d_head = 1000"),
    "huge_layers": (LLAMA, {"num_hidden_layers": 10**6}, "n_layers 1000000 is above 4096"),
    "huge_positions": (LLAMA, {"max_position_embeddings": 10**9}, "context = 1000000000"),
    "huge_theta": (LLAMA, {"rope_theta": 10**400}, "rope_theta"),
    "small_theta": (LLAMA, {"rope_theta": 0.5}, "rope_theta = 0.5"),
    "no_layers": (LLAMA, {"num_hidden_layers": 0}, "n_layers = 0"),
    "negative": (LLAMA, {"intermediate_size": -45}, "d_ff = -45"),
    "odd_heads": (LLAMA, {"head_dim": 17}, "d_head = 17 should be even"),
    "uneven_heads": (LLAMA, {"num_key_value_heads": 3}, "multiple of n_kv_heads = 3"),
    "uneven_width": (GPT2, {"n_head": 4}, "d_model = 42 does not split into n_heads = 4"),
    "eps": (LLAMA, {"rms_norm_eps": -1.0}, "eps = -1.0"),
    "tied_text": (LLAMA, {"tie_word_embeddings": "yes"}, "tied should be bool"),
}


@pytest.mark.parametrize("case", WRONG_CONFIGS.values(), ids=WRONG_CONFIGS)
def test_a_configuration_that_is_not_ours_is_refused_by_its_key(case, tmp_path):
    given, changes, told = case
    folder = make_folder(tmp_path / "a", given)
    (folder / "config.json").write_text(json.dumps({**given, **changes}))
    refused(folder, tmp_path, told)


WRONG_TEXTS = {
    "nan": (json.dumps(LLAMA).replace("1e-06", "NaN"), "NaN is not a finite number"),
    "infinity": (json.dumps(LLAMA).replace("500.0", "1e999"), "inf is not a finite number"),
    "twice": ('{"a": 1, "a": 2}', "occurs twice"),
    "a_list": ("[1]", "holds no JSON object"),
    "no_json": ("<html>", "not valid JSON"),
    "deep": ("[" * 100_000, "nested too deeply|not valid JSON"),
    "digits": ('{"vocab_size": ' + "9" * 5000 + "}", "not valid JSON"),
}


@pytest.mark.parametrize("case", WRONG_TEXTS.values(), ids=WRONG_TEXTS)
def test_a_configuration_that_is_no_json_is_refused(case, tmp_path):
    folder = make_folder(tmp_path / "a", LLAMA)
    (folder / "config.json").write_text(case[0])
    refused(folder, tmp_path, case[1])


def damaged(kind: str, folder: Path) -> str:
    """Damage a folder of Llama; what has to be said of it."""
    tensors, weights = tensors_of(LLAMA), folder / "model.safetensors"
    norm, down = "model.norm.weight", "model.layers.0.mlp.down_proj.weight"
    match kind:
        case "a_tensor_is_missing":
            save_tensors(weights, {name: a for name, a in tensors.items() if name != norm})
            return r"lacks the tensor 'model\.norm\.weight'.*finish the download"
        case "a_tensor_too_many":
            save_tensors(weights, {**tensors, "model.layers.2.mlp.down_proj.weight": tensors[down]})
            return r"'model\.layers\.2\.mlp\.down_proj\.weight'.*in silence"
        case "another_shape":
            save_tensors(weights, {**tensors, down: tensors[down][:, :-1]})
            return r"has shape \[52, 44\], config\.json asks for \[52, 45\]"
        case "not_finite":
            tensors[down][3, 3] = np.nan
            save_tensors(weights, tensors)
            return r"down_proj\.weight' holds NaN or infinity"
        case "no_weights":
            weights.unlink()
            return r"holds neither model\.safetensors nor .*finish the download"
        case "pickled":
            weights.rename(folder / "pytorch_model.bin")
            return r"pickled weights \(pytorch_model\.bin\), which could run code and are never opened"
        case "half_downloaded":
            (folder / "model.safetensors.abc.incomplete").write_bytes(b"")
            return "is half a download: finish the download"
        case "half_downloaded_by_the_hub":
            (folder / ".cache/huggingface/download").mkdir(parents=True)
            (folder / ".cache/huggingface/download/x.incomplete").write_bytes(b"")
            return "is half a download: finish the download"
        case "cut_short":
            weights.write_bytes(weights.read_bytes()[:-9])
            return "was cut short: its tensors take"
        case "a_pointer":
            weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
            return "pointer of git-lfs"
        case _:
            weights.unlink()
            make_shards(folder, tensors, 2)
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())["weight_map"]
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    match kind:
        case "a_shard_is_missing":
            (folder / second).unlink()
            return f"names {second}, which is not in .*finish the download"
        case "a_shard_from_elsewhere":
            index.write_text(json.dumps({"weight_map": {**table, norm: "../../secret.safetensors"}}))
            return "cannot be a shard in its folder"
        case "a_shard_lacks_a_tensor":
            other = first if table[norm] == second else second
            index.write_text(json.dumps({"weight_map": {**table, norm: other}}))
            return "lies in .*, which lacks it|does not say"
        case "no_table":
            index.write_text("{}")
            return "has no weight_map"
    raise AssertionError(kind)


DAMAGES = (
    "a_tensor_is_missing a_tensor_too_many another_shape not_finite no_weights pickled half_downloaded "
    "half_downloaded_by_the_hub cut_short a_pointer a_shard_is_missing a_shard_from_elsewhere a_shard_lacks_a_tensor "
    "no_table"
)


@pytest.mark.parametrize("kind", DAMAGES.split())
def test_a_damaged_folder_is_refused_with_its_remedy(kind, tmp_path):
    folder = make_folder(tmp_path / "a", LLAMA)
    refused(folder, tmp_path, damaged(kind, folder))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_of_the_folder_is_never_written_over(tmp_path, name):
    (tmp_path / name).write_bytes(b"kept")
    with pytest.raises(WeightlessError, match="is a file of the folder that is imported"):
        import_folder(tmp_path, tmp_path / name)
    assert (tmp_path / name).read_bytes() == b"kept"
