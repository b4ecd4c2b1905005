"""Suffix array by definition: the slow truth about where every pattern of a token stream occurs.

A suffix is the stream from position i on; a suffix that ends is smaller than any that goes on.  The suffix array lists
all positions in the order of their suffixes (U. Manber and G. Myers, "Suffix arrays: a new method for on-line string
searches", SIAM J. Comput. 22, 1993), so that the occurrences of a pattern are neighbours.

    suffix_array   O(n^2 log n) time: for tests and for reading
    occurrences    positions at which a pattern stands
    longest_suffix the infinity-gram rule (J. Liu, S. Min, L. Zettlemoyer, Y. Choi, H. Hajishirzi, "Infini-gram: Scaling
                   unbounded n-gram language models to a trillion tokens", COLM 2024): a context backs off to its
                   longest suffix that occurs at all; the empty one always does
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def suffix_array(tokens: Sequence[int] | np.ndarray) -> list[int]:
    """Positions in the order of their suffixes."""
    words = [int(word) for word in tokens]
    return sorted(range(len(words)), key=lambda i: words[i:])


def occurrences(tokens: Sequence[int] | np.ndarray, pattern: Sequence[int] | np.ndarray) -> list[int]:
    """Every position at which the pattern stands; the empty pattern stands everywhere."""
    words, wanted = [int(word) for word in tokens], [int(word) for word in pattern]
    return [
        i for i in range(len(words) - len(wanted) + 1 if wanted else len(words)) if words[i : i + len(wanted)] == wanted
    ]


def longest_suffix(tokens: Sequence[int] | np.ndarray, context: Sequence[int] | np.ndarray, most: int) -> int:
    """How many of the last words of `context`, at most `most`, make up its longest suffix that occurs."""
    n = min(len(context), most)
    while n and not occurrences(tokens, context[len(context) - n :]):
        n -= 1
    return n
