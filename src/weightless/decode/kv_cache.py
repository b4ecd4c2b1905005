"""A key-value cache whose sequences each lie in one piece, and the interface that every cache has.

    append(sequence, layer, k_HTK, v_HTK)    T new positions of one layer; an unknown sequence begins
    attend(sequence, layer, q_HTK)           the T newest positions against everything up to their own: [H, T, K]
    fork(sequence) -> sequence               a copy that goes its own way             free(sequence)
    length(sequence)   keep(sequence, n, also)   cut back, for drafted tokens that were refused
    nbytes             bytes held             nbytes_used = 2 L G (D b + scales) sum of lengths

Keys are stored as they come: rotate them by their absolute positions first (RoPE), once, when they are appended.
Heads in `append` are key-value heads (G); `attend` takes any multiple of them (grouped queries).  Sequences are ragged:
nothing is padded, so nothing padded can leak.  Appending doubles the room when it runs out: O(1) copies per position
in the long run.  With a window only the last `window` positions are seen, and older ones are dropped when the room is
half dead.

Bytes grow by 2 L G D b per position and sequence: 48 layers of 25 heads of 64 in fp16 are 307 kB per token, 315 MB at
1,024. On a GPU: one thread block per (sequence, head), keys read once, coalesced along D; paged_cache.py removes the
slack of doubling and shares what sequences have in common.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weightless.base.errors import ArgumentError
from weightless.decode.cache_attention import attend_pieces
from weightless.decode.kv_storage import LARGEST, Storage
from weightless.ops.arguments import finite, float_array, whole_number, whole_numbers

FIRST_ROOM = 16


@dataclass
class CacheShape:
    """What every sequence of a cache has in common."""

    n_layers: int
    n_kv_heads: int
    d_head: int
    format: str = "f32"
    window: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_layers", "n_kv_heads", "d_head"):
            whole_number(name, getattr(self, name))
        if self.window is not None:
            whole_number("window", self.window)
        Storage(1, 1, 1, 1, self.format)  # refuses an unknown format
        self.work = np.float64 if self.format == "f64" else np.float32

    def checked_layer(self, layer: Any) -> int:
        """A layer index of this cache."""
        if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)) or not 0 <= layer < self.n_layers:
            raise ArgumentError(f"layer should be one of 0..{self.n_layers - 1}, not {layer!r}")
        return int(layer)

    def checked_kv(self, k_HTK: Any, v_HTK: Any) -> tuple[np.ndarray, np.ndarray]:
        """New keys and values, (G, T, K) each."""
        k, v = (finite(name, float_array(name, x, "HTK")) for name, x in (("k_HTK", k_HTK), ("v_HTK", v_HTK)))
        wanted = f"({self.n_kv_heads}, T, {self.d_head})"
        for name, array in (("k_HTK", k), ("v_HTK", v)):
            if array.shape[::2] != (self.n_kv_heads, self.d_head) or array.shape != k.shape:
                raise ArgumentError(f"{name} of shape {array.shape} should have the shape {wanted}, k and v alike")
            if (size := np.abs(array).max()) > LARGEST[self.format]:
                raise ArgumentError(f"{name} of shape {array.shape} holds {size:.4g}, too much for {self.format}")
        return k, v

    def checked_q(self, q_HTK: Any, n_keys: int) -> np.ndarray:
        """Queries (H, T, K) in the working type."""
        q = finite("q_HTK", float_array("q_HTK", q_HTK, "HTK"))
        if q.shape[0] % self.n_kv_heads or q.shape[2] != self.d_head:
            wanted = f"a multiple of {self.n_kv_heads} heads and width {self.d_head}"
            raise ArgumentError(f"q_HTK of shape {q.shape} should have {wanted}")
        if q.shape[1] > n_keys:
            raise ArgumentError(
                f"q_HTK of shape {q.shape} asks for {q.shape[1]} positions, but the cache holds {n_keys}"
            )
        return q.astype(self.work, copy=False)

    def checked_tree(self, tree: Any, T: int) -> np.ndarray | None:
        """The mask among the newest positions, (T, T) bool."""
        if tree is None:
            return None
        tree = np.asarray(tree)
        if tree.dtype != bool or tree.shape != (T, T):
            raise ArgumentError(f"tree should be bool of shape {(T, T)}, not {tree.shape}")
        if not tree.diagonal().all():
            raise ArgumentError(f"tree of shape {tree.shape}: every node should attend to itself")
        return tree

    def bytes_of(self, n_positions: int) -> int:
        """Bytes that so many positions need, over all layers."""
        per_vector = self.d_head * Storage(1, 1, 1, 1, self.format).values.itemsize + 2 * (self.format == "int8")
        return 2 * self.n_layers * self.n_kv_heads * per_vector * n_positions


@dataclass
class _Piece:
    """One sequence: its store, positions per layer, and how many of the oldest were dropped (window)."""

    keys: Storage
    values: Storage
    lengths: list[int]
    dropped: int = 0


@dataclass
class KVCache:
    """Keys and values of any number of sequences, each in one piece that doubles when it is full.

    n_layers     layers, each with keys and values of its own
    n_kv_heads   G, heads of keys and values        d_head   K, the width of a head
    format       what is stored: f32, f64, f16, or int8 (codes with one float16 scale per vector); results are float64
                 for f64, else float32
    window       None: a position sees everything up to itself; else only the last `window` positions, itself included,
                 and older ones are dropped

    `append` keys and values of new positions to a layer, then `attend` with their queries.  Sequences have numbers from
    0 that the caller chooses (a new one begins a sequence) and may differ in length: nothing is padded.  Keys are
    stored as they come, so rotate them by their absolute positions first.  `fork` copies a sequence, `keep` cuts one
    back, `free` forgets one; `nbytes` and `nbytes_used` count memory.

    Raises ArgumentError (a ValueError) for sizes below 1 and an unknown format; the methods raise it for an unknown
    sequence or layer and for arrays that do not fit, and then nothing has changed.
    """

    n_layers: int
    n_kv_heads: int
    d_head: int
    format: str = "f32"
    window: int | None = None
    _sequences: dict[int, _Piece] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.shape = CacheShape(self.n_layers, self.n_kv_heads, self.d_head, self.format, self.window)
        self._next = 0

    @property
    def sequences(self) -> list[int]:
        """Numbers of the sequences that are there, ascending."""
        return sorted(self._sequences)

    @property
    def nbytes(self) -> int:
        """Bytes held for keys and values, free room included."""
        return sum(piece.keys.nbytes + piece.values.nbytes for piece in self._sequences.values())

    @property
    def nbytes_used(self) -> int:
        """Bytes of the positions that are there."""
        return sum(self.shape.bytes_of(max(p.lengths) - p.dropped) for p in self._sequences.values())

    def length(self, sequence: int) -> int:
        """Positions of `sequence` that every layer has, those a window has dropped included; ArgumentError (a
        ValueError) when it is unknown.
        """
        return min(self._found(sequence).lengths)

    def append(self, sequence: int, layer: int, k_HTK: Any, v_HTK: Any) -> None:
        """Add T new positions to one layer of a sequence; an unknown sequence begins with them.

        sequence   its number, from 0        layer   0 .. n_layers - 1
        k_HTK      keys (G, T, K), v_HTK values (G, T, K): floats, finite, within what the format holds

        Append to every layer before the next positions come; the order of layers does not matter.

        Raises ArgumentError (a ValueError) for shapes that do not fit, NaN, numbers too large for the format, an
        unknown layer, a sequence that is no number; nothing has changed then.
        """
        layer = self.shape.checked_layer(layer)
        k, v = self.shape.checked_kv(k_HTK, v_HTK)
        piece = self._begin(sequence) if is_new(sequence, self._sequences) else self._sequences[sequence]
        self._make_room(piece, piece.lengths[layer] + k.shape[1])
        slot = piece.lengths[layer] - piece.dropped
        piece.keys.write(layer, 0, slot, k)
        piece.values.write(layer, 0, slot, v)
        piece.lengths[layer] += k.shape[1]

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
        piece, layer = self._found(sequence), self.shape.checked_layer(layer)
        n_keys = piece.lengths[layer]
        q = self.shape.checked_q(q_HTK, n_keys)
        tree = self.shape.checked_tree(tree, q.shape[1])
        if self.window is not None and piece.dropped > max(0, n_keys - q.shape[1] - self.window + 1):
            raise ArgumentError(f"q_HTK of shape {q.shape} looks back past what the window of {self.window} has kept")
        stop = n_keys - piece.dropped
        parts = [(piece.dropped, piece.keys.read(layer, 0, 0, stop), piece.values.read(layer, 0, 0, stop))]
        return attend_pieces(q, parts, n_keys, self.n_kv_heads, self.window, tree)

    def fork(self, sequence: int, into: int | None = None) -> int:
        """A new sequence with the same past, copied; returns its number.

        `sequence` is copied; `into` is the number of the new one, or None to let the cache choose.  Both go their own
        way. Raises ArgumentError (a ValueError) when `sequence` is unknown or `into` is there already.
        """
        piece = self._found(sequence)
        number = self._unused() if into is None else into
        if number in self._sequences:
            raise ArgumentError(f"sequence {number} is in the cache already; it holds {self.sequences}")
        twin = self._begin(number)
        for mine, other in ((twin.keys, piece.keys), (twin.values, piece.values)):
            mine.values, mine.scales = other.values.copy(), other.scales.copy()
            mine.block_size = other.block_size
        twin.lengths, twin.dropped = list(piece.lengths), piece.dropped
        return number

    def free(self, sequence: int) -> None:
        """Forget `sequence` and give its memory back; ArgumentError (a ValueError) when there is none such."""
        self._found(sequence)
        del self._sequences[sequence]

    def keep(self, sequence: int, n: int, also: Sequence[int] = ()) -> None:
        """Cut a sequence back, in all layers: keep its first `n` positions, then those of `also`, moved up behind them.

        `sequence` is its number; `also` ascends and lies from n on (the accepted nodes of a tree, for example).  Every
        layer must have the positions.  Raises ArgumentError (a ValueError) for an unknown sequence and for positions
        that are not there or do not ascend.
        """
        piece = self._found(sequence)
        chosen = checked_kept(n, also, min(piece.lengths), piece.dropped)
        for store in (piece.keys, piece.values):
            for to, position in enumerate(chosen, start=n):
                for array in (store.values, store.scales):
                    array[:, 0, :, to - piece.dropped] = array[:, 0, :, position - piece.dropped]
        piece.lengths = [n + len(chosen)] * self.n_layers

    def _unused(self) -> int:
        while self._next in self._sequences:
            self._next += 1
        self._next += 1
        return self._next - 1

    def _begin(self, sequence: int) -> _Piece:
        stores = [Storage(self.n_layers, self.n_kv_heads, self.d_head, FIRST_ROOM, self.format) for _ in range(2)]
        for store in stores:
            store.resize(1)
        piece = _Piece(stores[0], stores[1], [0] * self.n_layers)
        self._sequences[whole_number("sequence", sequence, 0)] = piece
        return piece

    def _found(self, sequence: int) -> _Piece:
        if not isinstance(sequence, (int, np.integer)) or sequence not in self._sequences:
            raise ArgumentError(f"sequence {sequence!r} is not in the cache; it holds {self.sequences}")
        return self._sequences[sequence]

    def _make_room(self, piece: _Piece, wanted: int) -> None:
        """Room for `wanted` positions: drop what the window has left behind, then double."""
        room = piece.keys.block_size
        if self.window is not None and wanted - piece.dropped > room:
            self._drop(piece, min(piece.lengths) - self.window)
        while wanted - piece.dropped > room:
            room *= 2
        if room != piece.keys.block_size:
            for store in (piece.keys, piece.values):
                _widen(store, room)

    def _drop(self, piece: _Piece, until: int) -> None:
        """Forget the positions before `until`; those that some query may still see are moved to the front."""
        gone = until - piece.dropped
        if gone <= 0:
            return
        for store in (piece.keys, piece.values):
            for array in (store.values, store.scales):
                array[:, :, :, : array.shape[3] - gone] = array[:, :, :, gone:].copy()
        piece.dropped = until


def is_new(sequence: Any, there: Container[int]) -> bool:
    """Whether a number is to begin a sequence; ArgumentError when it is no number."""
    return whole_number("sequence", sequence, 0) not in there


def checked_kept(n: int, also: Sequence[int], length: int, dropped: int) -> list[int]:
    """The positions to keep behind the first `n`, or ArgumentError."""
    n, chosen = whole_number("n", n, 0), whole_numbers("also", also)
    ascending = all(a < b for a, b in zip([n - 1, *chosen], chosen))
    if not dropped <= n <= length or not ascending or (chosen and chosen[-1] >= length):
        raise ArgumentError(f"keep({n}, {chosen}): positions should ascend and lie in {dropped}..{length - 1}")
    return chosen


def _widen(store: Storage, room: int) -> None:
    """A longer single block."""
    old_values, old_scales = store.values, store.scales
    store.values = np.zeros((*old_values.shape[:3], room, old_values.shape[4]), old_values.dtype)
    store.scales = np.zeros((*old_scales.shape[:3], room), old_scales.dtype)
    store.values[:, :, :, : old_values.shape[3]] = old_values
    store.scales[:, :, :, : old_scales.shape[3]] = old_scales
    store.block_size = room
