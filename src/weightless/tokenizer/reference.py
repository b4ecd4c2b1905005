"""The readable twin: pre-tokenisation, BPE training and encoding in plain Python, slow and evidently right.

Training (Sennrich et al. 2016, on bytes): count the distinct words; until the vocabulary is full, count every adjacent
pair of every word, merge the most frequent pair everywhere from left to right.  Ties: the greatest (bytes, bytes) pair;
with ties="hf" the least pair of ids, where bytes are ordered by their printable stand-ins (Hugging Face's order).
Encoding: merge the pair of lowest rank, leftmost first, until no pair is in the list.
Special tokens are found first (leftmost, the longest of those beginning there), are hard boundaries, are never counted.
What other people's tokenizers do beside that is in rules.py: the stretches between special tokens are composed (NFC),
and a word that is a token is not merged.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from weightless.tokenizer.patterns import PATTERNS, byte_characters
from weightless.tokenizer.rules import NFC, Rules


def split_special(text: bytes, special_tokens: Sequence[str]) -> Iterator[tuple[bytes, bool]]:
    """Yield (piece, is special) in order; the pieces joined are the text."""
    if not special_tokens:
        yield text, False
        return
    longest_first = sorted((token.encode() for token in special_tokens), key=len, reverse=True)
    at = 0
    for match in re.finditer(b"|".join(map(re.escape, longest_first)), text):
        yield text[at : match.start()], False
        yield match.group(), True
        at = match.end()
    yield text[at:], False


def words(text: bytes, pattern: str) -> Iterator[bytes]:
    """The pre-tokens of a text without special tokens."""
    import regex

    if pattern == "none":
        if text:
            yield text
        return
    for match in regex.finditer(PATTERNS[pattern], text.decode("utf-8", "surrogateescape")):
        yield match.group().encode("utf-8", "surrogateescape")


def count_words(documents: Iterable[bytes], special_tokens: Sequence[str], pattern: str) -> Counter[bytes]:
    """How often each word occurs outside special tokens."""
    counts: Counter[bytes] = Counter()
    for document in documents:
        for piece, is_special in split_special(document, special_tokens):
            if not is_special:
                counts.update(words(piece, pattern))
    return counts


def train(
    documents: Iterable[bytes],
    vocab_size: int,
    special_tokens: Sequence[str] = ("<|endoftext|>",),
    pattern: str = "gpt2",
    ties: str = "greatest",
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """(vocab, merges): ids 0..255 are the bytes, then the merges in order, then the special tokens."""
    counts = count_words(documents, special_tokens, pattern)
    split_words = {word: [word[i : i + 1] for i in range(len(word))] for word in counts}
    merges: list[tuple[bytes, bytes]] = []
    order = {bytes([byte]): ord(character) for byte, character in enumerate(byte_characters())}
    while 256 + len(merges) + len(special_tokens) < vocab_size:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in split_words.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            break
        most = max(pairs.values())
        tied = [pair for pair, count in pairs.items() if count == most]
        best = max(tied) if ties == "greatest" else min(tied, key=lambda pair: (order[pair[0]], order[pair[1]]))
        order[best[0] + best[1]] = 1000 + len(merges)
        merges.append(best)
        split_words = {word: join_pair(parts, best) for word, parts in split_words.items()}
    tokens = [bytes([byte]) for byte in range(256)] + [a + b for a, b in merges] + [s.encode() for s in special_tokens]
    return dict(enumerate(tokens)), merges


def join_pair(parts: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    """Replace the pair by its concatenation, from left to right."""
    out: list[bytes] = []
    i = 0
    while i < len(parts):
        if tuple(parts[i : i + 2]) == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def encode_word(word: bytes, ranks: dict[tuple[bytes, bytes], int]) -> list[bytes]:
    """Merge the pair of lowest rank, leftmost first, until none is left."""
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        known = [(ranks[pair], i) for i, pair in enumerate(zip(parts, parts[1:])) if pair in ranks]
        if not known:
            return parts
        _, i = min(known)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def encode(
    text: bytes,
    vocab: dict[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: dict[str, int],
    pattern: str = "gpt2",
    rules: Rules | None = None,
) -> list[int]:
    """Token ids of a text, special tokens recognised."""
    rules = rules or Rules()
    special_ids = set(special_tokens.values())
    ids = {token: i for i, token in vocab.items() if i not in special_ids}
    ranks: dict[tuple[bytes, bytes], int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault(pair, rank)
    names = {**special_tokens, **{name: ids[name.encode()] for name in rules.text_tokens}}
    out: list[int] = []
    for piece, is_special in split_special(text, list(names)):
        if is_special:
            out.append(names[piece.decode()])
            continue
        if rules.normaliser == NFC:
            characters = piece.decode("utf-8", "surrogateescape")
            piece = unicodedata.normalize("NFC", characters).encode("utf-8", "surrogateescape")
        for word in words(piece, pattern):
            whole = rules.whole_words and word in ids
            out.extend([ids[word]] if whole else [ids[part] for part in encode_word(word, ranks)])
    return out
