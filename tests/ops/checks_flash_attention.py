"""What tiled attention is held to; every check takes (forward, backward), so that twins and mutants can be checked
alike.

Oracle: PyTorch in float64 (scaled_dot_product_attention with an explicit mask, and its autograd), 1e-12 relative to the
largest entry: element by element a relative error is undefined, because row 0 of dQ is zero (but for rounding)
under a causal mask.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import torch

Case = tuple[int, int, int, int, int, int, int]
# B, H, G, N, M, D, tile: ragged N mod T, T > N, T = 1, N = 1, D = 1, grouped heads, more and fewer queries than keys
CASES: list[Case] = [
    (1, 1, 1, 1, 1, 1, 1),
    (2, 3, 3, 37, 37, 8, 16),
    (1, 2, 2, 17, 17, 1, 64),
    (1, 2, 1, 9, 9, 5, 1),
    (2, 4, 2, 33, 50, 7, 8),
    (1, 2, 2, 50, 33, 6, 16),
]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def inputs(case: Case, dtype=np.float64):
    """Q, K, V, dO of a case."""
    B, H, G, N, M, D, _ = case
    arrays = random(B, H, N, D), random(B, G, M, D, seed=1), random(B, G, M, D, seed=2), random(B, H, N, D, seed=3)
    return [array.astype(dtype) for array in arrays]


def mask_of(N: int, M: int, causal: bool, q_offset=None, window=None, padding=None) -> np.ndarray:
    """bool (B or 1, 1, N, M) by the definition of the masks."""
    ahead = np.arange(N)[:, None] + (M - N if q_offset is None else q_offset) - np.arange(M)
    seen = np.ones((N, M), bool)
    if causal:
        seen &= ahead >= 0
    if window is not None:
        seen &= abs(ahead) < window
    return seen[None, None] if padding is None else seen[None, None] & padding[:, None, None]


def by_torch(Q, K, V, dO, causal=True, q_offset=None, window=None, key_padding_mask=None):
    """O, dQ, dK, dV; a row that sees nothing is taken out by hand: output and gradients 0."""
    tensors = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (Q, K, V)]
    shared = Q.shape[1] // K.shape[1]
    q, k, v = tensors[0], *(t.repeat_interleave(shared, 1) for t in tensors[1:])
    mask = torch.from_numpy(mask_of(Q.shape[2], K.shape[2], causal, q_offset, window, key_padding_mask))
    some = mask.any(-1, keepdim=True)
    O = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~some)
    O = O * some
    grads = torch.autograd.grad(O, tensors, torch.tensor(dO, dtype=torch.float64))
    return [O.detach().numpy(), *(grad.numpy() for grad in grads)]


def near(found, wanted, tolerance: float) -> None:
    assert np.isfinite(found).all()
    size = max(np.abs(wanted).max(), 1e-300)
    assert np.abs(found - wanted).max() <= tolerance * size, np.abs(found - wanted).max() / size


def compare(forward, backward, arrays, tile: int, tolerance: float, causal=True, **masks) -> None:
    Q, K, V, dO = arrays
    O, cache = forward(Q, K, V, tile, causal, True, **masks)
    assert set(cache) == {"O", "L", "Q", "K", "V"}
    grads = backward(dO, cache, tile, causal, **masks)
    for found, wanted in zip((O, *grads), by_torch(Q, K, V, dO, causal, **masks)):
        assert found.shape == wanted.shape and found.dtype == Q.dtype
        near(found, wanted, tolerance)


def check_against_torch(forward, backward, dtype=np.float64, tolerance=1e-12) -> None:
    for case in CASES:
        for causal in (True, False):
            compare(forward, backward, inputs(case, dtype), case[-1], tolerance, causal)


def check_masks(forward, backward, dtype=np.float64, tolerance=1e-12) -> None:
    """Windows, paddings and offsets, with rows that see nothing."""
    case = (2, 2, 1, 21, 29, 4, 8)
    padding = random(2, 29) > 0.2
    padding[1] = False
    for masks in (
        {"window": 3},
        {"q_offset": -5},
        {"q_offset": 40},
        {"key_padding_mask": padding},
        {"window": 2, "key_padding_mask": padding},
    ):
        compare(forward, backward, inputs(case, dtype), 8, tolerance, **masks)
    compare(forward, backward, inputs(case, dtype), 8, tolerance, causal=False, window=4)


def check_empty_rows(forward, backward, dtype=np.float64) -> None:
    """More queries than keys: the first rows see nothing.  Output 0, L = -inf, gradients 0 and finite."""
    Q, K, V, dO = inputs((1, 1, 1, 7, 4, 3, 2), dtype)
    O, cache = forward(Q, K, V, 2, True, True)
    assert (O[0, 0, :3] == 0).all() and (cache["L"][0, 0, :3] == -np.inf).all()
    assert np.isfinite(cache["L"][0, 0, 3:]).all()
    dQ, dK, dV = backward(dO, cache, 2)
    assert (dQ[0, 0, :3] == 0).all() and np.isfinite(dK).all() and np.isfinite(dV).all()


def check_large_scores(forward, backward, dtype=np.float64, tolerance=1e-10) -> None:
    """Scores of +-1e4 and a maximum that rises from tile to tile: the correction must shrink what was summed."""
    Q, K, V, dO = inputs((1, 1, 1, 32, 32, 4, 8), dtype)
    K = (K * np.linspace(0.1, 30, 32, dtype=dtype)[:, None]).astype(dtype)
    compare(forward, backward, (Q, K, V, dO), 8, tolerance)
    near(forward(Q * dtype(400), K, V, 8), by_torch(Q * dtype(400), K, V, dO)[0], max(tolerance, 1e-8))


def check_tile_size_changes_nothing(forward, backward, dtype=np.float64, tolerance=1e-13) -> None:
    Q, K, V, dO = inputs((1, 2, 2, 45, 45, 8, 0), dtype)
    O, cache = forward(Q, K, V, 45, True, True)
    wanted = backward(dO, cache, 45)
    for tile in (1, 7, 64):
        O_tile, cache = forward(Q, K, V, tile, True, True)
        near(O_tile, O, tolerance)
        for a, b in zip(backward(dO, cache, tile), wanted):
            near(a, b, 10 * tolerance)


def check_prefix(forward, backward, dtype=np.float64, tolerance=1e-13) -> None:
    """Causal: the first rows do not know what comes after them."""
    Q, K, V, _ = inputs((1, 2, 2, 40, 40, 8, 0), dtype)
    whole = forward(Q, K, V, 16)
    near(forward(Q[:, :, :23], K[:, :, :23], V[:, :, :23], 16), whole[:, :, :23], tolerance)


def check_invariances(forward, backward, dtype=np.float64, tolerance=1e-11) -> None:
    """One constant vector added to all keys leaves O, dV and dQ as they are; dO = 0 gives 0."""
    Q, K, V, dO = inputs((1, 2, 2, 30, 30, 8, 0), dtype)
    moved = (K + random(8, seed=9)).astype(dtype)
    (O, a), (O_moved, b) = (forward(Q, k, V, 8, True, True) for k in (K, moved))
    near(O_moved, O, tolerance)
    grads, grads_moved = backward(dO, a, 8), backward(dO, b, 8)
    near(grads_moved[0], grads[0], tolerance)
    near(grads_moved[2], grads[2], tolerance)
    assert all((grad == 0).all() for grad in backward(np.zeros_like(dO), a, 8))


def peak_of(work) -> int:
    """Most bytes allocated at once while `work` runs (NumPy reports its arrays to tracemalloc)."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def check_memory(forward, backward, dtype=np.float64, tile: int = 128) -> None:
    """Forward and backward at N = 4,096 stay under 20 % of one (N, N); doubling N at most 2.2 times the peak."""
    peaks = {}
    for N in (1024, 2048, 4096):
        Q, K, V, dO = inputs((1, 1, 1, N, N, 64, 0), dtype)
        caches = []
        forward_peak = peak_of(
            lambda Q=Q, K=K, V=V, caches=caches: caches.append(forward(Q, K, V, tile, True, True)[1])
        )
        peaks[N] = forward_peak, peak_of(lambda dO=dO, caches=caches: backward(dO, caches[0], tile))
    assert max(peaks[4096]) < 0.2 * 4096 * 4096 * np.dtype(dtype).itemsize
    for small, large in ((1024, 2048), (2048, 4096)):
        assert all(b <= 2.2 * a for a, b in zip(peaks[small], peaks[large])), peaks


CHECKS = [
    check_against_torch,
    check_masks,
    check_empty_rows,
    check_large_scores,
    check_tile_size_changes_nothing,
    check_prefix,
    check_invariances,
]
