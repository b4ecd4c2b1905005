"""The window's own counts as an operator of the body: they take in the last token, and nothing of a window before.

pairs    per node of the tree, how often the window went left and right; cleared at the first position, which is charged
slots    per context, the tokens that followed it in this window.  None is cleared: a slot says where it was made, and
         counts for a context if at that place of this very window the same context stood (its hash is looked up where
         eight bits of it, which the slot has, are the same).  What an earlier window left
         cannot pass: the first time that a context occurs, its slot is found invalid and made anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from weightless.base.errors import CorruptFileError
from weightless.ops.context_hashes import WordState, context_hash, word_behind
from weightless.ops.count_layout import CODE, DEEP, NEAR_LEVELS, NEAR_PAIRS, RANK, RANKS, TOKEN, WINDOW_SLOT, pair_at
from weightless.ops.count_mixing import MAX_DEPTH
from weightless.program.arena import Arena
from weightless.program.operator import BISECTED, Access, Bounds, Lowered, Place, Tensors, operator
from weightless.program.operators.countmix.reading import MOMENT, TREE, WINDOW, Memory, tokens_needed, window_place
from weightless.program.operators.countmix.shape import Walking, packed_parts

MOST_COUNTED = 255


@operator("countmix_window")
class CountmixWindow(Walking):
    """pairs and slots take the last token in; hashes and words of the position after it.

    `records`: what is known of every token.
    """

    records: str

    def check(self, bounds: Bounds) -> None:
        self._check_window(bounds)
        self._need_bytes(bounds, self.records, TOKEN * bounds.vocab_size, "weight")
        self._needs_words(self.window)

    def state_rows(self, bounds: Bounds) -> Mapping[str, int]:
        n = max(1, len(self.window_parts) * self.n_slots)
        return {self.slots: n * WINDOW_SLOT, self.pairs: 2 * (NEAR_PAIRS + bounds.vocab_size)}

    def decided(self) -> Mapping[int, str]:
        return {MOMENT: self.history, WINDOW: self.pairs, TREE: self.records}

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """`data` = bytes of activations, the window, the tree; without it what a longest path would take."""
        if not data:
            n, words = len(self.window_parts), bool(self.words)
            path = MAX_DEPTH if t > 1 else 0
            slot = RANKS + 4 + 4 * self.n_followers + 6
            window = 2 * path + n * (4 + 4 + slot if t > 1 else 4) + (tensors[self.pairs].nbytes if t == 1 else 0)
            record = 20 * words + (6 + 2 * (MAX_DEPTH - NEAR_LEVELS) if t > 1 else 0)
            data = (4 * (t if t < 8 else 8) + 4 + 24 * words, window, record)
        names = (self.history, self.pairs, self.records)
        return [Access(name, 0, n, False) for name, n in zip(names, data, strict=True) if n]

    def run(self, arena: Arena) -> tuple[int, ...]:
        memory, t = Memory(arena), arena.registers.t
        (token,) = memory.span(self.history, t - 1, 1, MOMENT)
        if t == 1:
            self._clear(memory)
        else:
            self._enter_pairs(memory, token)
            self._enter_lists(memory, t - 2, memory.pair(self.records, TOKEN * token + RANK, TREE))
        state = self._words(memory, t, token) if self.words else WordState()
        self._hash(memory, t, token, state)
        return tuple(memory.spent[register] for register in (MOMENT, WINDOW, TREE))

    def _clear(self, memory: Memory) -> None:
        """Nothing has been counted."""
        memory.put(self.pairs, 0, [0] * memory.arena.tensor(self.pairs).shape[0], WINDOW)

    def _enter_pairs(self, memory: Memory, token: int) -> None:
        """One more on every side that the path took."""
        code = memory.whole(self.records, TOKEN * token + CODE, TREE)
        vocab_size = memory.arena.tensor(self.records).shape[0] // TOKEN
        if not 2 <= code < 2 << MAX_DEPTH:
            raise CorruptFileError(f"token {token} has no path of 1 to {MAX_DEPTH} steps")
        n_steps = code.bit_length() - 1
        for depth in range(n_steps):
            node = 0
            if depth >= NEAR_LEVELS:
                node = memory.pair(self.records, TOKEN * token + DEEP + 2 * (depth - NEAR_LEVELS), TREE)
            if node >= vocab_size:
                raise CorruptFileError(f"the path of token {token} has a node {node}, of which there are {vocab_size}")
            at = 2 * pair_at(code >> (n_steps - depth), depth, node) + (code >> (n_steps - depth - 1) & 1)
            memory.put(self.pairs, at, [min(memory.byte(self.pairs, at, WINDOW) + 1, MOST_COUNTED)], WINDOW)

    def _enter_lists(self, memory: Memory, i: int, rank: int) -> None:
        """One more behind every context of the position before."""
        n, K = len(self.window_parts), self.n_followers
        for w in range(n):
            (h,) = memory.span(self.hashes, i * n + w, 1, WINDOW)
            at, holds = window_place(memory, self, w, i, h)
            counts_at = at + RANKS + 2 * K
            if not holds:
                memory.put(self.slots, at, [i & 255, i >> 8, h & 255, rank & 255, rank >> 8], WINDOW)
                memory.put(self.slots, counts_at, [1, *[0] * (K - 1)], WINDOW)
                continue
            self._count_follower(memory, at + RANKS, counts_at, rank)

    def _count_follower(self, memory: Memory, ranks_at: int, counts_at: int, rank: int) -> None:
        """`kernels.numba.count_tables.count_in`: found, free, or in the place of the last of the least frequent."""
        counts: list[int] = []
        for k in range(self.n_followers):
            n = memory.byte(self.slots, counts_at + k, WINDOW)
            if n == 0:
                memory.put(self.slots, ranks_at + 2 * k, [rank & 255, rank >> 8], WINDOW)
                memory.put(self.slots, counts_at + k, [1], WINDOW)
                return
            counts.append(n)
            if memory.pair(self.slots, ranks_at + 2 * k, WINDOW) == rank:
                self._raise(memory, ranks_at, counts_at, k, counts)
                return
        least = max(k for k in range(len(counts)) if counts[k] == min(counts))
        memory.put(self.slots, ranks_at + 2 * least, [rank & 255, rank >> 8], WINDOW)
        memory.put(self.slots, counts_at + least, [1], WINDOW)

    def _raise(self, memory: Memory, ranks_at: int, counts_at: int, k: int, counts: list[int]) -> None:
        """One more for place k, which changes places with the one ahead where it has more now."""
        n = min(counts[k] + 1, MOST_COUNTED)
        if k == 0 or n <= counts[k - 1]:
            memory.put(self.slots, counts_at + k, [n], WINDOW)
            return
        ranks = memory.peek(self.slots, ranks_at + 2 * (k - 1), 4)
        memory.put(self.slots, counts_at + k - 1, [n, counts[k - 1]], WINDOW)
        memory.put(self.slots, ranks_at + 2 * (k - 1), [*ranks[2:], *ranks[:2]], WINDOW)

    def _words(self, memory: Memory, t: int, token: int) -> WordState:
        state = WordState(*memory.span(self.words, 0, 3, MOMENT)) if t > 1 else WordState()
        state = word_behind(state, [memory.whole(self.records, TOKEN * token + 4 * k, TREE) for k in range(5)])
        memory.put_span(self.words, 0, list(state), MOMENT)
        return state

    def _hash(self, memory: Memory, t: int, token: int, state: WordState) -> None:
        n = len(self.window_parts)
        if n == 0:
            return
        bits = tokens_needed(self.window_parts)
        tokens = [
            memory.span(self.history, t - back, 1, MOMENT)[0] if bits >> (back - 1) & 1 else -1
            for back in range(min(bits.bit_length(), t), 1, -1)
        ]
        found = [context_hash(parts, [*tokens, token], state) >> 32 for parts in self.window_parts]
        memory.put_span(self.hashes, (t - 1) * n, found, WINDOW)

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        return Lowered([*self.window_operands(places), places[self.records].offset, *packed_parts(self.window_parts)])

    def flops(self, tensors: Tensors, t: int) -> int:
        return 0

    def kept(self) -> tuple[str, ...]:
        return (self.pairs, self.slots, self.hashes, *([self.words] if self.words else []))

    def indifferent(self) -> list[tuple[str, str, int]]:
        searched = (self.slots, self.hashes, self.history, self.records)
        return [(BISECTED, name, 0) for name in searched]
