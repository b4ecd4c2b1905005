"""The published baseline's quantiser.  Oracle: number by number in Python, from the description; torch.quantile for its
scales, which is what the published script calls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from weightless.base.errors import ConfigError
from weightless.quant.formats import decode_rows, encode_rows
from weightless.quant.published_rows import published_codes, published_rows


def by_hand(row: np.ndarray) -> tuple[list[int], np.float16]:
    """One row: sort the sizes, walk to place q (n - 1), clip, divide, round."""
    sizes = sorted(abs(float(x)) for x in row)
    place = 0.9999984 * (len(sizes) - 1)
    low = math.floor(place)
    high = min(low + 1, len(sizes) - 1)
    clip = np.float32(sizes[low] + (place - low) * (sizes[high] - sizes[low]))
    scale = max(clip / np.float32(127), np.float32(1) / np.float32(127))
    codes = []
    for x in row:
        clipped = max(-clip, min(clip, np.float32(x)))
        ratio = np.float32(clipped / scale)
        near = math.floor(ratio) if ratio - math.floor(ratio) < 0.5 else math.ceil(ratio)
        if ratio - math.floor(ratio) == 0.5:
            near = 2 * round(math.floor(ratio) / 2 + 0.25) if math.floor(ratio) % 2 else math.floor(ratio)
        codes.append(max(-127, min(127, int(near))))
    return codes, np.float16(scale)


def numbers(rows: int, cols: int, size: float) -> np.ndarray:
    rng = np.random.default_rng(cols)
    w = (size * rng.standard_t(4, (rows, cols))).astype(np.float32)
    w[0, : min(3, cols)] = [0.5 / 127, 1.5 / 127, -2.5 / 127][: min(3, cols)]  # exactly between two codes at 1/127
    return w


@pytest.mark.parametrize("cols", [1, 2, 63, 1023])
@pytest.mark.parametrize("size", [0.02, 0.3, 40.0])
def test_every_code_and_scale_is_that_of_the_description(cols, size):
    w = numbers(7, cols, size)
    codes, scales = published_codes(w)
    for i, row in enumerate(w):
        wanted, scale = by_hand(row)
        assert list(codes[i]) == wanted and scales[i] == scale


def test_small_rows_share_the_least_scale():
    """What makes the published files small: most rows have no number of size 1, and use few of the 255 codes."""
    codes, scales = published_codes(numbers(5, 511, 0.02))
    assert (scales == np.float16(1 / 127)).all() and np.abs(codes).max() < 127


def test_the_same_as_torch_quantile():
    """It places the quantile in float32, ours in float64: clips agree to a few units in the last place."""
    w = numbers(64, 1024, 1.0)
    clip = torch.quantile(torch.from_numpy(w).abs(), 0.9999984, dim=1)
    scale = (clip / 127).clamp_min(1 / 127)
    clipped = torch.maximum(torch.minimum(torch.from_numpy(w), clip[:, None]), -clip[:, None])
    theirs = torch.clamp(torch.round(clipped / scale[:, None]), -127, 127).to(torch.int8).numpy()
    codes, scales = published_codes(w)
    np.testing.assert_allclose(scales.astype(np.float32), scale.numpy(), rtol=2**-11)  # one rounding to fp16
    assert np.abs(codes.astype(int) - theirs).max() <= 1 and (codes != theirs).mean() < 1e-4


@pytest.mark.parametrize("cols", [63, 64])
def test_stored_as_rows_of_int8_row(cols):
    w = numbers(9, cols, 0.5)
    codes, scales = published_codes(w)
    back = decode_rows(published_rows(w), "int8_row", cols)
    np.testing.assert_array_equal(back, codes.astype(np.float32) * scales.astype(np.float32)[:, None])
    assert published_rows(w).shape == encode_rows(w, "int8_row@quantile").shape


def test_numbers_that_cannot_be_kept():
    for bad, told in ((np.nan, "NaN"), (1e10, "beyond fp16")):
        with pytest.raises(ConfigError, match=told):
            published_codes(np.full((2, 5), bad, np.float32))
