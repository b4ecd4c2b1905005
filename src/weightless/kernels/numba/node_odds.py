"""What a model with a class head says at the nodes of a tree over its classes: sums of probabilities left and right.

    levels int64 [L, 3]     (where the weights of a level begin, ranks per weight, ranks per block)

Level 0 weighs the classes of the whole vocabulary, the next one the parts of one class, and so on.  A weight is in
proportion to a probability; the narrowest level whose block holds all ranks below a node is asked (`ops.node_odds`).
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.count_inputs import odds
from weightless.kernels.numba.rows import KERNEL


@njit(**KERNEL)
def side_odds(weights, at, unit, base, node, low, high):  # type: ignore[no-untyped-def]
    """`odds` of a node whose ranks low .. high - 1 lie in a block from rank `base` on, a weight for every `unit`."""
    left = right = 0.0
    for k in range((low - base) // unit, (node - base) // unit):
        left += np.float64(weights[at + k])
    for k in range((node - base) // unit, (high - base + unit - 1) // unit):
        right += np.float64(weights[at + k])
    return odds(left, right)


@njit(**KERNEL)
def path_odds(ranks, weights, levels, child, root, out):  # type: ignore[no-untyped-def]
    """out[i, depth] = what is said at every node of the path to ranks[i] by weights[i], of which the lower levels are
    those of the blocks that hold this rank."""
    for i in range(len(ranks)):
        node, low, high, depth = root, np.int64(0), np.int64(child.shape[0]), 0
        while high - low > 1:
            n = 0
            while n + 1 < levels.shape[0] and low // levels[n + 1, 2] == (high - 1) // levels[n + 1, 2]:
                n += 1
            base = low // levels[n, 2] * levels[n, 2]
            out[i, depth] = side_odds(weights[i], levels[n, 0], levels[n, 1], base, node, low, high)
            if ranks[i] >= node:
                low, node = node, child[node, 1]
            else:
                high, node = node, child[node, 0]
            depth += 1
