"""Count mixing in whole numbers: what one node of a tree over tokens makes of what several contexts have counted.

A token is a path through a binary tree, and at every node each context says how often the path went right.  Every
saying becomes an input x in the logistic domain, the inputs are added up with weights that the situation selects, and
several such sums are added up again (Mahoney 2005, PAQ; here over tokens instead of bits of bytes):

    stretch(p) = ln(p / (1 - p))    s_m = sum_i w_mi x_i    P(right) = squash(sum_m v_m s_m)    squash = 1 / (1 + e^-s)
    learning   w_mi += rate (y - squash(s_m)) x_i      v_m += rate (y - P) s_m      y = 1 where it went right

All of it is done in integers, so that the same text gives the same bits on every machine:

    logits      in 1/256, from -LIMIT to LIMIT (12)            probabilities   22 bits: P / 2^22
    weights     while learning in 1/2^24; packed in a byte, (byte - 128) / 32, those of the last sum (byte - 128) / 64
    a counter   p (22 bits), n (10 bits) in a uint32:  p += (y - p) / (n + 1.5), n += 1, from 512 on by 16 steps

Errors: none; arguments are what the compiled twin gives (`kernels.numba.count_mixing`), which is held to this module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

ONE_LOGIT, LIMIT = 256, 3071
P_BITS, N_BITS = 22, 10
ONE_P, LARGEST_P, LARGEST_N = 1 << P_BITS, (1 << P_BITS) - 1, (1 << N_BITS) - 1
EXACT_STEPS, SLOWER = 512, 16
WEIGHT_BITS, RATE_BITS, STEP_BITS = 24, 20, 20
BIAS = 77
"""The input that is always there, 0.3."""
N_CONFIDENCES, N_CLASSES, N_SPREADS = 12, 9, 3
MAX_DEPTH, N_LEVELS, N_GROUPS = 24, 4, 6
"""The longest path of a tree, levels in a slot of nodes, slots on the longest path."""


def stretch_table() -> np.ndarray:
    """int64 [4096]: the logit, in 1/256, of a probability whose first twelve bits are the index."""
    p = (np.arange(4096) + 0.5) / 4096
    return np.round(ONE_LOGIT * np.log(p / (1 - p))).astype(np.int64)


def squash_table() -> np.ndarray:
    """int64 [2 LIMIT + 1]: 2^22 / (1 + e^-s) for the logits -LIMIT .. LIMIT."""
    s = np.arange(-LIMIT, LIMIT + 1) / ONE_LOGIT
    return np.round(ONE_P / (1 + np.exp(-s))).astype(np.int64)


def reciprocal_table() -> np.ndarray:
    """int64 [1024]: 2^20 / (n + 1.5) where n stands for n steps up to 512, and beyond for sixteen each."""
    n = np.arange(LARGEST_N + 1)
    steps = np.where(n <= EXACT_STEPS, n, EXACT_STEPS + SLOWER * (n - EXACT_STEPS))
    return np.round((1 << STEP_BITS) / (steps + 1.5)).astype(np.int64)


def counter(p: np.ndarray | float, n: int = 0) -> np.ndarray:
    """Counters uint32 of probabilities p, which have seen n steps."""
    whole = np.clip(np.round(np.asarray(p) * ONE_P), 1, LARGEST_P - 1).astype(np.uint32)
    return whole << np.uint32(N_BITS) | np.uint32(n)


def stepped(value: int, y: int, most: int, reciprocals: np.ndarray) -> int:
    """A counter behind one more outcome y; its n does not grow beyond `most`."""
    p, n = value >> N_BITS, value & LARGEST_N
    p += ((LARGEST_P if y else 0) - p) * int(reciprocals[n]) >> STEP_BITS
    return min(max(p, 0), LARGEST_P) << N_BITS | (n + 1 if n < most else n)


def confidence(n: int) -> int:
    """0..11: how much a count of n says, finely."""
    bounds = (4, 6, 9, 16, 32, 64, 128, 400)
    return n if n < 4 else 4 + sum(n >= bound for bound in bounds[1:])


def count_class(n: int) -> int:
    """0..8: how much a count of n says, coarsely."""
    return n if n < 5 else 5 + sum(n >= bound for bound in (8, 16, 64))


SURENESS = (64, 128, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048)
"""Logits, in 1/256, from which a neural model is surer of a side than the class before."""


def odds(left: float, right: float) -> int:
    """ln(right / left) in whole 1/256: what a neural model says at a node, from the probabilities of both sides.

    0 where both are 0, or no numbers.
    """
    if not (left > 0 and right > 0):
        return LIMIT if right > 0 else -LIMIT if left > 0 else 0
    return min(max(math.floor(ONE_LOGIT * math.log(right / left) + 0.5), -LIMIT), LIMIT)


def sureness(logit: int) -> int:
    """0..11: how sure a neural model is of a side."""
    return sum(abs(logit) >= bound for bound in SURENESS)


def mixed(inputs: Sequence[int], weights: Sequence[int], shift: int) -> int:
    """The weighted sum of logits, rounded and limited; weights in 1/2^shift."""
    total = sum(int(x) * int(w) for x, w in zip(inputs, weights, strict=True))
    return min(max(total + (1 << (shift - 1)) >> shift, -LIMIT), LIMIT)


def probability(logit: int) -> float:
    """P(right) of a logit in 1/256: a multiple of 2^-22, so that P and 1 - P are exact."""
    return math.floor(ONE_P / (1 + math.exp(-logit / ONE_LOGIT)) + 0.5) / ONE_P


# Packed: one byte per node, one byte per weight.

MAP_STEP, WEIGHT_SHIFT, LAST_SHIFT, MIDDLE = 16, 5, 6, 128
"""A map's byte is a logit of (byte - 128) / 16, in 1/256 sixteen times as many; weights 1/32, the last sums' 1/64."""

LEVELS = (12, 16, 20, 26, 32, 38, 46, 56)
"""How many logits a packed node can have, by confidence 4..11."""
REACHES = (486, 563, 691, 819, 973, 1152, 1331, 2125)
"""The largest of them, in 1/256."""
EXACT_CODES = 9
"""Codes 1..9: n = 1, 2, 3 with n_right = 0..n; 0 is a node that nothing was counted at; then levels by confidence."""
LIST_COUNTS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64, 128, 1000)
"""What the four bits of a packed list's count say."""


def node_code(value: int, stretches: np.ndarray) -> int:
    """The byte that a counter is packed to."""
    p, n = value >> N_BITS, value & LARGEST_N
    if n == 0:
        return 0
    if n < 4:
        right = min(n, p * (4 * n + 2) + ONE_P >> P_BITS + 2)
        return n * (n + 1) // 2 + right
    row = confidence(n) - 4
    reach, levels = REACHES[row], LEVELS[row]
    level = (int(stretches[p >> 10]) + reach) * (levels - 1) + reach
    return 1 + EXACT_CODES + sum(LEVELS[:row]) + min(max(level // (2 * reach), 0), levels - 1)


def node_of_code(code: int) -> tuple[int, int]:
    """(confidence, logit in 1/256) of a packed node beyond the exact codes; (n, 0) of an exact one: its map says."""
    if code <= EXACT_CODES:
        return (0, 1, 1, 2, 2, 2, 3, 3, 3, 3)[code], 0
    at, row = code - 1 - EXACT_CODES, 0
    while at >= LEVELS[row]:
        at -= LEVELS[row]
        row += 1
    reach = REACHES[row]
    return 4 + row, 2 * reach * at // (LEVELS[row] - 1) - reach


def list_count_code(n: int) -> int:
    """The four bits of a count: the largest that is not above it."""
    return max(i for i, count in enumerate(LIST_COUNTS) if count <= n)
