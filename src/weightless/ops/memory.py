"""Which slots of a memory a query takes, found by halves (Lample et al. 2019, 1907.05242; Jegou et al. 2011).

    M = n^2 slots;  slot i n + j has the score  s_1[i] + s_2[j]:  two half-queries against n half-keys each

The k best slots lie among the pairs of the k best first halves with the k best second halves, because whoever is not
among the k best of its half is beaten by k others beside the same partner.  Of those pairs only that of rank a with
rank b (from 1) where a b <= k can win: a b - 1 others are at least as good.  Of equal scores the lower number is taken,
in the halves and among the slots; so the choice equals that from all M sums, ties included, wherever sums are exact.
(Rounding can make two different sums equal; then the sums chosen are still the k largest.)

    gates   softmax of the k chosen sums, or the sigmoid of each

float32 at least.  Shapes: ... any axes in front, n half-keys, k chosen.  Errors: ConfigError when k is not in 1..n.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.arguments import working_dtype
from weightless.ops.attention import softmax
from weightless.ops.experts import scored


def pairs_that_can_win(k: int) -> tuple[np.ndarray, np.ndarray]:
    """(ranks of first halves, of second halves) from 0, int64 [P]: about k ln k of the k k pairs."""
    rank = np.arange(1, k + 1)
    first, second = np.nonzero(rank[:, None] * rank <= k)
    return first, second


def best_slots(s_2R: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(slots int64 [..., k], their sums [..., k]), the largest first, from half-scores [..., 2, n]."""
    n = s_2R.shape[-1]
    if not 1 <= k <= n:
        raise ConfigError(f"{k} of {n} half-keys cannot be chosen")
    s_2R = s_2R.astype(working_dtype(s_2R), copy=False)
    best_2K = np.argsort(-s_2R, axis=-1, kind="stable")[..., :k]
    first, second = pairs_that_can_win(k)
    i_P, j_P = best_2K[..., 0, first], best_2K[..., 1, second]
    sum_P = np.take_along_axis(s_2R[..., 0, :], i_P, -1) + np.take_along_axis(s_2R[..., 1, :], j_P, -1)
    slot_P = i_P * n + j_P
    place_K = np.lexsort((slot_P, -sum_P), axis=-1)[..., :k]
    return np.take_along_axis(slot_P, place_K, -1), np.take_along_axis(sum_P, place_K, -1)


def slot_gates(sum_K: np.ndarray, gating: str) -> np.ndarray:
    """Gates of the chosen: "softmax" over them, or "sigmoid" of each."""
    return softmax(sum_K) if gating == "softmax" else scored(sum_K, "sigmoid")
