"""The projection, held to its definition in float64.

    s = float16(mean |w| of the group)        code = clip(round(w / s), -1, 1), 0 where s is 0

A mean may be summed in any order, so a scale may be the float16 next to ours; codes are held to the scales that were
returned, but where w / s lies within 1e-5 of a half, or of a tie.
"""

from __future__ import annotations

import numpy as np

from weightless.deck.bench import Bench, Worker
from weightless.deck.comparing import array_of
from weightless.deck.outcome import Failed

NAME = "ternary_project"
NEAR_HALF = 1e-5


def projected(worker: Worker, W: np.ndarray, group_size: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """(codes, scales), held to the definition."""
    codes, scales = called(worker, W, group_size)
    lengths = [W[:, at : at + group_size].shape[1] for at in range(0, W.shape[1], group_size)]
    starts = np.arange(0, W.shape[1], group_size)
    means = np.add.reduceat(np.abs(W.astype(np.float64)), starts, axis=1) / np.array(lengths)
    wanted = means.astype(np.float16)
    off = np.abs(scales.astype(np.float64) - wanted.astype(np.float64)) > np.spacing(wanted).astype(np.float64)
    if not np.isfinite(scales).all() or off.any():
        i, g = map(int, np.argwhere(off | ~np.isfinite(scales))[0])
        told = f"row {i}, group {g}: scale {scales[i, g]:.5g}, and mean |w| is {means[i, g]:.5g}"
        raise Failed("WRONG_NUMERIC", f"{what}: {told}")
    step = np.repeat(scales.astype(np.float64), lengths, axis=1)
    ratio = W / np.where(step > 0, step, np.inf)
    right = np.clip(np.rint(ratio), -1, 1)
    wrong = (codes != right) & (np.abs(np.abs(ratio) - 0.5) > NEAR_HALF)
    if wrong.any():
        i, j = map(int, np.argwhere(wrong)[0])
        told = f"{np.count_nonzero(wrong)} codes differ; w / s = {ratio[i, j]:.5g} has code {codes[i, j]}"
        raise Failed("WRONG_NUMERIC", f"{what}: {told}, should be {right[i, j]:.0f}")
    return codes, scales


def called(worker: Worker, W: np.ndarray, group_size: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes, scales) of the pinned shapes and types."""
    found = worker.call(NAME, W, group_size)
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise Failed("WRONG_SHAPE", f"{NAME} should return (codes, scales), and gave a {type(found).__name__}")
    groups = -(-W.shape[1] // group_size)
    codes = array_of(found[0], W.shape, np.int8, "codes")
    return codes, array_of(found[1], (W.shape[0], groups), np.float16, "scales")


def plain_call(bench: Bench) -> None:
    W = bench.rng.standard_normal((4, 256)).astype(np.float32)
    with bench.solution() as worker:
        called(worker, W, 128)
        called(worker, W.astype(np.float64), 128)


def definition(bench: Bench) -> None:
    with bench.solution() as worker:
        for scale in (1.0, 0.02):
            W = (scale * bench.rng.standard_normal((16, 512))).astype(np.float32)
            projected(worker, W, 128, f"normal weights of size {scale}")


def groups(bench: Bench) -> None:
    W = bench.rng.standard_normal((6, 384)).astype(np.float32)
    with bench.solution() as worker:
        codes, scales = projected(worker, W, 128, "three groups")
        for factor in (-1.0, 4.0):
            other, sizes = called(worker, np.float32(factor) * W, 128)
            if not np.array_equal(other, np.sign(factor) * codes) or not np.array_equal(sizes, abs(factor) * scales):
                raise Failed("WRONG_NUMERIC", f"{factor:g} W has not the codes and scales of W, turned and scaled")
        changed = W.copy()
        changed[2, 128:256] *= 8
        other, sizes = called(worker, changed, 128)
        kept = np.ones((6, 3), bool)
        kept[2, 1] = False
        if not np.array_equal(sizes[kept], scales[kept]) or not np.array_equal(other[:, :128], codes[:, :128]):
            raise Failed("WRONG_NUMERIC", "a group changed when another one did")


def stored_scale(bench: Bench) -> None:
    """Many weights, so that some lie between halves of the mean and of its float16."""
    W = bench.rng.standard_normal((128, 2048)).astype(np.float32)
    with bench.solution() as worker:
        projected(worker, W, 128, "128 x 2,048 weights")


def zero_groups(bench: Bench) -> None:
    W = bench.rng.standard_normal((4, 384)).astype(np.float32)
    W[0, :128], W[1, 128:256], W[2] = 0.0, 1e-9, 0.0
    with bench.solution() as worker:
        codes, scales = projected(worker, W, 128, "groups of zeros")
    if codes[0, :128].any() or codes[2].any() or scales[2].any() or scales[0, 0]:
        raise Failed("WRONG_NUMERIC", "a group of zeros should have scale 0 and codes 0")
    if scales[1, 1] == 0 and codes[1, 128:256].any():
        raise Failed("WRONG_NUMERIC", "a group whose scale is 0 in float16 should have codes 0")


def short_groups(bench: Bench) -> None:
    with bench.solution() as worker:
        for columns, size in ((200, 128), (129, 128), (60, 128), (96, 32), (7, 1)):
            W = bench.rng.standard_normal((5, columns)).astype(np.float32)
            projected(worker, W, size, f"{columns} columns in groups of {size}")


def outliers(bench: Bench) -> None:
    W = bench.rng.standard_normal((4, 256)).astype(np.float32)
    W[0, 3], W[1, 200], W[2, 128:] = 1000.0, -500.0, 3.0
    with bench.solution() as worker:
        projected(worker, W, 128, "a weight of 1,000 among normal ones")
        projected(worker, W.astype(np.float64), 128, "the same in float64")
