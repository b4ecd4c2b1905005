"""The weights of a window cache: where to begin, and how they are fitted on held-out text.

Begin     lam(k, total, distinct) = GAIN_k (total - distinct + 1/2) / (total + 1): the more often what followed had
          followed before, the surer the context is.
Fit       expectation maximisation of the chain p_{k+1} = lam_k q_k + (1 - lam_k) p_k: of every target, the share of its
          probability that came from q_k, over how often the chain came down to k.  A class is also given STRENGTH
          positions of the weight that suits all classes of its order together, so that rare ones do not follow noise.

Held out are whole documents where there are any: in the rest of a book that was learned from, names are no news, and a
cache fitted there is taken for worth less than it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from weightless.ops.window_cache import CLASSES, LARGEST, SHARES, TOTALS, WindowCounts

GAINS = (0.05, 0.2, 0.4, 0.6)
PASSES = 30
STRENGTH = 8.0
LEAST = 1e-4
SHARE = 1 / 8


def initial_weights(orders: int) -> np.ndarray:
    """float32 [1, orders * CLASSES]: the weights as long as nothing is fitted."""
    out = np.empty((orders, TOTALS, SHARES))
    for k in range(orders):
        for i in range(TOTALS):
            total = 2.0**i
            for j in range(SHARES):
                distinct = max(1.0, total * j / (SHARES - 1))
                out[k, i, j] = GAINS[min(k, len(GAINS) - 1)] * (max(total - distinct, 0) + 0.5) / (total + 1)
    return out.reshape(1, -1).astype(np.float32)


class Seen(NamedTuple):
    """What the window said of N targets: number [N, K] of the weight of every order (-1: not found), q [N, K]."""

    numbers: np.ndarray
    q: np.ndarray


def seen_in(windows: Iterable[tuple[Sequence[int], Sequence[int]]], orders: int) -> Seen:
    """Of the targets of windows (tokens, targets), one behind the other; each begins with an empty cache."""
    numbers, shares = list[list[int]](), list[list[float]]()
    for tokens, targets in windows:
        counts = WindowCounts(orders)
        for token, target in zip(tokens, targets, strict=True):
            counts.enter(token)
            own, q = [-1] * orders, [0.0] * orders
            for number, listed, total in counts.found():
                k = number // CLASSES
                own[k], q[k] = number, listed.get(int(target), 0) / total
            numbers.append(own)
            shares.append(q)
    return Seen(np.array(numbers, np.int64).reshape(-1, orders), np.array(shares).reshape(-1, orders))


def chain(nats: np.ndarray, seen: Seen, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p after 0, 1, … orders [N, K + 1], lam [N, K], 0 where nothing was found)."""
    lam = np.where(seen.numbers < 0, 0.0, weights.reshape(-1).astype(np.float64)[seen.numbers])
    p = np.empty((len(nats), lam.shape[1] + 1))
    p[:, 0] = np.maximum(np.exp(-nats.astype(np.float64)), 1e-300)
    for k in range(lam.shape[1]):
        p[:, k + 1] = lam[:, k] * seen.q[:, k] + (1 - lam[:, k]) * p[:, k]
    return p, lam


def mean_nats(nats: np.ndarray, seen: Seen, weights: np.ndarray) -> float:
    """Nats per target with the cache."""
    return float(-np.log(chain(nats, seen, weights)[0][:, -1]).mean())


def fitted(nats: np.ndarray, seen: Seen) -> np.ndarray:
    """The weights float32 [1, K * CLASSES] for the model's own nats [N] of these targets."""
    orders = seen.q.shape[1]
    by_order = np.full(orders, 0.1)
    for _ in range(PASSES):
        taken, reached = _expected(nats, seen, np.repeat(by_order, CLASSES))
        sums = [np.add.reduceat(values, np.arange(0, orders * CLASSES, CLASSES)) for values in (taken, reached)]
        by_order = (sums[0] + 0.1) / (sums[1] + 1.0)
    weights, prior = np.repeat(by_order, CLASSES), np.repeat(by_order, CLASSES)
    for _ in range(PASSES):
        taken, reached = _expected(nats, seen, weights)
        weights = (taken + STRENGTH * prior) / (reached + STRENGTH)
    return weights.clip(LEAST, LARGEST).astype(np.float32)[None, :]


def fit_on(
    nats: np.ndarray, windows: Sequence[tuple[Sequence[int], Sequence[int]]], orders: int
) -> tuple[np.ndarray, str]:
    """(weights for the model's own nats [N] of all targets of windows (tokens, targets), what was found, told)."""
    seen = seen_in(windows, orders)
    weights = fitted(nats, seen)
    with_cache, unfitted = (mean_nats(nats, seen, w) for w in (weights, initial_weights(orders)))
    return weights, (
        f"{weights.size} weights, fitted on {len(nats):,} held-out training tokens: {nats.mean():.4f} nats per token "
        f"there without the cache, {with_cache:.4f} with it ({unfitted:.4f} with the weights that it begins with)"
    )


def held_out_from(tokens: Any, wanted: int, end_of_text: int | None) -> int:
    """Where the text begins that is held out to fit on: the last document that leaves `wanted` tokens, if that is in
    the last SHARE of the text; else those last tokens."""
    n, most = len(tokens), max(wanted, int(SHARE * len(tokens)))
    if end_of_text is not None:
        starts = np.flatnonzero(np.asarray(tokens[n - most :]) == end_of_text)
        if len(starts := starts[starts <= most - wanted]):
            return n - most + int(starts[-1])
    return n - wanted


def side_by_side(tokens: np.ndarray, context: int) -> list[tuple[list[int], list[int]]]:
    """(tokens, targets) of windows of `context` positions, as held-out text is scored."""
    stream = tokens.tolist()
    starts = range(0, len(stream) - 1, context)
    return [(stream[i : i + context][: len(stream) - 1 - i], stream[i + 1 : i + 1 + context]) for i in starts]


def _expected(nats: np.ndarray, seen: Seen, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(how often each weight's context gave the target, how often the chain came down to it), expected."""
    (p, lam), n = chain(nats, seen, weights), len(weights)
    taken, reached, left = np.zeros(n), np.zeros(n), np.ones(len(nats))
    for k in reversed(range(lam.shape[1])):
        here = seen.numbers[:, k] >= 0
        share = lam[here, k] * seen.q[here, k] / p[here, k + 1]
        reached += np.bincount(seen.numbers[here, k], left[here], n)
        taken += np.bincount(seen.numbers[here, k], left[here] * share, n)
        left[here] *= 1 - share
    return taken, reached
