"""What the operators of count mixing share: which tensors there are, and what must fit (`ops/count_layout.py`).

A node is named by the first rank on its right side; a child must lie between its parent's ends, so that whatever a
file holds, a walk ends at a token, and every token is reached in one way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from weightless.base.errors import ConfigError
from weightless.ops.context_hashes import ContextParts, context_parts
from weightless.ops.count_layout import MAX_VOCAB, MOST_FOLLOWERS, NEAR_PAIRS, WINDOW_SLOT
from weightless.program.operator import Bounds, Operator, Place, need, need_history


def numbers(text: str) -> list[int]:
    """Whole numbers of a field."""
    return [int(word) for word in text.split()]


def packed_parts(parts: Sequence[ContextParts]) -> list[int]:
    """Contexts as operands: bits of the tokens, and above them those of the words."""
    return [part.tokens | part.words << 8 for part in parts]


@dataclass(frozen=True)
class Walking(Operator):
    """Fields of all of them.  `words` is empty where no context is made of words.

    window: contexts by name, with a space between.
    """

    history: str
    words: str
    hashes: str
    slots: str
    pairs: str
    window: str
    n_slots: int
    n_followers: int

    @cached_property
    def window_parts(self) -> list[ContextParts]:
        return [context_parts(name) for name in self.window.split()]

    def window_operands(self, places: Mapping[str, Place]) -> list[int]:
        """What every compiled twin begins with."""
        names = (self.history, self.hashes, self.slots, self.pairs)
        words = places[self.words].offset if self.words else -1
        vocab_size = places[self.pairs].tensor.shape[0] // 2 - NEAR_PAIRS
        sizes = [vocab_size, len(self.window_parts), self.n_slots, self.n_followers]
        return [*(places[name].offset for name in names), words, *sizes]

    def _check_window(self, bounds: Bounds) -> None:
        tensors, vocab_size = bounds.tensors, bounds.vocab_size
        need(vocab_size <= MAX_VOCAB, self, f"a vocabulary of {vocab_size} is above {MAX_VOCAB}")
        need(bounds.context < MAX_VOCAB, self, f"a context of {bounds.context} is not below {MAX_VOCAB}")
        need_history(self, bounds, self.history)
        self._need_bytes(bounds, self.pairs, 2 * (NEAR_PAIRS + vocab_size), "state")
        n = len(_parts(self, self.window))
        need(1 <= self.n_followers <= MOST_FOLLOWERS, self, f"{self.n_followers} followers do not fit a slot")
        need(1 <= self.n_slots <= 2**20, self, f"{self.n_slots} slots of a window are too many or none")
        self._need_bytes(bounds, self.slots, max(1, n * self.n_slots) * WINDOW_SLOT, "state")
        hashes = tensors[self.hashes]
        fits = hashes.shape == (1, max(1, n * bounds.context)) and hashes.format == "u32" and hashes.kind == "state"
        need(fits, self, f"{self.hashes} should hold {n} hashes for every position")
        if self.words:
            words = tensors[self.words]
            need(words.shape == (1, 3) and words.format == "u32" and words.kind == "state", self, "words are three u32")

    def _need_bytes(self, bounds: Bounds, name: str, n: int, kind: str) -> None:
        """A column of so many bytes."""
        tensor = bounds.tensors[name]
        fits = tensor.shape == (n, 1) and tensor.format == "u8" and not tensor.by_row
        need(fits and (tensor.kind == "state") == (kind == "state"), self, f"{name} should be a column of {n} bytes")

    def _need_ids(self, bounds: Bounds, name: str) -> None:
        tensor = bounds.tensors[name]
        fits = tensor.shape == (bounds.vocab_size, 1) and tensor.format == "u16" and tensor.kind != "state"
        need(fits and not tensor.by_row, self, f"{name} should be a column of {bounds.vocab_size} u16")

    def _needs_words(self, names: str) -> None:
        used = any(parts.words for parts in _parts(self, names))
        need(bool(self.words) or not used, self, "a context of words needs the words")


def _parts(op: object, names: str) -> list[ContextParts]:
    try:
        return [context_parts(name) for name in names.split()]
    except ConfigError as error:
        need(False, op, str(error))
        raise
