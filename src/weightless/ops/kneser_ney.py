"""Interpolated modified Kneser-Ney from dictionaries of counts: the slow truth.

S. F. Chen and J. Goodman, "An Empirical Study of Smoothing Techniques for Language Modeling", TR-10-98 (1998),
section 3.1 "modified Kneser-Ney smoothing".  For a context h of k words and its suffix h' of k - 1 words:

    p(w | h) = (c(h w) - D(c(h w))) / sum_v c(h v)  +  gamma(h) p(w | h')
    gamma(h) = sum_v D(c(h v)) / sum_v c(h v)            D(c) = 0, D1, D2, D3+ for c = 0, 1, 2, >= 3
    p(w | no context) has 1 / V in the place of p(w | h')

c is the number of occurrences at the highest order, and below it the number of distinct left neighbours.

Rules the paper leaves open, shared with the fast build (`ngram/kneser_ney.py`):
  start     the stream is preceded by a mark outside the vocabulary, so an n-gram that opens the stream has that mark
            as one of its left neighbours; the mark is never predicted and no context holding it is kept;
  pruning   n-grams of order m with c < min_counts[m - 1] leave the list, and all of their c goes to gamma(h); counts
            of lower orders and discounts are taken before pruning;
  fall-back see `modified_discounts`.
Errors: none of its own; `ngram.kneser_ney.build` checks its input.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

QUANTA = 2**32 - 1  # the fast build stores probabilities as whole numbers of 1 / QUANTA
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
START = -1  # the mark before the stream; token ids are not negative


@dataclass(frozen=True)
class Discounts:
    """D1, D2, D3+ of one order, the counts of counts n1..n4 they came from, and whether they are the fall-back."""

    d1: float
    d2: float
    d3: float
    counts_of_counts: tuple[int, int, int, int]
    fallback: bool

    def of(self, count: int) -> float:
        """What is taken away from an n-gram that was counted `count` times."""
        return (0.0, self.d1, self.d2, self.d3)[min(count, 3)]


def modified_discounts(counts_of_counts: Iterable[int]) -> Discounts:
    """Equation 26 of the paper from n1..n4, the numbers of n-grams counted exactly 1, 2, 3 and 4 times.

    Y = n1 / (n1 + 2 n2),  D_c = c - (c + 1) Y n_{c+1} / n_c.  When one of n1..n4 is zero, or some D_c is not strictly
    between 0 and c (tiny, repetitive or byte-level streams), the whole order takes (0.5, 1.0, 1.5).
    """
    n1, n2, n3, n4 = (int(n) for n in counts_of_counts)
    found = (n1, n2, n3, n4)
    if min(found) > 0:
        y = n1 / (n1 + 2 * n2)
        d1, d2, d3 = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        if 0 < d1 < 1 and 0 < d2 < 2 and 0 < d3 < 3:
            return Discounts(d1, d2, d3, found, fallback=False)
    return Discounts(*FALLBACK_DISCOUNTS, found, fallback=True)


def ngram_counts(tokens: Sequence[int], order: int) -> list[Counter[tuple[int, ...]]]:
    """c per order (index m - 1), as dictionaries from n-gram to count; n-grams that hold START are included."""
    stream = [START] * (order - 1) + [int(token) for token in tokens]
    windows = (tuple(stream[i : i + order]) for i in range(len(tokens)))
    per_order = [Counter(windows)]
    while len(per_order[0]) and len(next(iter(per_order[0]))) > 1:
        per_order.insert(0, Counter(ngram[1:] for ngram in per_order[0]))
    return per_order


class KneserNey:
    """The model of one stream; `prob` follows the equations above by recursion."""

    def __init__(self, tokens: Sequence[int], vocab_size: int, order: int, min_counts: Sequence[int] | None = None):
        self.vocab_size, self.order = vocab_size, order
        self.min_counts = list(min_counts) if min_counts is not None else [1] * order
        self.counts = [
            {ngram: c for ngram, c in counter.items() if START not in ngram} for counter in ngram_counts(tokens, order)
        ]
        self.discounts = [
            modified_discounts(sum(c == wanted for c in level.values()) for wanted in (1, 2, 3, 4))
            for level in self.counts
        ]
        self.continuations = [self._by_context(level) for level in self.counts]

    @staticmethod
    def _by_context(level: dict[tuple[int, ...], int]) -> dict[tuple[int, ...], dict[int, int]]:
        lists: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
        for ngram, count in level.items():
            lists[ngram[:-1]][ngram[-1]] = count
        return dict(lists)

    def own(self, context: tuple[int, ...], word: int) -> float:
        """(c - D(c)) / total of one kept n-gram, 0 of any other."""
        k = len(context)
        followers = self.continuations[k][context]
        count = followers.get(word, 0)
        if count < self.min_counts[k]:
            return 0.0
        return (count - self.discounts[k].of(count)) / sum(followers.values())

    def gamma(self, context: tuple[int, ...]) -> float:
        """What the context leaves to the next shorter one: discounts of kept n-grams, all of pruned ones."""
        k = len(context)
        followers = self.continuations[k][context]
        left = sum(self.discounts[k].of(c) if c >= self.min_counts[k] else c for c in followers.values())
        return left / sum(followers.values())

    def prob(self, history: Sequence[int], word: int) -> float:
        """p(word | the last order - 1 words of `history`)."""
        context = tuple(int(token) for token in history)[max(0, len(history) - (self.order - 1)) :]
        return self._prob(context, word)

    def _prob(self, context: tuple[int, ...], word: int) -> float:
        shorter = self._prob(context[1:], word) if context else 1 / self.vocab_size
        if context not in self.continuations[len(context)]:
            return shorter
        return self.own(context, word) + self.gamma(context) * shorter
