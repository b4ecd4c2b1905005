"""The tables of docs/accounting.md say what the code says.

Oracle: the code, which tests/ledger holds to figures worked out by hand.  (test_examples.py runs the worked example.)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from weightless.base.errors import ConfigError
from weightless.lab.fit import Request, fit
from weightless.ledger.flops import DAY, forward_flops, optimizer_flops, seconds_for, training_flops
from weightless.ledger.memory import textbook_activations, training_memory
from weightless.ledger.presets import preset
from weightless.ledger.shape import TransformerShape, parameters, without_embeddings

PAGE = " ".join((Path(__file__).parents[2] / "docs/accounting.md").read_text("utf-8").split())
XL = preset("gpt2-xl").shape


def total(shape: TransformerShape) -> int:
    return sum(parameters(shape.weights()).values())


def shares(shape: TransformerShape, T: int = 0) -> list[float]:
    parts = forward_flops(shape, T)
    return [round(100 * part / sum(parts.values()), 1) for part in parts.values()]


@pytest.mark.parametrize("size", ["small", "medium", "large", "xl"])
def test_rows_of_the_sizes(size):
    shape = preset(f"gpt2-{size}").shape
    n, percents = total(shape), " | ".join(f"{share} %" for share in shares(shape))
    assert (
        f"| gpt2-{size} | {n:,} | {4 * n / 1e9:.3f} GB | {sum(forward_flops(shape).values()):,} | {percents} |" in PAGE
    )
    assert f"{total(preset(f'gpt2-{size}-literal').shape):,}" in PAGE


def test_rows_of_what_was_wrong():
    small, long = preset("gpt2-small").shape, forward_flops(XL, 16_384)
    p, a, f, h = shares(small)
    forward = sum(forward_flops(XL).values())
    memory = {
        ffn: training_memory(XL.weights(), "adamw", textbook_activations(XL, ffn=ffn)) for ffn in ("plain", "gated")
    }
    days = [seconds_for(training_flops(forward, 1024), peak, 0.5) * 400_000 / DAY for peak in (19.5e12, 495e12)]
    tiny = without_embeddings(preset("tinystories-10k").shape.weights())
    wide = TransformerShape(32_000, 256, 6, 768, 12, 2048)
    sizes = [memory[ffn].activations / 1e9 for ffn in memory]
    batches = {m.largest_batch(80 * 10**9) for m in memory.values()}
    for right in (
        f"~1.56 B | {total(XL):,} |",
        f"6.24 GB | {4 * total(XL) / 1e9:.2f} GB |",
        f"69, 8, 23 % | {f}, {a}, {p} %, and {h} % in the head |",
        f"200+ T | {sum(long.values()) / 1e12:.1f} T ({sum(long.values()) / forward:.1f} times those at 1,024) |",
        f"60-70 % | {shares(XL, 16_384)[1]} % |",
        f"~25 GB | {memory['gated'].fixed / 1e9:.2f} GB |",
        f"16.3 GB | {sizes[0]:.2f} GB ungated, {sizes[1]:.2f} GB with SwiGLU |",
        f"80 GB | 3 | {batches.pop()} |",
        f"22 GFLOP | {optimizer_flops(total(XL)) / 1e9:.1f} GFLOP |",
        f"4.6 days | {days[0]:,.0f} days |",
        f"495 TFLOP/s | | {days[1]:,.0f} days |",
        f"~17 M | {tiny[0]:,}, of which {tiny[2]:,} in neither",
        f"~40 M | {total(dataclasses.replace(wide, tied=True)) / 1e6:.1f} M tied, {total(wide) / 1e6:.1f} M untied |",
    ):
        assert right in PAGE, right
    assert not batches


def test_the_refusal_that_is_shown():
    with pytest.raises(ConfigError) as refused:
        fit(Request("dense", {"touched": 1e6}, 50_257))
    assert f"weightless fit: {refused.value}" in PAGE
