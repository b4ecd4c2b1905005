"""BPE training in plain Python, for texts so short that compiling or loading kernels would take longer.

    light_merges(counts, n_merges, ties) -> [(left, right)]      pairs of ids, as bpe_train.merge_words gives them

The distinct words stand in one list of tokens, a gap behind each, as in merge_loop.py, and the work is the same: every
occurrence of a pair is listed where it is made, later merges only destroy occurrences, and the heap is set right when a
pair on top has fewer than it had when it was pushed.  Every merge destroys a token, so the time is linear in the bytes
of the distinct words, whatever they are.  Nothing here imports a compiler.
Twins: reference.train, and the kernels.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from weightless.tokenizer.patterns import PATTERNS, byte_characters
from weightless.tokenizer.reference import split_special

GAP, GONE = -1, -2
ID_BITS = 21
ID_MASK = (1 << ID_BITS) - 1

Entry = tuple[int, str | int, str | int, int]  # (minus the count, how its two tokens rank in a tie, the pair)


def count_words(documents: Iterable[bytes], special_tokens: Sequence[str], pattern: str) -> Counter[bytes]:
    """How often each word occurs outside special tokens."""
    import regex

    if pattern == "none":
        pieces = (p for document in documents for p, special in split_special(document, special_tokens) if not special)
        return Counter(piece for piece in pieces if piece)
    find = regex.compile(PATTERNS[pattern]).findall
    counts: Counter[str] = Counter()
    for document in documents:
        for piece, is_special in split_special(document, special_tokens):
            if not is_special:
                counts.update(find(piece.decode("utf-8", "surrogateescape")))
    return Counter({word.encode("utf-8", "surrogateescape"): n for word, n in counts.items()})


def light_merges(counts: Mapping[bytes, int], n_merges: int, ties: str) -> list[tuple[int, int]]:
    """The merges in order, as many as there are pairs for."""
    merging = _Merging(counts, ties)
    merges: list[tuple[int, int]] = []
    while len(merges) < n_merges and (pair := merging.best()) is not None:
        merging.merge(pair)
        merges.append((pair >> ID_BITS, pair & ID_MASK))
    return merges


class _Merging:
    """The words (token, its neighbours' places and the word's count at each place), and the pairs in them."""

    def __init__(self, counts: Mapping[bytes, int], ties: str) -> None:
        self.symbol: list[int] = [GAP]
        self.weight = [0]
        for word, count in counts.items():
            self.symbol += [*word, GAP]
            self.weight += [count] * (len(word) + 1)
        self.before = list(range(-1, len(self.symbol) - 1))
        self.after = list(range(1, len(self.symbol) + 1))
        self.ranks = _Ranks(ties)
        self.count: dict[int, int] = defaultdict(int)
        self.places: dict[int, list[int]] = defaultdict(list)
        for place, (left, right) in enumerate(zip(self.symbol, self.symbol[1:])):
            if left >= 0 <= right:
                pair = left << ID_BITS | right
                self.count[pair] += self.weight[place]
                self.places[pair].append(place)
        self.heap = [self._entry(pair) for pair in self.count]
        heapq.heapify(self.heap)

    def _entry(self, pair: int) -> Entry:
        rank = self.ranks.of
        return -self.count[pair], rank[pair >> ID_BITS], rank[pair & ID_MASK], pair

    def best(self) -> int | None:
        """Take the most frequent pair from the heap; None when no pair is left."""
        while self.heap:
            known, _, _, pair = self.heap[0]
            if -known == self.count[pair]:
                heapq.heappop(self.heap)
                return pair
            if self.count[pair]:
                heapq.heapreplace(self.heap, self._entry(pair))
            else:
                heapq.heappop(self.heap)
        return None

    def merge(self, pair: int) -> None:
        """Make a token of the pair, wherever it stands."""
        new = self.ranks.add(pair >> ID_BITS, pair & ID_MASK)
        places = self.places.pop(pair)
        made = self._replace(places, pair, new)
        del self.count[pair]
        for other in made:
            if self.count[other]:  # else a merge further right in the same word has destroyed it
                heapq.heappush(self.heap, self._entry(other))

    def _replace(self, places: list[int], pair: int, new: int) -> set[int]:
        """Put `new` at the places that still hold the pair, from left to right; returns the pairs that this made."""
        symbol, weight, before, after = self.symbol, self.weight, self.before, self.after
        count, lists = self.count, self.places
        a, b = pair >> ID_BITS, pair & ID_MASK
        left_of_new, right_of_new, right_of_old = new, new << ID_BITS, b << ID_BITS
        made: set[int] = set()
        for p in places:
            q = after[p]
            if symbol[p] != a or symbol[q] != b:
                continue
            w, x, y = weight[p], before[p], after[q]
            symbol[p], symbol[q] = new, GONE
            after[p], before[y] = y, p
            if (left := symbol[x]) >= 0:
                count[left << ID_BITS | a] -= w
                other = left << ID_BITS | left_of_new
                count[other] += w
                lists[other].append(x)
                made.add(other)
            if (right := symbol[y]) >= 0:
                count[right_of_old | right] -= w
                other = right_of_new | right
                count[other] += w
                lists[other].append(p)
                made.add(other)
        return made


class _Ranks:
    """What decides between two equally frequent pairs: of two tokens, the one with the lesser entry in `of`.

    "greatest" takes the greater bytes: each byte stands as a character that counts down, and a last one above all
    others makes the longer of two tokens, of which one begins the other, the lesser.
    """

    def __init__(self, ties: str) -> None:
        self._by_bytes = ties == "greatest"
        self.of: list[str | int] = list(map(ord, byte_characters()))
        if self._by_bytes:
            self.of = [chr(255 - byte) + "\u0100" for byte in range(256)]

    def add(self, left: int, right: int) -> int:
        """The id of the token that the two make."""
        a, b = self.of[left], self.of[right]
        self.of.append(a[:-1] + b if isinstance(a, str) and isinstance(b, str) else 1000 + len(self.of))
        return len(self.of) - 1
