"""Draw from a fixed distribution by looking at one row: the alias method, exact in whole numbers.

A. J. Walker, "An efficient method for generating discrete random variables with general distributions", ACM TOMS 3
(1977); M. D. Vose, IEEE Trans. Softw. Eng. 17 (1991).  V columns of equal mass each hold at most two words: the
column's own up to a threshold, and another one, its alias, above it.  With probabilities in quanta, q_w >= 0 and
sum q_w = Q, a column holds Q of the V Q units, so thresholds are whole numbers and word w keeps exactly V q_w units:

    V q_w = threshold_w + sum over columns c with alias_c = w of (Q - threshold_c)

A uniform u in [0, 1) falls into column floor(u V), at floor(frac(u V) Q).  O(V) to build, one row to draw.
"""

from __future__ import annotations

import numpy as np


def alias_table(quanta: np.ndarray) -> np.ndarray:
    """(threshold, alias) of every column, uint32 [V, 2]; `quanta` are whole numbers that add up to Q < 2^32."""
    n, total = len(quanta), int(quanta.sum())
    units = [n * int(q) for q in quanta]
    table = np.empty((n, 2), np.uint32)
    small = [w for w in range(n) if units[w] < total]
    large = [w for w in range(n) if units[w] >= total]
    while small:
        column, word = small.pop(), large[-1]
        table[column] = units[column], word
        units[word] -= total - units[column]
        if units[word] < total:
            small.append(large.pop())
    for word in large:
        table[word] = total, word
    return table


def draw(table: np.ndarray, u: float, total: int) -> int:
    """The word at point u of [0, 1)."""
    column = min(int(u * len(table)), len(table) - 1)
    threshold, other = (int(v) for v in table[column])
    return column if int((u * len(table) - column) * total) < threshold else other
