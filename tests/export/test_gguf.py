"""GGUF files out and in: numbers stay what they are to the bit, strangers' files come in, what cannot be is refused.

Oracles: the rows that are stored, and the numbers they stand for; the `gguf` package as another writer, with its own
quantisers; for damage, that nothing but WeightlessError comes of it and no artifact is left behind.
"""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from export.foreign_folders import small_tokenizer
from export.small_models import ODD, WIDE, V, made

from weightless.artifact.gguf import open_gguf
from weightless.artifact.gguf_writing import OutgoingBlocks, write_gguf
from weightless.base.config import to_dict
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.export import to_gguf
from weightless.export.from_gguf import import_gguf
from weightless.export.packed import Packed, open_packed
from weightless.export.to_gguf import export_gguf
from weightless.models import dense, llama
from weightless.quant.formats import decode_rows

TOKENIZER = small_tokenizer()


def numbers(packed: Packed) -> dict[str, np.ndarray]:
    """Every tensor as float32."""
    tensors = packed.program.stored()
    return {t.name: decode_rows(packed.artifact.view(t.name), t.format, t.shape[1]) for t in tensors}


def same(one: Packed, other: Packed) -> bool:
    a, b = numbers(one), numbers(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def back(path, out, **options) -> Packed:
    import_gguf(path, out, **options)
    return open_packed(out)


OF_TYPE = {"int8": {"Q8_0"}, "int6_row": {"Q8_0"}, "int4_g32": {"Q4_0"}, "t2": {"Q2_0", "Q4_0"}}
"""Of ternary matrices the one with rows of 96 numbers has no whole blocks of 64: the next type takes it."""


@pytest.mark.parametrize("fmt", ["f32", "f16", "bf16", *OF_TYPE])
@pytest.mark.parametrize("name", WIDE)
def test_a_model_comes_back_as_it_was(name, fmt, tmp_path):
    """Configuration, codes and scales, tokenizer: byte for byte, but for the note of where it comes from."""
    packed = made(tmp_path / "model.wl", name, dataclasses.replace(WIDE[name], weight_format=fmt), TOKENIZER)
    found = export_gguf(packed, tmp_path / "model.gguf")
    again = back(tmp_path / "model.gguf", tmp_path / "again.wl")
    assert again.program.to_plain() == packed.program.to_plain()
    assert again.artifact.meta["config"] == packed.artifact.meta["config"]
    assert again.artifact.data.tobytes() == packed.artifact.data.tobytes()
    assert again.tokenizer.sha256 == packed.tokenizer.sha256
    assert found.types.keys() == OF_TYPE.get(fmt, {fmt.upper()}) | {"F32"}


@pytest.mark.parametrize("fmt", ["f32", "int8", "t5", "int4_s8", "binary_row"])
@pytest.mark.parametrize("name", ODD)
def test_odd_widths_and_formats_keep_their_numbers(name, fmt, tmp_path):
    """Where no type has room for the codes the floats that they stand for go."""
    config = dataclasses.replace(ODD[name], weight_format=fmt)
    packed = made(tmp_path / "model.wl", name, config, TOKENIZER)
    export_gguf(packed, tmp_path / "model.gguf")
    again = back(tmp_path / "model.gguf", tmp_path / "again.wl")
    assert same(packed, again)
    changed = {k for k, v in to_dict(config).items() if again.artifact.meta["config"][k] != v}
    assert changed <= {"weight_format", "plan"}


def test_a_plan_comes_back_tensor_by_tensor(tmp_path):
    plan = {"embed": "int8", "block.0.*": "f16", "block.1.qkv": "int4"}
    config = dataclasses.replace(WIDE["llama"], weight_format="t2", plan=plan)
    packed = made(tmp_path / "model.wl", "llama", config, TOKENIZER)
    found = export_gguf(packed, tmp_path / "model.gguf")
    assert {"Q8_0", "F16", "Q4_0", "Q2_0"} <= found.types.keys()
    again = back(tmp_path / "model.gguf", tmp_path / "again.wl")
    formats = [{t.name: t.format for t in one.program.stored()} for one in (packed, again)]
    assert formats[0] == formats[1] and again.artifact.data.tobytes() == packed.artifact.data.tobytes()


@pytest.mark.parametrize("kind", ["f32", "f16", "bf16", "q8_0", "q4_0"])
def test_a_type_that_is_asked_for(kind, tmp_path):
    """Rounded as `weightless pack` and llama.cpp round; written as f32 nothing changes."""
    packed = made(tmp_path / "model.wl", "llama", dataclasses.replace(WIDE["llama"], weight_format="f32"), TOKENIZER)
    found = export_gguf(packed, tmp_path / "model.gguf", kind)
    assert found.types.keys() == {kind.upper(), "F32"}
    ours, theirs = numbers(packed), numbers(back(tmp_path / "model.gguf", tmp_path / "again.wl"))
    largest = max(np.abs(ours[name] - theirs[name]).max() for name in ours)
    assert largest == 0 if kind == "f32" else 0 < largest < {"f16": 1e-3, "bf16": 1e-2, "q8_0": 1e-2}.get(kind, 0.2)
    if kind in ("f16", "bf16"):
        for name in ("block.0.qkv", "embed"):
            assert np.array_equal(
                np.sort(theirs[name].ravel()),
                np.sort(decode_rows(to_gguf.encode_rows(ours[name], kind), kind, ours[name].shape[1]).ravel()),
            )


def test_codes_stay_where_the_type_that_is_asked_for_has_room_for_them(tmp_path):
    packed = made(tmp_path / "model.wl", "qwen3", dataclasses.replace(WIDE["qwen3"], weight_format="t2"), TOKENIZER)
    for kind in ("q2_0", "q4_0", "q8_0", "f32"):
        export_gguf(packed, tmp_path / "model.gguf", kind)
        assert same(packed, back(tmp_path / "model.gguf", tmp_path / "again.wl")), kind


def test_what_a_type_cannot_hold_is_said(tmp_path):
    packed = made(tmp_path / "model.wl", "qwen3", dataclasses.replace(WIDE["qwen3"], weight_format="int8"), TOKENIZER)
    with pytest.raises(ConfigError, match="'embed' .int8. is not ternary with a scale per 64 columns, and Q2_0 holds"):
        export_gguf(packed, tmp_path / "model.gguf", "q2_0")
    odd = made(tmp_path / "odd.wl", "qwen3", dataclasses.replace(ODD["qwen3"], weight_format="int8"), TOKENIZER)
    (note,) = export_gguf(odd, tmp_path / "odd.gguf", "q8_0").notes
    assert "have rows of no multiple of 32 numbers" in note and "written exactly" in note
    assert same(odd, back(tmp_path / "odd.gguf", tmp_path / "again.wl"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("tensor", ["block.1.up", "block.0.q_norm"])
def test_numbers_that_are_none_are_refused_by_name(tensor, value, tmp_path):
    from weightless.export.lower import pack

    config = dataclasses.replace(WIDE["qwen3"], weight_format="f32")
    arrays = {name: a.copy() for name, a in numbers(made(tmp_path / "model.wl", "qwen3", config)).items()}
    arrays[tensor][0, 3] = value
    pack(tmp_path / "nan.wl", "qwen3", config, arrays)
    (tmp_path / "model.gguf").write_bytes(b"GGUF before")
    with pytest.raises(CorruptFileError, match=f"'{tensor}' holds NaN or infinity"):
        export_gguf(open_packed(tmp_path / "nan.wl"), tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == b"GGUF before"


def test_nothing_is_lost_when_writing_fails(tmp_path, monkeypatch):
    """A full disk in the middle of the tensors; afterwards the file of before is there and nothing beside it."""
    packed = made(tmp_path / "model.wl", "qwen3", WIDE["qwen3"], TOKENIZER)
    export_gguf(packed, tmp_path / "model.gguf")
    whole = (tmp_path / "model.gguf").read_bytes()

    def full(packed, part, stored):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(to_gguf, "_as_type", full)
    with pytest.raises(WeightlessError, match="No space left on device; what was there before is untouched"):
        export_gguf(packed, tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.gguf", "model.wl"]


def test_the_model_itself_and_other_files_are_not_written_over(tmp_path):
    packed = made(tmp_path / "model.wl", "qwen3", WIDE["qwen3"], TOKENIZER)
    with pytest.raises(WeightlessError, match="is the model that is exported"):
        export_gguf(packed, tmp_path / "model.wl")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WeightlessError, match="exists and is no GGUF file"):
        export_gguf(packed, tmp_path / "notes.txt")
    export_gguf(packed, tmp_path / "model.gguf")
    with pytest.raises(WeightlessError, match="is the file that is imported"):
        import_gguf(tmp_path / "model.gguf", tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"activation": "relu2"}, "activation = 'relu2' is in neither llama nor qwen3"),
        ({"window": 8}, "window = 8 is in neither"),
        ({"positions": "learned"}, "positions = 'learned' is in neither"),
        ({"qk_norm": "bare"}, "qk_norm = 'bare'"),
    ],
)
def test_variants_without_an_architecture_are_named(fields, told, tmp_path):
    packed = made(tmp_path / "model.wl", "dense", dense.Config(V, 32, 2, 2, 1, 45, 63, **fields), TOKENIZER)
    with pytest.raises(ConfigError, match=told):
        export_gguf(packed, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_what_llama_cpp_would_overlook_has_no_place_there():
    early = dataclasses.replace(WIDE["llama"], exit_after=(1,), exit_threshold=0.5)
    with pytest.raises(ConfigError, match="exit_after = .1,.: llama.cpp's llama has no such thing"):
        llama.GGUF.keys_of(early)
    with pytest.raises(ConfigError, match="window_cache = 4: llama.cpp's llama has no such thing"):
        llama.GGUF.keys_of(dataclasses.replace(WIDE["llama"], window_cache=4))


def keys_and_tensors(packed: Packed, path) -> tuple[dict, dict[str, tuple[str, tuple[int, ...], np.ndarray]]]:
    export_gguf(packed, path)
    file = open_gguf(path)
    tensors = {name: (e.type, e.shape, np.array(file.rows(name))) for name, e in file.entries.items()}
    return dict(file.keys), tensors


def written(path, keys, tensors) -> None:
    with open(path, "wb") as file:
        write_gguf(file, keys, [OutgoingBlocks(name, *rest[:2], [rest[2]]) for name, rest in tensors.items()])


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    packed = made(folder / "model.wl", "llama", dataclasses.replace(WIDE["llama"], weight_format="f32"), TOKENIZER)
    return packed, *keys_and_tensors(packed, folder / "model.gguf")


CHANGES = {
    "an architecture nobody knows": ({"general.architecture": "mamba"}, {}, "of architecture 'mamba'; supported are"),
    "no architecture": ({"general.architecture": None}, {}, "says no architecture"),
    "one of several parts": ({"split.count": 3}, {}, "is one of 3 parts"),
    "a key of ours missing": ({"llama.block_count": None}, {}, "lacks llama.block_count"),
    "a size that is a text": ({"llama.block_count": "two"}, {}, "should be one int"),
    "a key nobody knows": ({"llama.attention.sliding_window": 8}, {}, "that is not known here"),
    "a scaling of positions": ({"llama.rope.scaling.type": "yarn"}, {}, "is not supported, only 'none'"),
    "experts": ({"llama.expert_count": 8}, {}, "is not supported, only 0"),
    "two widths of heads": ({"llama.attention.value_length": 16}, {}, "another key gives d_head as 32"),
    "impossible sizes": ({"llama.embedding_length": 0}, {}, "d_model = 0 is not in"),
    "another width": ({"llama.embedding_length": 128}, {}, "has shape [301, 64], its sizes ask for [301, 128]"),
    "a billion layers": ({"llama.block_count": 10**9}, {}, "layers"),
    "a tensor missing": ({}, {"blk.1.ffn_up.weight": None}, "lacks the tensor 'blk.1.ffn_up.weight'"),
    "a tensor too many": ({}, {"blk.0.ffn_gate_inp.weight": ("F32", (4,), np.zeros((1, 16), np.uint8))}, "no llama of"),
    "a type that is not read": (
        {},
        {"blk.0.attn_output.weight": ("Q5_0", (64, 128), np.zeros((64, 88), np.uint8))},
        "is Q5_0; F32, F16, BF16, TQ2_0, Q2_0, Q4_0, Q8_0 can be read",
    ),
    "a vector of codes": ({}, {"output_norm.weight": ("Q8_0", (64,), np.zeros((1, 68), np.uint8))}, "is Q8_0; F32"),
    "numbers that are none": (
        {},
        {"output_norm.weight": ("F32", (64,), np.full((1, 64), np.nan, np.float32))},
        "'output_norm.weight' holds NaN",
    ),
    "scales that are none": (
        {},
        {"blk.0.attn_output.weight": ("Q8_0", (64, 128), np.full((64, 136), 255, np.uint8))},
        "'blk.0.attn_output.weight': a scale is NaN",
    ),
    "divisors of angles": (
        {},
        {"rope_freqs.weight": ("F32", (16,), np.linspace(1, 3, 16).astype(np.float32)[None])},
        "a scaling of rotary positions",
    ),
    "an unknown pre-tokenizer": ({"tokenizer.ggml.pre": "default"}, {}, "pre-tokenizer 'default' is none of"),
    "another kind of tokenizer": ({"tokenizer.ggml.model": "bert"}, {}, "of the kind 'bert' cannot travel"),
    "tokens of one name": ({"tokenizer.ggml.tokens": ["a"] * V}, {}, "two tokens have one name"),
    "too few types": ({"tokenizer.ggml.token_type": np.ones(3, np.int32)}, {}, "does not give 301 tokens a type"),
    "merges that are none": ({"tokenizer.ggml.merges": ["abc"]}, {}, "tokens or merges are damaged"),
    "a key of the tokenizer": ({"tokenizer.ggml.charsmap": "x"}, {}, "that is not known"),
    "rules that are none": ({"weightless.tokenizer": "{"}, {}, "weightless.tokenizer is damaged"),
}


@pytest.mark.parametrize("case", CHANGES.values(), ids=CHANGES)
def test_files_that_are_not_understood_whole_are_refused(case, small, tmp_path):
    _, keys, tensors = small
    more_keys, more_tensors, told = case
    keys = {k: v for k, v in {**keys, **more_keys}.items() if v is not None}
    tensors = {k: v for k, v in {**tensors, **more_tensors}.items() if v is not None}
    written(tmp_path / "x.gguf", keys, tensors)
    with pytest.raises(WeightlessError) as caught:
        import_gguf(tmp_path / "x.gguf", tmp_path / "x.wl")
    assert told in str(caught.value) and "x.gguf" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "x.wl").exists()


def test_what_llama_cpp_takes_for_absent_keys_is_taken(small, tmp_path):
    _, keys, tensors = small
    gone = ("rope.freq_base", "rope.dimension_count", "vocab_size")
    keys = {k: v for k, v in keys.items() if k not in [f"llama.{name}" for name in gone] and "weightless" not in k}
    written(tmp_path / "x.gguf", keys, tensors)
    config = import_gguf(tmp_path / "x.gguf", tmp_path / "x.wl", context=40, kv_format="bf16").config
    assert (config.rope_theta, config.vocab_size, config.context, config.kv_format) == (10_000.0, V, 40, "bf16")
    with pytest.raises(ConfigError, match="--context 64 is more than the 63"):
        import_gguf(tmp_path / "x.gguf", tmp_path / "x.wl", context=64)
    assert import_gguf(tmp_path / "x.gguf", tmp_path / "x.wl", weight_format="int4").config.weight_format == "int4"


def test_positions_of_gpt2_are_cut_to_the_context(tmp_path):
    packed = made(tmp_path / "model.wl", "gpt2", dataclasses.replace(WIDE["gpt2"], weight_format="int8"), TOKENIZER)
    export_gguf(packed, tmp_path / "model.gguf")
    short = back(tmp_path / "model.gguf", tmp_path / "short.wl", context=21, tokenizer="none")
    assert np.array_equal(numbers(short)["position"], numbers(packed)["position"][:21]) and not short.has_tokenizer


def test_parts_of_different_types_come_together(small, tmp_path):
    """q in Q4_0, k in Q8_0, v in TQ2_0's place Q2_0: one matrix of int8 codes; one in floats: all of them floats."""
    from weightless.quant.gguf_blocks import lay_codes, rounded

    packed, keys, tensors = small
    wanted, tensors = dict(numbers(packed)), dict(tensors)
    rng = np.random.default_rng(0)
    x = {part: rng.standard_normal(tensors[f"blk.0.attn_{part}.weight"][1]).astype(np.float32) for part in "qk"}
    ternary = (rng.integers(-1, 2, (64, 64)).astype(np.int8), np.full((64, 2), 0.25, np.float32))
    tensors["blk.0.attn_q.weight"] = ("Q4_0", (128, 64), rounded("Q4_0", x["q"]))
    tensors["blk.0.attn_k.weight"] = ("Q8_0", (64, 64), rounded("Q8_0", x["k"]))
    tensors["blk.0.attn_v.weight"] = ("Q2_0", (64, 64), lay_codes("Q2_0", *ternary))
    tensors["blk.0.ffn_up.weight"] = ("Q8_0", (96, 64), rounded("Q8_0", wanted["block.0.up"][96:]))
    written(tmp_path / "x.gguf", keys, tensors)
    found = import_gguf(tmp_path / "x.gguf", tmp_path / "x.wl")
    assert found.config.plan == {"block.0.qkv": "int8_g32"}
    got = numbers(open_packed(tmp_path / "x.wl"))
    assert np.array_equal(got["block.0.qkv"][192:], ternary[0] * np.float32(0.25))
    assert np.array_equal(got["block.0.up"][:96], wanted["block.0.up"][:96])
    assert 0 < np.abs(got["block.0.up"][96:] - wanted["block.0.up"][96:]).max() < 1e-2


def test_files_of_the_gguf_package(tmp_path):
    """Another writer, with its own quantisers, its own way to permute, and its defaults; Llama 3.2's divisors."""
    gguf = pytest.importorskip("gguf", reason="the extra interop is not installed")
    shape = llama.Config(V, 64, 1, 4, 2, 32, 96, 63, rope_stretch=32.0, weight_format="f32", kv_format="f32")
    packed = made(tmp_path / "model.wl", "llama", shape, TOKENIZER)
    ours = numbers(packed)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_context_length(63)
    writer.add_embedding_length(64)
    writer.add_block_count(1)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(32)
    writer.add_value_length(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_tokenizer_model("none")
    quantised = {}

    def add(name, array, kind="F32"):
        one = gguf.GGMLQuantizationType[kind]
        data = gguf.quants.quantize(array, one)
        quantised[name] = gguf.quants.dequantize(data, one)
        writer.add_tensor(name, data, raw_dtype=one)

    def permuted(rows, heads):
        return rows.reshape(heads, 2, 16, 64).swapaxes(1, 2).reshape(rows.shape)

    qkv, up = ours["block.0.qkv"], ours["block.0.up"]
    add("token_embd.weight", ours["embed"], "Q8_0")
    add("output_norm.weight", ours["final_norm"][0])
    add("blk.0.attn_norm.weight", ours["block.0.attn_norm"][0])
    add("blk.0.ffn_norm.weight", ours["block.0.ffn_norm"][0])
    add("blk.0.attn_q.weight", permuted(qkv[:128], 4), "Q4_0")
    add("blk.0.attn_k.weight", permuted(qkv[128:192], 2), "Q4_0")
    add("blk.0.attn_v.weight", qkv[192:], "Q4_0")
    add("blk.0.attn_output.weight", ours["block.0.out"], "F16")
    add("blk.0.ffn_gate.weight", up[:96], "BF16")
    add("blk.0.ffn_up.weight", up[96:], "BF16")
    add("blk.0.ffn_down.weight", ours["block.0.down"], "F32")
    divisors = to_gguf.rope_divisors(32, shape.rope_theta, shape.stretch)
    writer.add_tensor("rope_freqs.weight", divisors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = import_gguf(tmp_path / "x.gguf", tmp_path / "x.wl")
    assert found.notes == ("without a tokenizer: the model knows ids and no text",)
    assert found.config.stretch == shape.stretch
    got, formats = numbers(open_packed(tmp_path / "x.wl")), {**found.config.plan}
    assert formats.get("block.0.qkv", found.config.weight_format) == "int5_g32"
    assert np.array_equal(got["embed"], quantised["token_embd.weight"])
    assert np.array_equal(permuted(got["block.0.qkv"][:128], 4), quantised["blk.0.attn_q.weight"])
    assert np.array_equal(permuted(got["block.0.qkv"][128:192], 2), quantised["blk.0.attn_k.weight"])
    assert np.array_equal(got["block.0.qkv"][192:], quantised["blk.0.attn_v.weight"])
    assert np.array_equal(got["block.0.up"][96:], quantised["blk.0.ffn_up.weight"])
    assert np.array_equal(got["block.0.out"], quantised["blk.0.attn_output.weight"])


def test_bytes_of_a_file_changed_at_random(tmp_path):
    """Refused in one line, or imported as something sound; of the tensors' numbers nothing is known, so not there."""
    config = dataclasses.replace(WIDE["llama"], n_layers=1, vocab_size=260, weight_format="int8")
    packed = made(tmp_path / "model.wl", "llama", config, small_tokenizer(3))
    export_gguf(packed, tmp_path / "whole.gguf")
    whole, rng, outcomes = (tmp_path / "whole.gguf").read_bytes(), random.Random(7), []
    header = open_gguf(tmp_path / "whole.gguf").data
    for _ in range(120):
        content = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            content[rng.randrange(header)] = rng.choice((0, 1, 255, rng.randrange(256)))
        (tmp_path / "x.gguf").write_bytes(bytes(content))
        try:
            import_gguf(tmp_path / "x.gguf", tmp_path / "x.wl")
            open_packed(tmp_path / "x.wl")
            outcomes.append("imported")
        except WeightlessError as error:
            assert "\n" not in str(error)
            outcomes.append("refused")
    assert outcomes.count("refused") > 60 and "imported" in outcomes
