"""What the two attention cards are held to, held to PyTorch's autograd in float64, and what is asked of a worker."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weightless.deck.asking import grows_linearly, leaves_alone, takes, tiles_are_skipped
from weightless.deck.attention_truth import backward, forward, normal, rows_of_output
from weightless.deck.outcome import Failed

TOLERANCE = 1e-12
"""Sums of at most 41 products of normal numbers in float64, in another order: some 1e-15 of the largest."""


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n", "d"), [(41, 7), (1, 1), (16, 8)])
def test_output_and_gradients_are_those_of_autograd(n, d, causal):
    arrays = normal(np.random.default_rng(n), *[(2, 3, n, d)] * 4)
    q, k, v, do = (torch.tensor(a, requires_grad=True) for a in arrays)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    out.backward(do)
    np.testing.assert_allclose(forward(*arrays[:3], causal).O, out.detach().numpy(), rtol=0, atol=TOLERANCE)
    for found, tensor in zip(backward(arrays[3], *arrays[:3], causal), (q, k, v)):
        np.testing.assert_allclose(found, tensor.grad.numpy(), rtol=0, atol=TOLERANCE)


def test_masks_are_those_of_sdpa_and_rows_that_see_nothing_are_zero():
    """Offset, window and padding as one explicit mask; PyTorch gives such rows NaN, so they are left out there."""
    Q, K, V = normal(np.random.default_rng(0), (1, 2, 9, 4), (1, 2, 12, 4), (1, 2, 12, 4))
    padding = np.array([[False] * 3 + [True] * 9])
    found = forward(Q, K, V, True, q_offset=1, window=4, key_padding_mask=padding)
    seen = np.zeros((9, 12), bool)
    for i in range(9):
        for j in range(12):
            seen[i, j] = j <= i + 1 and i + 1 - j < 4 and padding[0, j]
    some = seen.any(axis=1)
    right = torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (Q, K, V)), torch.tensor(seen))
    np.testing.assert_allclose(found.O[:, :, some], right.numpy()[:, :, some], rtol=0, atol=TOLERANCE)
    assert not some.all() and not found.O[:, :, ~some].any() and np.all(found.L[:, :, ~some] == -np.inf)


def test_rows_of_output_are_rows_of_the_whole():
    Q, K, V = normal(np.random.default_rng(1), *[(1, 2, 30, 4)] * 3)
    rows = [0, 13, 29]
    whole = forward(Q, K, V).O
    np.testing.assert_allclose(rows_of_output(Q, K, V, rows), whole[:, :, rows], rtol=0, atol=TOLERANCE)


class Told:
    """A worker that tells what it is told to: peaks and seconds in order."""

    def __init__(self, peaks=(), seconds=()):
        self.peaks, self.seconds, self.objects = iter(peaks), iter(seconds), []

    @property
    def peak_bytes(self):
        return next(self.peaks)

    @property
    def cpu_seconds(self):
        return next(self.seconds)

    def hold(self, value):
        self.objects.append(value.copy())
        return len(self.objects) - 1

    def read(self, handle):
        return self.objects[handle]

    def call(self, name, *arguments):
        if name == "writes":
            self.objects[arguments[1]][0] = 7

    def raises(self, name, *arguments, **named):
        return "TypeError" if "unknown" in named else "ValueError" if "bad" in named else None


@pytest.mark.parametrize(
    ("peaks", "told"),
    [((0, 10, 100, 200), ""), ((0, 10, 100, 221), "2.2 times"), ((0, 10, 170, 230), "of an"), ((0, 0, 0, 0), "")],
)
def test_growth_of_memory(peaks, told):
    worker, asked = Told(peaks), []
    if not told:
        grows_linearly(worker, (1, 2, 4), lambda w, n: asked.append(n), 1000)
        assert asked == [1, 2, 4]
    else:
        with pytest.raises(Failed, match=told) as failed:
            grows_linearly(worker, (1, 2, 4), lambda w, n: None, 1000)
        assert failed.value.status == "OOM"


def test_skipped_tiles_are_measured_twice_before_anyone_is_slow():
    def seconds(*shares):
        """Four times, by turns, with the mask and without it, which takes 1 s; for each share."""
        clock, ticks = 0.0, []
        for length in [length for share in shares for length in (share, 1.0) * 4]:
            ticks += [clock, clock + length]
            clock += length
        return ticks

    tiles_are_skipped(Told(seconds=seconds(0.6)), lambda w, causal: None)
    tiles_are_skipped(Told(seconds=seconds(1.1, 0.6)), lambda w, causal: None)
    with pytest.raises(Failed, match="110 %|110%"):
        tiles_are_skipped(Told(seconds=seconds(1.1, 1.1)), lambda w, causal: None)


def test_inputs_and_options():
    arrays = normal(np.random.default_rng(2), (3,), (3,), (3,))
    leaves_alone(Told(), "reads", arrays)
    with pytest.raises(Failed, match="K is written to"):
        leaves_alone(Told(), "writes", arrays)
    assert takes(Told(), "f", bad=1) and takes(Told(), "f") and not takes(Told(), "f", unknown=1)
