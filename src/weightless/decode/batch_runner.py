"""Run a packed model over many tokens of many sequences at once: prompts in one go, ragged batches, trees of drafts.

The engine reads every weight once per token.  Here the operators of the same decode program work on a batch of N new
tokens, so a weight is read once for all of them and BLAS does the products:
    forward([(sequence, tokens, parents), …]) -> per item log p (n, V), the distribution AFTER each token
Sequences are ragged and independent; their keys and values lie in a contiguous or a paged cache (kv_cache.py,
paged_cache.py), rounded to the format that the program stores, so that results are those of the engine up to the order
of sums.  With `parents` the new tokens are the nodes of a tree (tree_verification.py): each sees the past, its
ancestors and itself, at position length + depth - 1; then `keep` says which of them stay.  Recurrences go from node to
node; their states are kept per sequence, and per node of a tree until `keep` (recurrent_memory.py).

    begin() -> sequence    fork(sequence)    free(sequence)    keep(sequence, n, also)    tokens(sequence)

Programs with operators that look back otherwise (n-gram walks) run in engine_runner.py behind the same verbs.
Throughput, not bytes: batching changes what a second yields, not what a token touches, and is never put in the ledger.
Errors: ConfigError for ids outside the vocabulary or a sequence longer than the context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.decode.batch_flow import is_foreseen, run_body
from weightless.decode.kv_cache import KVCache
from weightless.decode.paged_cache import PagedKVCache
from weightless.decode.recurrent_memory import RecurrentMemory, States
from weightless.decode.tree_verification import build_tree_mask, checked_parents
from weightless.program.batch import LOG_P
from weightless.program.decoded import Decoded
from weightless.program.operator import has_batch
from weightless.program.operators.attention import Attend, RopeAppend
from weightless.program.program import Program
from weightless.quant.formats import decode_rows, encode_rows

Caches = dict[str, tuple[Any, int]]
LONGEST_TAIL = 8
"""Tokens before the newest that an operator looks up by (`gather_hashed` hashes 8 at most)."""


class Work(NamedTuple):
    """New tokens of one sequence; `parents` None means one after another."""

    sequence: int
    tokens: Sequence[int]
    parents: Sequence[int] | None = None


class _Item(NamedTuple):
    """One piece of work laid out: where its rows are, positions, the last tokens up to each of them, and parents."""

    sequence: int
    rows: slice
    position_N: np.ndarray
    paths: list[list[int]]
    tree: np.ndarray | None
    above: list[int]


class BatchRunner:
    """Batched twin of the engine for programs of lookups, attention, recurrences, feed-forward blocks and a head."""

    def __init__(
        self, program: Program, weights: np.ndarray, dtype: Any = np.float32, paged: bool = False, block_size: int = 16
    ) -> None:
        if odd := unsupported(program):
            raise ConfigError(f"the batched runner has no {odd[0]!r}; use runner_for, which falls back to the engine")
        self.program, self.dtype = program, np.dtype(dtype).type
        self._decoded = Decoded(program.layout, weights, dtype)
        self._caches = _caches(program, self.dtype, paged, block_size)
        self._recurrent = RecurrentMemory()
        self._tokens: dict[int, list[int]] = {}
        self._next = 0

    @property
    def vocab_size(self) -> int:
        return self.program.vocab_size

    @property
    def context(self) -> int:
        """The longest sequence, in tokens."""
        return self.program.context

    @property
    def nbytes(self) -> int:
        """Bytes held for keys and values, and for recurrent states."""
        return sum(cache.nbytes for cache in self._distinct()) + self._recurrent.nbytes

    def begin(self) -> int:
        """A new, empty sequence."""
        self._next += 1
        self._tokens[self._next - 1] = []
        return self._next - 1

    def fork(self, sequence: int) -> int:
        """A copy that goes its own way."""
        twin = self.begin()
        self._tokens[twin] = list(self._tokens[sequence])
        for cache in self._distinct():
            if self._tokens[sequence]:
                cache.fork(sequence, twin)
        self._recurrent.fork(sequence, twin)
        return twin

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        if self._tokens.pop(sequence):
            for cache in self._distinct():
                cache.free(sequence)
        self._recurrent.free(sequence)

    def tokens(self, sequence: int) -> list[int]:
        """What was fed so far (of a tree: every node, until `keep`)."""
        return list(self._tokens[sequence])

    def keep(self, sequence: int, n: int, also: Sequence[int] = ()) -> None:
        """Keep the first `n` tokens, then those at the places `also`; n >= 1."""
        fed = self._tokens[sequence]
        self._recurrent.keep(sequence, also[-1] if also else n - 1, n + len(also))
        for cache in self._distinct():
            cache.keep(sequence, n, also)
        self._tokens[sequence] = [*fed[:n], *(fed[place] for place in also)]

    def forward(self, work: Sequence[Any]) -> list[np.ndarray]:
        """log p (n, V) of each item (a Work, or its fields as a tuple), after each of its tokens."""
        items = self._laid_out([Work(*entry) for entry in work])
        rows = _Rows(self, items)
        run_body(self.program, rows)
        for op in self.program.heads["full"]:
            op.batch(rows)
        for item, snapshots in zip(items, rows.snapshots()):
            self._recurrent.leave(item.sequence, snapshots)
        return [rows.values[LOG_P][item.rows] for item in items]

    def _laid_out(self, work: Sequence[Work]) -> list[_Item]:
        """Rows, positions and paths of all the work; when something is wrong with any of it, nothing has been fed."""
        if len({entry.sequence for entry in work}) < len(work):
            raise ConfigError("a step feeds each sequence once: join its tokens, or feed them in two steps")
        items, start = [], 0
        for sequence, tokens, parents in work:
            past, n = self._tokens[sequence], len(tokens)
            chain = parents is None
            above = list(range(-1, n - 1)) if parents is None else checked_parents(parents)
            if len(above) != n or not n:
                raise ConfigError(
                    f"{n} tokens and {len(above)} parents: a step feeds at least one token, each with one"
                )
            paths: list[list[int]] = []
            for token, parent in zip(tokens, above):
                paths.append([*(paths[parent] if parent >= 0 else past)[-LONGEST_TAIL:], int(token)])
            depth = [1] * n
            for node, parent in enumerate(above):
                depth[node] = depth[parent] + 1 if parent >= 0 else 1
            self._check(tokens, len(past) + max(depth))
            tree = None if chain else build_tree_mask(1, above)[1:, 1:]
            position_N = len(past) - 1 + np.array(depth)
            items.append(_Item(sequence, slice(start, start + n), position_N, paths, tree, above))
            start += n
        for sequence, tokens, _ in work:
            self._tokens[sequence].extend(int(token) for token in tokens)
        return items

    def _check(self, tokens: Sequence[int], length: int) -> None:
        if length > self.context:
            raise ConfigError(f"{length} tokens do not fit the model's context of {self.context}")
        if worst := [token for token in tokens if not 0 <= token < self.vocab_size]:
            raise ConfigError(f"token id {worst[0]} is outside the model's vocabulary of {self.vocab_size}")

    def _distinct(self) -> list[Any]:
        return list({id(cache): cache for cache, _ in self._caches.values()}.values())

    def weight(self, name: str) -> np.ndarray:
        """A whole matrix or vector."""
        return self._decoded.whole(name)

    def rows_of(self, name: str, at: np.ndarray) -> np.ndarray:
        """Single rows of a table, decoded as they are wanted."""
        return self._decoded.rows(name, at)

    def ids(self, name: str) -> np.ndarray:
        """A column of whole numbers."""
        return self._decoded.ids(name)


class _Rows:
    """The new tokens of one step as the operators see them (`program.batch.Batch`)."""

    def __init__(self, runner: BatchRunner, items: Sequence[_Item]) -> None:
        self._runner, self._items, self.dtype = runner, items, runner.dtype
        self.values: dict[str, np.ndarray] = {}
        self.exits_N, self.target_N = np.zeros(0, bool), np.zeros(0, np.int64)
        self.position_N = np.concatenate([item.position_N for item in items])
        self._left: dict[int, States] = {}
        self._made: dict[Any, Any] = {}

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def weight(self, name: str) -> np.ndarray:
        return self._runner.weight(name)

    def rows_of(self, name: str, at: np.ndarray) -> np.ndarray:
        return self._runner.rows_of(name, at)

    def n_rows(self, name: str) -> int:
        return self._runner.program.by_name[name].shape[0]

    def n_columns(self, name: str) -> int:
        return self._runner.program.by_name[name].shape[1]

    def format_of(self, name: str) -> str:
        return self._runner.program.by_name[name].format

    def ids(self, name: str) -> np.ndarray:
        return self._runner.ids(name)

    def last_tokens(self, order: int, pad: int) -> np.ndarray:
        tails = [path[-order:] for item in self._items for path in item.paths]
        return np.array([[pad] * (order - len(tail)) + tail for tail in tails], dtype=np.uint64)

    def fed(self) -> list[list[int]]:
        found: list[list[int]] = []
        for item in self._items:
            tokens = self._runner._tokens[item.sequence]
            past, new = tokens[: len(tokens) - len(item.above)], tokens[len(tokens) - len(item.above) :]
            first = len(found)
            for token, parent in zip(new, item.above):
                found.append([*(found[first + parent] if parent >= 0 else past), token])
        return found

    def append(self, cache: str, kv_NC: np.ndarray, n_kv_heads: int) -> None:
        """f32 rows are left as exact as the batch is; others become what reading them back would give."""
        format = self._runner.program.by_name[cache].format
        if format != "f32":
            stored = encode_rows(kv_NC.astype(np.float32), format)
            kv_NC = decode_rows(stored, format, kv_NC.shape[1]).astype(self.dtype)
        k, v = (z.reshape(len(z), n_kv_heads, -1).transpose(1, 0, 2) for z in np.split(kv_NC, 2, axis=1))
        held, layer = self._runner._caches[cache]
        for item in self._items:
            held.append(item.sequence, layer, k[:, item.rows], v[:, item.rows])

    def attend(self, cache: str, q_NHK: np.ndarray) -> np.ndarray:
        held, layer = self._runner._caches[cache]
        out = np.empty((len(q_NHK), q_NHK.shape[1] * q_NHK.shape[2]), self.dtype)
        for item in self._items:
            a_HTK = held.attend(item.sequence, layer, q_NHK[item.rows].transpose(1, 0, 2), item.tree)
            out[item.rows] = a_HTK.transpose(1, 0, 2).reshape(len(item.paths), -1)
        return out

    def stages(self) -> list[np.ndarray]:
        depth_N = np.concatenate([item.position_N - item.position_N[0] for item in self._items])
        return [np.flatnonzero(depth_N == depth) for depth in range(int(depth_N.max()) + 1)]

    def is_chain(self) -> bool:
        """The compiled recurrences that take a chain in one pass are of float32."""
        return len(self._items) == 1 and self._items[0].tree is None and self.dtype is np.float32

    def recalled(self, state: str, at: np.ndarray) -> np.ndarray:
        shape = self._runner.program.by_name[state].shape
        found = np.zeros((len(at), *shape), self.dtype)
        for i, row in enumerate(at.tolist()):
            states = self._before(row)
            if state in states:
                found[i] = states[state]
        return found

    def _before(self, row: int) -> States:
        """What the row's predecessor left."""
        item = self._item_of(row)
        parent = item.above[row - item.rows.start]
        return self._left[item.rows.start + parent] if parent >= 0 else self._runner._recurrent.last(item.sequence)

    def _item_of(self, row: int) -> _Item:
        return next(item for item in self._items if item.rows.start <= row < item.rows.stop)

    def remember(self, state: str, at: np.ndarray, left_NRC: np.ndarray) -> None:
        """f32 states are left as exact as the batch is; of a chain only the newest is kept."""
        format = self._runner.program.by_name[state].format
        if format != "f32":
            flat = left_NRC.reshape(-1, left_NRC.shape[2]).astype(np.float32)
            left_NRC = decode_rows(encode_rows(flat, format), format, flat.shape[1]).reshape(left_NRC.shape)
        for i, row in enumerate(at.tolist()):
            self._left.setdefault(row, {})[state] = left_NRC[i].astype(self.dtype, copy=False)
            item = self._item_of(row)
            if item.tree is None and row > item.rows.start:
                self._left.get(row - 1, {}).pop(state, None)

    def snapshots(self) -> list[dict[int, States]]:
        """Of every item the states after each token that it can return to, by the token's place in its sequence."""
        found = []
        for item in self._items:
            first = len(self._runner._tokens[item.sequence]) - len(item.above)
            rows = range(item.rows.start, item.rows.stop)
            found.append({first + i: self._left[row] for i, row in enumerate(rows) if self._left.get(row)})
        return found


def unsupported(program: Program) -> list[str]:
    """Names of operators that a batch cannot run."""
    lacking = [op.name for op in (*program.body, *program.heads["full"]) if not has_batch(op)]
    return lacking if is_foreseen(program) else [*lacking, "exit_test"]


def _caches(program: Program, dtype: Any, paged: bool, block_size: int) -> Caches:
    """{tensor: (cache, layer)}: layers of one shape share a cache."""
    shapes: dict[tuple[int, int, int | None], list[str]] = {}
    window = {op.cache: op.window or None for op in program.body if isinstance(op, Attend)}
    for op in program.body:
        if (
            isinstance(op, RopeAppend) and op.queries
        ):  # without queries it is one of the others once more (`batch_flow`)
            shapes.setdefault((op.n_kv_heads, op.d_head, window.get(op.cache)), []).append(op.cache)
    format = "f64" if dtype == np.float64 else "f32"
    found: Caches = {}
    for (n_kv_heads, d_head, seen), names in shapes.items():
        sizes = (len(names), n_kv_heads, d_head)
        cache: Any = KVCache(*sizes, format, seen)
        if paged:
            cache = PagedKVCache(*sizes, block_size, None, format, seen)
        found |= {name: (cache, layer) for layer, name in enumerate(names)}
    return found
