"""The counts behind a smoothed infinity-gram at every position of a stream.  Oracle: `ops/infinigram.py`."""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit


@njit(cache=True, nogil=True)
def _first(text, suffixes, depth, low, high, word, above):
    """First of the rows low..high-1 whose word `depth` places on is not below `word` (with `above`: is above it)."""
    while low < high:
        middle = (low + high) >> 1
        at = np.int64(suffixes[middle]) + depth
        here = np.int64(text[at]) if at < text.size else np.int64(-1)
        if here < word or (above and here == word):
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def counts_of_stream(text, suffixes, first_row, stream, n, hits, several):
    """n[t, k-1] = occurrences of the k words before position t that a word follows, hits: those that stream[t] follows.

    several[t, k-1] = whether different words follow.  All three come as zeros.
    """
    most = n.shape[1]
    low, high = np.zeros(most + 1, np.int64), np.zeros(most + 1, np.int64)
    matched = 0
    for t in range(1, stream.size):
        word, longest = np.int64(stream[t - 1]), 0
        for k in range(min(matched + 1, most), 0, -1):
            if k == 1:
                first, end = np.int64(first_row[word]), np.int64(first_row[word + 1])
            else:
                first = _first(text, suffixes, k - 1, low[k - 1], high[k - 1], word, False)
                end = _first(text, suffixes, k - 1, first, high[k - 1], word, True)
            low[k], high[k] = first, end
            if end > first:
                longest = max(longest, k)
        matched = longest
        target = np.int64(stream[t])
        for k in range(1, matched + 1):
            first = low[k] + (1 if np.int64(suffixes[low[k]]) + k >= text.size else 0)
            n[t, k - 1] = high[k] - first
            if high[k] > first:
                several[t, k - 1] = text[suffixes[first] + k] != text[suffixes[high[k] - 1] + k]
                begin = _first(text, suffixes, k, first, high[k], target, False)
                hits[t, k - 1] = _first(text, suffixes, k, begin, high[k], target, True) - begin
