"""A key-value cache in blocks that sequences share (after vLLM, Kwon et al. 2023).

A block holds `block_size` positions of all layers.  A sequence is a table of block numbers; position p lies in block
table[p // block_size], slot p % block_size.  Each block counts the tables that name it:
    fork        copies the table and counts up: no key moves
    append      into a block that others name too: the block is copied first (copy on write)
    free        counts down; a block that nobody names is free again, or, when it is remembered, may be evicted

Prefix reuse.  remember(sequence, tokens) files every full block under hash(hash of the block before, its tokens); a
later resume(tokens) begins a sequence with the longest run of remembered blocks, so a shared system prompt is computed
once. Remembered blocks that nobody names stay until room is needed: least recently used first, and of one text its end
before its beginning, which alone makes the end findable.

Waste is at most block_size - 1 positions per sequence (a contiguous cache that doubles wastes up to half).  With a
window, blocks that no query can see any more are given back.  `n_blocks` fixes the memory (CacheFull when it is used
up, nothing changed); None lets it double.  `poison` fills blocks that become free with NaN, so that a read past the
end shows. The rest of the interface, and what it raises: kv_cache.py.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError, WeightlessError
from weightless.decode.cache_attention import Piece, attend_pieces
from weightless.decode.kv_cache import CacheShape, checked_kept, is_new
from weightless.decode.kv_storage import Storage
from weightless.ops.arguments import whole_number, whole_numbers

GONE = -1  # a table entry whose block the window has left behind


class CacheFull(WeightlessError):
    """No block is free: finish or free a sequence, or make the cache larger."""


@dataclass
class _Table:
    """One sequence: its blocks in order, and positions per layer."""

    blocks: list[int]
    lengths: list[int]


@dataclass
class PagedKVCache:
    """Keys and values in blocks that sequences share by reference count; attends like `KVCache`, with less waste.

    n_layers     layers, each with keys and values of its own
    n_kv_heads   G, heads of keys and values        d_head   K, the width of a head
    block_size   positions per block; a sequence wastes at most block_size - 1
    n_blocks     how many blocks there are in all (CacheFull when none is left); None lets the memory double
    format       what is stored: f32, f64, f16, or int8 (codes with one float16 scale per vector); results are float64
                 for f64, else float32
    window       None: a position sees everything up to itself; else only the last `window` positions, itself included,
                 and blocks that no query can see any more are given back
    poison       fill blocks that become free with NaN, so that a read past an end shows (for tests)

    `append` keys and values of new positions to a layer, then `attend` with their queries.  Sequences have numbers from
    0 that the caller chooses (a new one begins a sequence) and may differ in length: nothing is padded.  `fork` shares
    every block and copies one only when it is written to.  `remember` files the full blocks of a text, and `resume`
    begins a sequence with the longest beginning that is on file; such blocks stay until room is needed, the least
    recently used go first.

    Raises ArgumentError (a ValueError) for sizes below 1 and an unknown format; the methods raise it for an unknown
    sequence or layer and for arrays that do not fit, and CacheFull when the blocks do not suffice: nothing has changed
    then.
    """

    n_layers: int
    n_kv_heads: int
    d_head: int
    block_size: int = 16
    n_blocks: int | None = None
    format: str = "f32"
    window: int | None = None
    poison: bool = False
    _sequences: dict[int, _Table] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.shape = CacheShape(self.n_layers, self.n_kv_heads, self.d_head, self.format, self.window)
        whole_number("block_size", self.block_size)
        sizes = (self.n_layers, self.n_kv_heads, self.d_head, self.block_size, self.format)
        self.keys, self.values = Storage(*sizes), Storage(*sizes)
        self.references: list[int] = []
        self._free: list[int] = []
        self._hash_of: dict[int, bytes] = {}
        self._remembered: OrderedDict[bytes, int] = OrderedDict()  # least recently used first
        self._next = 0
        if self.n_blocks is not None:
            self._grow(whole_number("n_blocks", self.n_blocks))

    @property
    def sequences(self) -> list[int]:
        """Numbers of the sequences that are there, ascending."""
        return sorted(self._sequences)

    @property
    def nbytes(self) -> int:
        """Bytes held for keys and values, free blocks included."""
        return self.keys.nbytes + self.values.nbytes

    @property
    def nbytes_used(self) -> int:
        """Bytes of the blocks that some sequence names, shared ones once."""
        return self.shape.bytes_of(self.block_size * sum(count > 0 for count in self.references))

    @property
    def n_free_blocks(self) -> int:
        """Blocks that could be handed out: free ones, and remembered ones that nobody names."""
        return len(self._free) + sum(self.references[block] == 0 for block in self._remembered.values())

    def length(self, sequence: int) -> int:
        """Positions of `sequence` that every layer has; ArgumentError (a ValueError) when it is unknown."""
        return min(self._found(sequence).lengths)

    def block_table(self, sequence: int) -> list[int]:
        """Block numbers of `sequence` in order; -1 where the window has left a block behind.  ArgumentError when it is
        unknown.
        """
        return list(self._found(sequence).blocks)

    def append(self, sequence: int, layer: int, k_HTK: Any, v_HTK: Any) -> None:
        """Add T new positions to one layer of a sequence; an unknown sequence begins with them.

        sequence   its number, from 0        layer   0 .. n_layers - 1
        k_HTK      keys (G, T, K), v_HTK values (G, T, K): floats, finite, within what the format holds

        Append to every layer before the next positions come; the order of layers does not matter.

        Raises ArgumentError (a ValueError) for shapes that do not fit, NaN, numbers too large for the format, an
        unknown layer, a sequence that is no number; CacheFull when the blocks do not suffice; nothing has changed then.
        """
        layer = self.shape.checked_layer(layer)
        k, v = self.shape.checked_kv(k_HTK, v_HTK)
        begins = is_new(sequence, self._sequences)
        table = self._begin(sequence) if begins else self._sequences[sequence]
        self._leave_behind(table)  # before: the new positions have yet to look back
        first, stop = table.lengths[layer], table.lengths[layer] + k.shape[1]
        try:
            self._own(table, first, stop)
        except CacheFull:
            if begins:
                del self._sequences[sequence]
            raise
        for block, slot, position, n in self._spans(table, first, stop):
            part = slice(position - first, position - first + n)
            self.keys.write(layer, block, slot, k[:, part])
            self.values.write(layer, block, slot, v[:, part])
        table.lengths[layer] = stop

    def attend(self, sequence: int, layer: int, q_HTK: Any, tree: Any = None) -> np.ndarray:
        """The T newest positions of a layer against everything up to their own: output (H, T, K).

        sequence   its number        layer   0 .. n_layers - 1
        q_HTK      queries (H, T, K) of the newest T positions, whose keys and values have been appended; H is a
                   multiple of the G heads of keys, and head h reads head h // (H / G).  Scores are divided by sqrt(K)
        tree       None: position t sees those up to itself; else bool (T, T), True = sees, among the newest T positions
                   when they are the nodes of a drafted tree (everything older is seen that the window of a node sees)

        float64 where the cache's format is f64, else float32.

        Raises ArgumentError (a ValueError) for an unknown sequence or layer, shapes that do not fit, NaN, more queries
        than positions, a tree in which a node does not see itself, and queries older than what a window has kept.
        """
        table, layer = self._found(sequence), self.shape.checked_layer(layer)
        n_keys = table.lengths[layer]
        q = self.shape.checked_q(q_HTK, n_keys)
        tree = self.shape.checked_tree(tree, q.shape[1])
        oldest = 0 if self.window is None else max(0, n_keys - q.shape[1] - self.window + 1)
        if any(table.blocks[p] == GONE for p in range(oldest // self.block_size, -(-n_keys // self.block_size))):
            raise ArgumentError(f"q_HTK of shape {q.shape} looks back past what the window of {self.window} has kept")
        return attend_pieces(q, self._pieces(table, layer, oldest, n_keys), n_keys, self.n_kv_heads, self.window, tree)

    def fork(self, sequence: int, into: int | None = None) -> int:
        """A new sequence with the same past, sharing every block with it; returns its number.

        `sequence` is copied; `into` is the number of the new one, or None to let the cache choose.  Both go their own
        way. Raises ArgumentError (a ValueError) when `sequence` is unknown or `into` is there already.
        """
        table = self._found(sequence)
        twin = self._unused() if into is None else into
        if twin in self._sequences:
            raise ArgumentError(f"sequence {twin} is in the cache already; it holds {self.sequences}")
        copy = self._begin(twin)
        copy.blocks, copy.lengths = list(table.blocks), list(table.lengths)
        for block in table.blocks:
            if block != GONE:
                self.references[block] += 1
        return twin

    def free(self, sequence: int) -> None:
        """Forget `sequence`; its blocks are free when nobody else names them.  ArgumentError (a ValueError) when it is
        unknown.
        """
        for block in self._found(sequence).blocks:
            self._release(block)
        del self._sequences[sequence]

    def keep(self, sequence: int, n: int, also: Sequence[int] = ()) -> None:
        """Cut a sequence back, in all layers: keep its first `n` positions, then those of `also`, moved up behind them.

        `sequence` is its number; `also` ascends and lies from n on (the accepted nodes of a tree, for example).  Every
        layer must have the positions.  Raises ArgumentError (a ValueError) for an unknown sequence and for positions
        that are not there or do not ascend. CacheFull when a shared block has to be copied and none is free.
        """
        table = self._found(sequence)
        dropped = self.block_size * sum(block == GONE for block in table.blocks)
        chosen = checked_kept(n, also, min(table.lengths), dropped)
        if chosen:
            self._own(table, n, n + len(chosen))
        for to, position in enumerate(chosen, start=n):
            self._move(table, position, to)
        table.lengths = [n + len(chosen)] * self.n_layers
        needed = -(-(n + len(chosen)) // self.block_size)
        while len(table.blocks) > needed:
            self._release(table.blocks.pop())

    def remember(self, sequence: int, tokens: Sequence[int]) -> int:
        """File the full blocks of `sequence`, which holds exactly these `tokens`, for `resume`; returns how many are on
        file.

        Raises ArgumentError (a ValueError) for an unknown sequence and for another number of tokens than it has
        positions.
        """
        table, tokens = self._found(sequence), whole_numbers("tokens", tokens)
        if len(tokens) != min(table.lengths):
            raise ArgumentError(f"{len(tokens)} tokens for a sequence of {min(table.lengths)} positions")
        filed: list[bytes] = []
        for block, name in zip(table.blocks, self._names(tokens)):
            if block == GONE:
                break
            filed.append(name)
            if name not in self._remembered and block not in self._hash_of:
                self._remembered[name], self._hash_of[block] = block, name
        self._used(filed)
        return len(filed)

    def resume(self, tokens: Sequence[int]) -> tuple[int, int]:
        """(new sequence, n): a sequence that begins with the longest remembered beginning of `tokens`, n positions
        long.

        Whole blocks are shared, so n is a multiple of the block size (0: nothing is on file), and at least one token is
        left to compute.  Raises ArgumentError (a ValueError) for tokens that are no whole numbers.
        """
        tokens = whole_numbers("tokens", tokens)
        sequence, names = self._unused(), []
        for name in self._names(tokens[: max(0, len(tokens) - 1)]):
            if name not in self._remembered:
                break
            names.append(name)
            self.references[self._remembered[name]] += 1
        n = len(names) * self.block_size
        self._sequences[sequence] = _Table([self._remembered[name] for name in names], [n] * self.n_layers)
        self._used(names)
        return sequence, n

    def _used(self, chain: Sequence[bytes]) -> None:
        """These blocks were used just now, the end of the chain before its beginning: without it, it is not found."""
        for name in reversed(chain):
            if name in self._remembered:
                self._remembered.move_to_end(name)

    def _names(self, tokens: Sequence[int]) -> Iterator[bytes]:
        """The chained hash of each full block of tokens."""
        name = b""
        for start in range(0, len(tokens) - self.block_size + 1, self.block_size):
            part = np.asarray(tokens[start : start + self.block_size], dtype=np.int64).tobytes()
            name = hashlib.sha256(name + part).digest()
            yield name

    def _unused(self) -> int:
        while self._next in self._sequences:
            self._next += 1
        self._next += 1
        return self._next - 1

    def _begin(self, sequence: int) -> _Table:
        return self._sequences.setdefault(whole_number("sequence", sequence, 0), _Table([], [0] * self.n_layers))

    def _found(self, sequence: int) -> _Table:
        if not isinstance(sequence, (int, np.integer)) or sequence not in self._sequences:
            raise ArgumentError(f"sequence {sequence!r} is not in the cache; it holds {self.sequences}")
        return self._sequences[sequence]

    def _own(self, table: _Table, first: int, stop: int) -> None:
        """Let `table` alone name the blocks of positions first … stop - 1: new ones, and copies of shared ones."""
        last = -(-stop // self.block_size)
        shared = [
            i
            for i in range(first // self.block_size, min(last, len(table.blocks)))
            if self.references[table.blocks[i]] > 1
        ]
        wanted = len(shared) + max(0, last - len(table.blocks))
        if wanted > self.n_free_blocks and self.n_blocks is not None:
            found = f"{wanted} blocks of {self.block_size} positions are wanted, {self.n_free_blocks} are free"
            raise CacheFull(f"{found}; free a sequence, or make the cache with more n_blocks")
        for i in shared:
            old, new = table.blocks[i], self._take()
            self.keys.copy_block(old, new)
            self.values.copy_block(old, new)
            self._release(old)
            table.blocks[i] = new
        while len(table.blocks) < last:
            table.blocks.append(self._take())
        for i in range(first // self.block_size, last):  # what is written no longer is what was remembered
            self._forget(table.blocks[i])

    def _take(self) -> int:
        """A block for one owner: a free one, else the least recently used remembered one, else new memory."""
        if not self._free:
            unnamed = next((b for b in self._remembered.values() if self.references[b] == 0), None)
            if unnamed is None:
                self._grow(max(4, 2 * self.keys.n_blocks))
            else:
                self._forget(unnamed)
                self._free.append(unnamed)
        block = self._free.pop()
        self.references[block] = 1
        return block

    def _grow(self, n_blocks: int) -> None:
        old = self.keys.n_blocks
        for store in (self.keys, self.values):
            store.resize(n_blocks)
        self.references += [0] * (n_blocks - old)
        self._free += range(n_blocks - 1, old - 1, -1)
        if self.poison:
            self._poison(range(old, n_blocks))

    def _release(self, block: int) -> None:
        if block == GONE:
            return
        self.references[block] -= 1
        if self.references[block] == 0 and block not in self._hash_of:
            self._free.append(block)
            if self.poison:
                self._poison([block])

    def _forget(self, block: int) -> None:
        if block in self._hash_of:
            del self._remembered[self._hash_of.pop(block)]

    def _poison(self, blocks: Any) -> None:
        for block in blocks:
            for store in (self.keys, self.values):
                store.fill(block, np.nan)

    def _leave_behind(self, table: _Table) -> None:
        """Give back the blocks that lie before every window of a position still to come."""
        if self.window is None:
            return
        for i in range(max(0, min(table.lengths) - self.window) // self.block_size):
            if table.blocks[i] != GONE:
                self._release(table.blocks[i])
                table.blocks[i] = GONE

    def _spans(self, table: _Table, first: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """(block, slot, position, how many) for the positions first … stop - 1."""
        position = first
        while position < stop:
            slot = position % self.block_size
            n = min(self.block_size - slot, stop - position)
            yield table.blocks[position // self.block_size], slot, position, n
            position += n

    def _pieces(self, table: _Table, layer: int, oldest: int, n_keys: int) -> Iterator[Piece]:
        for block, slot, position, n in self._spans(table, oldest, n_keys):
            keys, values = (store.read(layer, block, slot, slot + n) for store in (self.keys, self.values))
            yield position, keys, values

    def _move(self, table: _Table, position: int, to: int) -> None:
        (source, slot, _, _), (target, place, _, _) = (next(self._spans(table, p, p + 1)) for p in (position, to))
        for store in (self.keys, self.values):
            for array in (store.values, store.scales):
                array[:, target, :, place] = array[:, source, :, slot]
