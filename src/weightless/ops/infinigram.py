"""The smoothed infinity-gram by definition: counts from looking at every position of the text.

    n_k      occurrences of the last k words of the context that some word follows
    n_k(x)   those that x follows
    p_0      a unigram distribution
    p_k(x) = w_k n_k(x) / n_k + (1 - w_k) p_{k-1}(x)      for k = 1 .. the longest suffix with n_k > 0, at most K

The longest suffix that occurs is the infinity-gram's context (Liu et al. 2024), and n_k(x) / n_k its estimate; alone it
gives most words probability zero.  Interpolating all suffix lengths (F. Jelinek and R. Mercer, "Interpolated estimation
of Markov source parameters from sparse data", 1980) is normalised for any weights that depend on the context alone.
Here w_k is looked up by (k, whether several different words have followed, bucket of n_k).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

N_BUCKETS = 16


def bucket_of(n: int) -> int:
    """floor(log2 n), at most N_BUCKETS - 1, for n >= 1."""
    return min(n.bit_length() - 1, N_BUCKETS - 1)


def weight_row(level: int, several: bool, n: int) -> int:
    """Where the weight of a context of `level` words stands in the column of weights."""
    return ((level - 1) * 2 + int(several)) * N_BUCKETS + bucket_of(n)


def followers(text: Sequence[int] | np.ndarray, suffix: Sequence[int] | np.ndarray) -> np.ndarray:
    """The word behind every occurrence of `suffix` that has one."""
    words, k = np.asarray(text, dtype=np.int64), len(suffix)
    if len(words) <= k:
        return np.zeros(0, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(words, k + 1)
    there = (windows[:, :k] == np.asarray(suffix, dtype=np.int64)).all(axis=1)
    return windows[there, k]


def distribution(
    text: Sequence[int] | np.ndarray,
    unigrams: np.ndarray,
    weights: np.ndarray,
    context: Sequence[int] | np.ndarray,
    max_length: int,
) -> np.ndarray:
    """p(. | context), float64 [V]."""
    p = np.asarray(unigrams, dtype=np.float64)
    for k in range(1, min(max_length, len(context)) + 1):
        behind = followers(text, context[len(context) - k :])
        if not len(behind):
            continue  # the text may end with these words and hold longer stretches nowhere else
        w = float(weights[weight_row(k, bool((behind != behind[0]).any()), len(behind))])
        p = w * np.bincount(behind, minlength=len(p)) / len(behind) + (1 - w) * p
    return p
