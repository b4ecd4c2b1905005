"""What a neural model says at a node of a tree over tokens, from the whole distribution: the definition.

    x = ln( sum of p over the tokens on the right / sum of p over those on the left )      in whole 1/256, +- LIMIT

Tokens are named by their rank, their place in the tree from left to right.  A model with a class head need not know all
of p: where the classes are subtrees, both sums go over whole classes, or over words of one class, and a factor that
both have does not change x (`kernels.numba.node_odds`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from weightless.ops.count_mixing import odds


def path_odds(p_by_rank: np.ndarray, child: np.ndarray, root: int, rank: int) -> list[int]:
    """x at every node of the path to the token of that rank; p float [V], child int [V, 2]."""
    return [odds(p_by_rank[low:node].sum(), p_by_rank[node:high].sum()) for node, low, high in _path(child, root, rank)]


def _path(child: np.ndarray, root: int, rank: int) -> Iterator[tuple[int, int, int]]:
    """(node, first rank, end) from the root on."""
    node, low, high = root, 0, len(child)
    while high - low > 1:
        yield node, low, high
        right = rank >= node
        low, high, node = (node, high, int(child[node, 1])) if right else (low, node, int(child[node, 0]))
