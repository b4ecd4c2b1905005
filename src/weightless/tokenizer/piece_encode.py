"""Encode and decode with a SentencePiece model of the type BPE without the package `sentencepiece`.

    PieceEncoder(model).encode(text) -> ids          .decode(ids) -> text
    PieceEncoder.why_not(model)                      why a model wants the package, or ""

A text is normalised (piece_text.py) and cut before each U+2581; since no piece goes on behind one, a word's ids depend
on the word alone and are kept.  A word's pieces are those of its twin, piece_reference.encode; a character without a
piece becomes its bytes.  Decoding joins pieces, and bytes that are no UTF-8 become U+FFFD one by one; the first space
goes if the model adds one or removes surplus ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import chain, pairwise

import numpy as np

from weightless.tokenizer.piece_file import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    SentencePieceModel,
)
from weightless.tokenizer.piece_text import MARK, Normaliser

MOST_KEPT = 1 << 20
SHORT = 96
UNKNOWN_SURFACE = " \u2047 "


class PieceEncoder:
    """A model's pieces by what they spell, and the words met so far."""

    def __init__(self, model: SentencePieceModel) -> None:
        self.model = model
        self.normaliser = Normaliser(model.charsmap, model.adds_first_space, model.removes_spaces)
        normal = np.flatnonzero(model.types == NORMAL).tolist()
        self.ids = {model.pieces[i]: i for i in normal}
        self.scores = {model.pieces[i]: float(model.scores[i]) for i in normal}
        self.byte_ids = {int(model.pieces[i][3:5], 16): i for i in np.flatnonzero(model.types == BYTE).tolist()}
        self.is_byte = (model.types == BYTE).tolist()
        self.apart = set(np.flatnonzero(np.isin(model.types, (CONTROL, UNKNOWN))).tolist())
        self.shown = [self._surface(i) for i in range(len(model.pieces))]
        self._known: dict[bytes, tuple[int, ...]] = {}

    def _surface(self, i: int) -> bytes:
        """What an id decodes to where no text begins."""
        piece = self.model.pieces[i]
        if i in self.apart:
            return UNKNOWN_SURFACE.encode() if self.model.types[i] == UNKNOWN else b""
        return bytes([int(piece[3:5], 16)]) if self.is_byte[i] else piece.replace(SPACE, " ").encode()

    @staticmethod
    def why_not(model: SentencePieceModel) -> str:
        """Why this model cannot be used here, in words; empty when it can."""
        if model.model_type != "bpe":
            return f"models of the type {model.model_type} are"
        if not model.has_byte_fallback:
            return "models without bytes for characters that have no piece are"
        if np.isin(model.types, (USER_DEFINED, UNUSED)).any():
            return "models with user-defined or unused pieces are"
        if model.space_is_suffix or not model.escapes_spaces:
            return "models that do not write a space as U+2581 before a word are"
        inside = any(SPACE in piece[1:] for piece in model.pieces)
        return "models with pieces of several words are" if inside else ""

    def encode(self, text: bytes) -> list[int]:
        """Ids of a text in UTF-8; what is none becomes U+FFFD."""
        words = self.normaliser.apply(text.decode("utf-8", "replace").encode()).split(MARK)
        first, rest = words[0], words[1:]
        head = self._word(first) if first else ()
        return [*head, *chain.from_iterable(self._word(MARK + word) for word in rest)]

    def _word(self, word: bytes) -> tuple[int, ...]:
        found = self._known.get(word)
        if found is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            found = self._known[word] = self._cut(word.decode())
        return found

    def _cut(self, word: str) -> tuple[int, ...]:
        parts = short_word(word, self.scores) if len(word) <= SHORT else long_word(word, self.scores)
        out: list[int] = []
        for piece in parts:
            i = self.ids.get(piece)
            out += [i] if i is not None else [self.byte_ids[byte] for byte in piece.encode()]
        return tuple(out)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids within the vocabulary."""
        ids = list(ids)
        begins = next((k + 1 for k, i in enumerate(ids) if self.shown[i] != b" "), len(ids))
        head, rest = ids[:begins], ids[begins:]
        if not self.apart.isdisjoint(ids) or any(self.is_byte[i] for i in head):
            return self._one_by_one(ids)
        return self._one_by_one(head) + _utf8(b"".join(map(self.shown.__getitem__, rest)))

    def _one_by_one(self, ids: list[int]) -> str:
        """The same, with marks, and with bytes at the start of the text, which end what may be stripped there."""
        strips = self.model.adds_first_space or self.model.removes_spaces
        parts, waiting, seen_space = [], bytearray(), False
        for i in ids:
            if self.is_byte[i]:
                waiting += self.shown[i]
                continue
            if waiting:
                parts.append(_utf8(waiting))
                waiting = bytearray()
            piece = self.shown[i].decode()
            if strips and not parts and not seen_space and i not in self.apart and piece.startswith(" "):
                piece, seen_space = piece[1:], not self.model.removes_spaces
            parts += [piece] if piece else []
        return "".join([*parts, _utf8(waiting)])


def short_word(word: str, scores: Mapping[str, float]) -> list[str]:
    """The pieces of a word, looking through all pairs for each merge."""
    parts, none = list(word), -math.inf
    pairs = [scores.get(a + b, none) for a, b in pairwise(parts)]
    while pairs and (best := max(pairs)) != none:
        at = pairs.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del pairs[at]
        if at:
            pairs[at - 1] = scores.get(parts[at - 1] + parts[at], none)
        if at < len(pairs):
            pairs[at] = scores.get(parts[at] + parts[at + 1], none)
    return parts


def long_word(word: str, scores: Mapping[str, float]) -> list[str]:
    """The same with a heap of pairs, (-score, place, length), for text without spaces."""
    parts = [*word, ""]
    before, behind = list(range(-1, len(word))), list(range(1, len(word) + 2))
    heap = [(-scores[a + b], at, 2) for at, (a, b) in enumerate(pairwise(word)) if a + b in scores]
    heapify(heap)
    while heap:
        _, at, length = heappop(heap)
        onward = behind[at]
        if not parts[at] or not parts[onward] or len(parts[at]) + len(parts[onward]) != length:
            continue
        parts[at], parts[onward] = parts[at] + parts[onward], ""
        behind[at] = behind[onward]
        before[behind[at]] = at
        for left, right in ((before[at], at), (at, behind[at])):
            pair = parts[left] + parts[right] if left >= 0 and parts[right] else ""
            if pair in scores:
                heappush(heap, (-scores[pair], left, len(pair)))
    return [part for part in parts if part]


def _utf8(content: bytes | bytearray) -> str:
    """Bytes as text; each byte that belongs to no character becomes U+FFFD."""
    text = bytes(content).decode("utf-8", "surrogateescape")
    if not any("\udc80" <= c <= "\udcff" for c in set(text)):
        return text
    return "".join("\ufffd" if "\udc80" <= c <= "\udcff" else c for c in text)
