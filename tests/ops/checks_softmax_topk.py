"""What softmax + top-k is held to; every check takes the function."""

from __future__ import annotations

import numpy as np
import torch
from ops.checks_flash_attention import peak_of

SIZES = [1, 5, 6, 7, 1000, 4097, 50257, 151936]
K = 7


def by_torch(logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole softmax in float64, then a stable sort by logit (ties to the lowest index)."""
    p = torch.softmax(torch.tensor(logits, dtype=torch.float64), -1)
    order = torch.sort(torch.tensor(logits, dtype=torch.float64), dim=-1, descending=True, stable=True).indices[..., :k]
    return order.numpy(), torch.gather(p, -1, order).numpy()


def check_sizes(topk, dtype=np.float64, tolerance=1e-12) -> None:
    """torch.softmax and a stable torch.sort, V from 1 to 151,936; beyond V the index is -1 and the probability 0."""
    for V in SIZES:
        logits = (np.random.default_rng(V).standard_normal((1, 2, V)) * 3).astype(dtype)
        index, p = topk(logits, K)
        wanted_index, wanted_p = by_torch(logits, K)
        n = min(K, V)
        assert index.shape == p.shape == (1, 2, K) and index.dtype == np.int64 and p.dtype == dtype
        assert (index[..., :n] == wanted_index).all()
        np.testing.assert_allclose(p[..., :n], wanted_p, rtol=tolerance)
        assert (index[..., n:] == -1).all() and (p[..., n:] == 0).all()


def check_ties(topk, dtype=np.float64) -> None:
    """Logits of three values: the lowest indices of the largest, in order."""
    logits = np.random.default_rng(0).integers(0, 3, (4, 5000)).astype(dtype)
    index, _ = topk(logits, 20)
    assert (index == by_torch(logits, 20)[0]).all()


def check_offsets(topk, dtype=np.float64, tolerance=1e-11) -> None:
    """exp(1e4) overflows any float; adding a constant to all logits changes nothing (float64 keeps 1e-12 of 1e4)."""
    logits = np.random.default_rng(1).integers(-40, 40, (3, 999)).astype(dtype) / 8  # exact at any offset
    wanted = topk(logits, 5)
    for offset in (1e4, -1e4):
        index, p = topk((logits + offset).astype(dtype), 5)
        assert (index == wanted[0]).all()
        np.testing.assert_allclose(p, wanted[1], rtol=tolerance)


def check_rising(topk, dtype=np.float64, tolerance=1e-12) -> None:
    """The maximum moves in every block, so what was summed before must shrink: the online correction."""
    logits = np.linspace(-30, 30, 20_000).astype(dtype)[None]
    np.testing.assert_allclose(topk(logits, 3)[1], by_torch(logits, 3)[1], rtol=tolerance)
    np.testing.assert_allclose(
        topk(logits[:, ::-1].copy(), 3)[1], by_torch(logits[:, ::-1].copy(), 3)[1], rtol=tolerance
    )


def check_minus_infinity(topk, dtype=np.float64) -> None:
    """Fewer than k finite logits, and none at all."""
    logits = np.full((3, 6000), -np.inf, dtype)
    logits[1, [4000, 17]] = 1.0
    logits[2, 5999] = -5e3
    index, p = topk(logits, 3)
    assert index.tolist() == [[-1, -1, -1], [17, 4000, -1], [5999, -1, -1]]
    assert p.tolist() == [[0, 0, 0], [0.5, 0.5, 0], [1, 0, 0]]


def check_not_renormalised(topk, dtype=np.float64, tolerance=1e-12) -> None:
    """Uniform logits: each of k has 1/V, not 1/k."""
    _, p = topk(np.zeros((1, 1000), dtype), 4)
    np.testing.assert_allclose(p, 0.001, rtol=tolerance)


def check_memory(topk, dtype=np.float64) -> None:
    """Nothing as long as the row: the peak is below a tenth of 1,000,000 logits, and twice as many need no more."""
    peaks = []
    for V in (1_000_000, 2_000_000):
        logits = np.zeros((1, V), dtype)
        peaks.append(peak_of(lambda logits=logits: topk(logits, K)))
    assert peaks[0] < 0.1 * 1_000_000 * np.dtype(dtype).itemsize, peaks
    assert peaks[1] < 1.1 * peaks[0] + 10_000, peaks


CHECKS = [check_sizes, check_ties, check_offsets, check_rising, check_minus_infinity, check_not_renormalised]
