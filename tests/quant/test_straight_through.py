"""Fake quantisation against decode(encode(w)), bit for bit; its gradient against the identity."""

import numpy as np
import pytest
import torch
from some_formats import FEW_BITS, MORE, RULED

from weightless.base.errors import ConfigError
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.straight_through import fake_quantise

FORMATS = ["f32", "f16", "bf16", "int8", "int4", *FEW_BITS, *MORE, *RULED]


def stored_and_read(w: torch.Tensor, fmt: str) -> torch.Tensor:
    x_RC = w.detach().numpy().reshape(-1, w.shape[-1])
    return torch.from_numpy(decode_rows(encode_rows(x_RC, fmt), fmt, w.shape[-1])).view(w.shape)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("cols", [2, 6, 62, 64, 66, 130, 256])
def test_forward_is_what_will_be_stored(fmt, cols):
    """Scales reach from fp32 denormals over fp16-denormal group scales to 3e3 (times 4: still inside fp16)."""
    drawn = np.random.default_rng(cols).standard_normal((33, cols))
    for scale in (1.0, 0.02, 1e-4, 3e-6, 1e-7, 1e-38, 1e-44, 3e3):
        w = torch.from_numpy((drawn * scale).astype(np.float32))
        w[3] = 0
        w[4, ::2] = -0.0
        w[5] = -w[5].abs()
        assert same_bits(fake_quantise(w, fmt), stored_and_read(w, fmt)), scale


@pytest.mark.parametrize("fmt", FORMATS)
def test_forward_at_the_edges(fmt):
    """Ties, one outlier per group, the largest scale fp16 holds, and group scales that round to zero."""
    ties = torch.arange(-32, 32).float()[None, :] / 2
    outlier = torch.full((1, 64), 1e-3)
    outlier[0, 17] = -60000.0
    vanishing = torch.full((1, 64), 7 * 2.0**-26)
    odd = torch.arange(2049, 4095, 2).float()[:, None] * {"int8": 127, "int4": 7}.get(fmt, 1) * 2.0**-11
    scale_ties = torch.cat([odd, odd / 3], dim=1)
    most = 65504.0 / (4 if fmt in (*FEW_BITS, *MORE, *RULED) else 1)  # few levels have scales above the numbers
    for w in (ties, scale_ties, outlier, vanishing, torch.tensor([[most, -most]])):
        assert same_bits(fake_quantise(w, fmt), stored_and_read(w, fmt))
    largest = torch.full((1, 64), most * {"int8": 127, "int4": 7}.get(fmt, 1))
    assert same_bits(fake_quantise(largest, fmt), stored_and_read(largest, fmt))


@pytest.mark.parametrize("fmt", ["int8", "int4"])
def test_any_bit_pattern_of_moderate_size(fmt):
    """10,000 random float32 patterns with exponents of 2^-126 to 2^15, mixed within groups."""
    rng = np.random.default_rng(5)
    bits = rng.integers(0, (127 + 16) << 23, 64 * 160, dtype=np.uint32) | (
        rng.integers(0, 2, 64 * 160, dtype=np.uint32) << np.uint32(31)
    )
    w = torch.from_numpy(bits.view(np.float32).reshape(160, 64))
    assert same_bits(fake_quantise(w, fmt), stored_and_read(w, fmt))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("shape", [(70,), (3, 5, 66), (0, 64), (4, 2, 3, 64)])
def test_every_axis_but_the_last_is_rows(fmt, shape):
    w = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert fake_quantise(w, fmt).shape == shape
    assert same_bits(fake_quantise(w, fmt), stored_and_read(w, fmt))


@pytest.mark.parametrize("fmt", FORMATS)
def test_memory_order_does_not_matter(fmt):
    w = torch.randn(128, 66, generator=torch.Generator().manual_seed(0))
    across = w.t().contiguous().t()
    assert same_bits(fake_quantise(across, fmt).contiguous(), fake_quantise(w, fmt))


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("cols", [64, 70])
def test_gradient_is_the_identity(fmt, cols):
    w = torch.randn(5, cols, requires_grad=True)
    before = w.detach().clone()
    weight = torch.randn(5, cols)
    (fake_quantise(w, fmt) * weight).sum().backward()
    assert w.grad is not None and torch.equal(w.grad, weight)
    assert torch.equal(w.detach(), before), "the trained weight itself must not change"


def test_diverged_weights_stay_visible():
    w = torch.ones(2, 64)
    w[0, 3] = float("nan")
    assert torch.isnan(fake_quantise(w, "int4")[0]).all()
    assert torch.isfinite(fake_quantise(w, "int4")[1]).all()
    assert not torch.isfinite(fake_quantise(torch.full((1, 64), 1e9), "int4")).any()


def test_refusals():
    with pytest.raises(ConfigError, match="have no gradient"):
        fake_quantise(torch.ones(2, 2), "u8")
    with pytest.raises(ConfigError, match="cannot hold 3 columns"):
        fake_quantise(torch.ones(2, 3), "int4")
    with pytest.raises(ConfigError, match="unknown format"):
        fake_quantise(torch.ones(2, 2), "int9")
