"""Every figure that was worked out by hand before the code was written, to the digit it was given with.

Oracle: figures worked out on paper from document 004 (docs/accounting.md), the published checkpoints' parameter
counts, and the Parameter Golf baseline's own log (17,059,912 parameters, int8 payload of 17,178,912 bytes).
"""

from __future__ import annotations

import dataclasses

import pytest

from weightless.base.errors import ConfigError
from weightless.ledger.flops import (
    DAY,
    TRAINING_FACTOR,
    forward_flops,
    optimizer_flops,
    seconds_for,
    training_flops,
)
from weightless.ledger.memory import textbook_activations, training_memory
from weightless.ledger.presets import preset, presets
from weightless.ledger.shape import TransformerShape, parameters, without_embeddings

XL = preset("gpt2-xl").shape


def total(shape: TransformerShape) -> int:
    return sum(parameters(shape.weights()).values())


def shares(shape: TransformerShape, T: int = 0) -> list[float]:
    """Percent of the forward FLOPs: projections, attention, feed-forward, head; one decimal, as in the table."""
    parts = forward_flops(shape, T)
    return [round(100 * part / sum(parts.values()), 1) for part in parts.values()]


def test_parameters_of_the_gpt2_shapes():
    assert total(preset("gpt2-small").shape) == 190_460_160
    assert total(XL) == 2_127_057_600
    assert total(dataclasses.replace(XL, d_ff=4_288)) == 1_640_452_800
    assert total(preset("gpt2-xl-literal").shape) == 1_557_611_200


@pytest.mark.parametrize(("name", "millions"), [("small", 124), ("medium", 355), ("large", 774), ("xl", 1558)])
def test_literal_gpt2_has_the_published_sizes(name, millions):
    """124 M, 355 M, 774 M and 1558 M are in the names of the released checkpoints."""
    assert round(total(preset(f"gpt2-{name}-literal").shape) / 1e6) == millions


def test_float32_bytes():
    assert round(4 * total(preset("gpt2-small").shape) / 1e9, 3) == 0.762
    assert round(4 * total(XL) / 1e9, 2) == 8.51
    assert round(4 * total(dataclasses.replace(XL, d_ff=4_288)) / 1e9, 2) == 6.56
    assert preset("gpt2-xl").shipped_bytes() == 4 * total(XL)


def test_forward_flops_and_their_shares():
    assert sum(forward_flops(preset("gpt2-small").shape).values()) == 349_630_365_696
    assert shares(preset("gpt2-small").shape) == [16.6, 11.1, 49.8, 22.6]
    assert sum(forward_flops(XL).values()) == 4_513_336_524_800
    assert shares(XL) == [22.3, 7.1, 66.9, 3.6]
    assert forward_flops(XL)["head"] == 164_682_137_600
    layer = (sum(forward_flops(XL).values()) - forward_flops(XL)["head"]) / 48
    assert round(layer / 1e9, 1) == 90.6


def test_long_context_is_33_times_dearer_and_attention_is_half_of_it():
    long = forward_flops(XL, 16_384)
    assert sum(long.values()) == 149_522_795_724_800
    assert round(sum(long.values()) / sum(forward_flops(XL).values()), 1) == 33.1
    assert round(100 * long["attention scores and values"] / sum(long.values()), 1) == 55.2


def test_shares_are_not_constant_across_sizes():
    heads = [shares(preset(f"gpt2-{name}").shape)[3] for name in ("small", "medium", "large", "xl")]
    assert heads == sorted(heads, reverse=True) and heads[0] > 6 * heads[-1]


def test_training_memory_of_xl():
    memory = {
        ffn: training_memory(XL.weights(), "adamw", textbook_activations(XL, ffn=ffn)) for ffn in ("plain", "gated")
    }
    assert memory["gated"].fixed == 16 * total(XL) == 34_032_921_600
    assert round(memory["plain"].activations / 1e9, 2) == 15.52
    assert round(memory["gated"].activations / 1e9, 2) == 18.03
    assert [memory[ffn].largest_batch(80 * 10**9) for ffn in memory] == [2, 2]
    assert all(m.peak(2) <= 80e9 < m.peak(3) for m in memory.values())


def test_an_adamw_step_and_training_time_of_xl():
    assert round(optimizer_flops(total(XL)) / 1e9, 1) == 29.8
    forward = sum(forward_flops(XL).values())
    step = training_flops(forward, 1024)
    assert step == 3 * forward * 1024
    slow, fast = (seconds_for(step, peak, 0.5) for peak in (19.5e12, 495e12))
    assert round(slow) == 1_422 and round(slow * 400_000 / DAY) == 6_584
    assert round(fast, 1) == 56.0 and round(fast * 400_000 / DAY) == 259


def test_six_n_tokens_already_includes_the_backward_pass():
    """6 N per token is 3 x (2 N): N parameters in matrices, attention's own products aside.  Document 004 took it for
    the forward pass."""
    parts = forward_flops(XL)
    in_matrices = total(XL) - parameters(XL.weights())["embedding"] - parameters(XL.weights())["norms"]
    forward = sum(parts.values()) - parts["attention scores and values"]
    assert TRAINING_FACTOR * forward == 6 * in_matrices * 1024


@pytest.mark.parametrize(
    ("name", "everything", "flops_per_token"),
    [("tinystories-10k", 22_696_448, 37_240_832), ("tinystories-32k", 45_224_448, 59_768_832)],
)
def test_tinystories(name, everything, flops_per_token):
    shape = preset(name).shape
    counts = without_embeddings(shape.weights())
    assert counts == (everything, 12_456_448 + shape.vocab_size * 512, 12_456_448)
    assert sum(forward_flops(shape).values()) == 256 * flops_per_token
    assert name != "tinystories-10k" or counts[1] == 17_576_448


def test_six_layers_of_768_are_not_40_million():
    shape = TransformerShape(32_000, 256, 6, 768, 12, 2048)
    assert round(total(dataclasses.replace(shape, tied=True)) / 1e6, 1) == 67.1
    assert round(total(shape) / 1e6, 1) == 91.6


def test_parameter_golf_baseline():
    """17,059,912 = 524,288 + 9 (1,835,008 + 2,056) + 2,048, and its int8 payload before zlib."""
    golf = preset("parameter-golf-baseline")
    by_name = {weight.name: weight.parameters for weight in golf.shape.weights()}
    assert by_name["embedding"] == 524_288 and by_name["U-net skips"] == 2_048
    matrices = sum(by_name[name] for name in ("q", "k", "v", "out", "up", "down"))
    assert matrices == 9 * 1_835_008
    gains = sum(weight.parameters for weight in golf.shape.weights() if weight.component == "gains")
    assert gains == 9 * 2_056 + 2_048
    assert total(golf.shape) == 17_059_912
    assert golf.shipped_bytes() == 17_178_912
    assert golf.kept_bytes() == 2 * 524_288 + 4 * (17_059_912 - 524_288) == 67_191_072
    assert round(golf.kept_bytes() / golf.shipped_bytes(), 2) == 3.91  # the payload_ratio of its log


@pytest.mark.parametrize(
    ("changes", "everything", "skips"),
    [
        ({"n_layers": 10}, 18_897_488, 5 * 512),
        ({"n_layers": 11}, 18_897_488 + 1_837_064, 5 * 512),
        ({"n_layers": 1}, 524_288 + 1_837_064, 0),
        ({"d_ff": 1536}, 21_778_504, 4 * 512),
        ({"vocab_size": 4096}, 17_059_912 + 3072 * 512, 4 * 512),
        (
            {"n_heads": 4},
            17_059_912 + 9 * (2 * 4 * 64 * 512 - 4),
            4 * 512,
        ),  # k and v of twice the width, half the gains
    ],
)
def test_the_golf_baseline_with_other_sizes(changes, everything, skips):
    """Every gain follows: 524,288 + n (1,835,008 + 2,056) + 512 (n // 2), the skips between the halves."""
    golf = preset("parameter-golf-baseline").changed(changes)
    assert total(golf.shape) == everything
    assert dict(golf.shape.extras)["U-net skips"] == skips
    embedding = golf.shape.vocab_size * 512
    assert golf.kept_bytes() == 2 * embedding + 4 * (everything - embedding)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extras": [["more", 3]]}, "extras follow from the other sizes"),
        ({"d_model": 768}, "set d_ff, too"),
        ({"n_layers": 9.5}, "n_layers should be int"),
        ({"n_layers": "ten"}, "n_layers should be int"),
        ({"norm": "batchnorm"}, "norm = 'batchnorm'"),
        ({"n_layer": 9}, "did you mean 'n_layers'"),
        ({"n_kv_heads": -4}, "should not be negative"),
    ],
)
@pytest.mark.parametrize("name", ["parameter-golf-baseline", "gpt2-xl"])
def test_changes_that_the_formula_cannot_follow_are_refused(name, changes, message):
    with pytest.raises(ConfigError, match=message):
        preset(name).changed(changes)


def test_public_starter():
    """203.1 MB by its own convention: every weight in bf16, and 512 rows of keys and values read, one written."""
    starter = preset("public-starter")
    shape = starter.shape
    assert round(total(shape) / 1e6, 1) == 95.2
    cache_row = shape.n_layers * 2 * shape.d_kv * 2
    assert round((starter.shipped_bytes() + 513 * cache_row) / 1e6, 1) == 203.1


def test_what_sixteen_megabytes_hold():
    """Base-3 digits, five to a byte, with one fp16 scale per 128: 1.725 bits per weight, 74.2 M weights."""
    bits = 8 / 5 + 16 / 128
    assert round(16e6 * 8 / bits / 1e6, 1) == 74.2


def test_every_preset_adds_up():
    for entry in presets().values():
        weights = entry.shape.weights()
        assert sum(parameters(weights).values()) == without_embeddings(weights)[0] > without_embeddings(weights)[1]
        assert len({weight.name for weight in weights}) == len(weights)
