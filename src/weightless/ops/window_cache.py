"""A cache of the model's own window: what has followed the last k words, as the plain truth in dictionaries.

    p_0 = model;   p_{k+1} = lam_k q_k + (1 - lam_k) p_k     for k = 0, 1, … where the last k words have occurred before
    q_k(x) = count_k(x) / sum of count_k                     p = rest p_0 + sum over k of w_k q_k

(Kuhn & De Mori 1990, for every order up to a few.)  lam_k is looked up by what is known before the target: the order,
how often the context was followed by anything, and how many different words followed it.

A context of one word or more keeps WORDS words at most, each counted up to MOST.  A word that finds its list full takes
the place of the one counted least; of equals, of the one that has been there longest (a hand goes round).  With a word
goes the longer context that it ended: the list of (c, x) is reached through x in the list of c.  A total is always the
sum of the counts that are kept, so q_k sums to one whatever was lost.

Order 0 is exact: every word of the window is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WORDS, MOST = 15, 255
"""Words that a context keeps, and the count at which counting stops: fifteen numbers of 32 bits and a header fill a
line of 64 bytes."""
TOTALS, SHARES = 10, 5
"""Classes of a total (by powers of two) and of the share of different words in it."""
CLASSES = TOTALS * SHARES
LARGEST = 1 - 2.0**-10
"""The largest weight that a context can have: the model keeps a part, so nothing is impossible."""


def class_of(order: int, total: int, distinct: int) -> int:
    """The number of the weight of a context of `order` words that `distinct` words have followed, `total` times."""
    return order * CLASSES + min(total.bit_length() - 1, TOTALS - 1) * SHARES + min(4 * distinct // total, SHARES - 1)


def usable(weight: float) -> float:
    """A weight as it is used: what a file says beyond 0..LARGEST is cut (what is no number is 0)."""
    return min(weight, LARGEST) if weight > 0 else 0.0


class Listed:
    """The words that followed one context, with their counts."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.counts: list[int] = []
        self.hand = 0

    @property
    def total(self) -> int:
        return sum(self.counts)

    def enter(self, word: int) -> int | None:
        """Count a word; the one whose place it took, if it took one."""
        if word in self.words:
            at = self.words.index(word)
            self.counts[at] = min(self.counts[at] + 1, MOST)
            return None
        if len(self.words) < WORDS:
            self.words.append(word)
            self.counts.append(1)
            return None
        at = min(range(WORDS), key=lambda place: (self.counts[place], (place - self.hand) % WORDS))
        gone, self.words[at], self.counts[at] = self.words[at], word, 1
        self.hand = (at + 1) % WORDS
        return gone


class Found(NamedTuple):
    """One context that has occurred: its weight's number, and the counts of the words that followed it."""

    number: int
    counts: dict[int, int]
    total: int


class WindowCounts:
    """Counts of the contexts of 0 to `orders` - 1 words in the tokens fed so far."""

    def __init__(self, orders: int, tokens: Sequence[int] = ()) -> None:
        self.orders, self.fed = orders, list[int]()
        self._single: dict[int, int] = {}
        self._lists: list[dict[tuple[int, ...], Listed]] = [{} for _ in range(orders)]
        for token in tokens:
            self.enter(token)

    def enter(self, token: int) -> None:
        """The next token of the window: count it under all contexts that it follows, the longest first."""
        token, before = int(token), self.fed
        for k in range(min(self.orders - 1, len(before)), 0, -1):
            context = tuple(before[len(before) - k :])
            gone = self._lists[k].setdefault(context, Listed()).enter(token)
            if gone is not None:
                self._forget((*context, gone))
        self._single[token] = self._single.get(token, 0) + 1
        before.append(token)

    def _forget(self, context: tuple[int, ...]) -> None:
        """With a word goes the context that it ended, and with that all that is reached through it."""
        if len(context) < self.orders:
            lost = self._lists[len(context)].pop(context, None)
            for word in lost.words if lost else ():
                self._forget((*context, word))

    def found(self) -> list[Found]:
        """The contexts of the next token that have occurred, shortest first."""
        n = len(self.fed)
        out = [Found(class_of(0, n, len(self._single)), self._single, n)]
        for k in range(1, min(self.orders - 1, n) + 1):
            here = self._lists[k].get(tuple(self.fed[n - k :]))
            if here is not None:
                number = class_of(k, here.total, len(here.words))
                out.append(Found(number, dict(zip(here.words, here.counts, strict=True)), here.total))
        return out

    def mixture(self, weights: np.ndarray) -> tuple[float, dict[int, float]]:
        """(what is left to the model, {word: what the window adds}) for the next token, by the weights [numbers]."""
        rest, added = 1.0, dict[int, float]()
        for number, counts, total in reversed(self.found()):
            weight = usable(float(weights[number]))
            for word, count in counts.items():
                added[word] = added.get(word, 0.0) + rest * weight * count / total
            rest *= 1.0 - weight
        return rest, added


def cached_nats(
    nats: Sequence[float], tokens: Sequence[int], targets: Sequence[int], weights: np.ndarray
) -> np.ndarray:
    """Nats of every target of one window with its cache, float64 [n], from the model's own."""
    counts, out = WindowCounts(len(weights) // CLASSES), np.empty(len(nats))
    for i, (own, token, target) in enumerate(zip(nats, tokens, targets, strict=True)):
        counts.enter(token)
        rest, added = counts.mixture(weights)
        out[i] = mixed_nats(float(own), rest, added.get(int(target), 0.0))
    return out


def mixed_nats(nats: float, rest: float, added: float) -> float:
    """-log(rest exp(-nats) + added), also where exp(-nats) is no number above zero."""
    return nats - np.log(rest) if added == 0.0 else -np.log(rest * np.exp(-nats) + added)


def cached_distribution(p_V: np.ndarray, counts: WindowCounts, weights: np.ndarray) -> np.ndarray:
    """p [V], float64: the model's distribution with what the window adds."""
    rest, added = counts.mixture(weights)
    out = rest * np.asarray(p_V, dtype=np.float64)
    for word, p in added.items():
        out[word] += p
    return out
