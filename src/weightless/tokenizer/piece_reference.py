"""The readable twin of SentencePiece's BPE: training and encoding in plain Python, slow and evidently right.

    train(words, characters, n_merges, longest, split_digits) -> pieces     words: {text: how often}
    encode(word, scores) -> pieces                                           scores: {piece: score}

Training: until enough pieces are made, count every pair of neighbours of every word, and take the most frequent one
that is a piece: the shortest of those, and of equally long ones the least.  If it spells a piece that there is, it is
passed over; else it is merged everywhere, from left to right.
Encoding: merge the neighbours that spell the piece of the highest score, leftmost first, until none spell one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from weightless.tokenizer.piece_layout import DIGITS
from weightless.tokenizer.scripts import ANY, SPACE, scripts_of

Pair = tuple[str, str]


def is_piece(text: str, longest: int, split_digits: bool, scripts: Mapping[str, int]) -> bool:
    """Whether SentencePiece would take `text` (two characters or more) as a piece."""
    if len(text) > longest or SPACE in text[1:] or (split_digits and any(c in DIGITS for c in text)):
        return False
    before = ANY
    for character in text:
        script = scripts[character] if scripts[character] != ANY else before
        if ANY != before != script:
            return False
        before = script
    return True


def train(
    words: Mapping[str, int], characters: Sequence[str], n_merges: int, longest: int = 16, split_digits: bool = True
) -> list[str]:
    """The pieces in order; fewer when no pair is left.  Characters that are not listed never merge."""
    known, scripts, made = set(characters), scripts_of(characters), []
    split = {word: list(word) for word in words}
    passed: set[Pair] = set()
    while len(made) < n_merges:
        counts: Counter[Pair] = Counter()
        for word, parts in split.items():
            for a, b in zip(parts, parts[1:]):
                if (a, b) not in passed and all(c in known for c in a + b):
                    counts[a, b] += words[word]
        pairs = [p for p in counts if is_piece(p[0] + p[1], longest, split_digits, scripts)]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-counts[p], len(p[0] + p[1]), p[0] + p[1]))
        if best[0] + best[1] in made:
            passed.add(best)
            continue
        made.append(best[0] + best[1])
        split = {word: _merged(parts, best) for word, parts in split.items()}
    return made


def _merged(parts: list[str], pair: Pair) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(parts):
        here = tuple(parts[at : at + 2]) == pair
        out.append(pair[0] + pair[1] if here else parts[at])
        at += 1 + here
    return out


def encode(word: str, scores: Mapping[str, float]) -> list[str]:
    """The pieces of a word; characters without a piece stay as they are."""
    parts = list(word)
    while True:
        found = [(-scores[a + b], at) for at, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in scores]
        if not found:
            return parts
        at = min(found)[1]
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
