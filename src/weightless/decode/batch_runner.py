"""Run a packed model over many tokens of many sequences at once: prompts in one go, ragged batches, trees of drafts.

The engine reads every weight once per token.  Here the operators of the same decode program work on a batch of N new
tokens, so a weight is read once for all of them and BLAS does the products:
    forward([(sequence, tokens, parents), …]) -> per item log p (n, V), the distribution AFTER each token
Sequences are ragged and independent; their keys and values lie in a contiguous or a paged cache (kv_cache.py,
paged_cache.py), rounded to the format that the program stores, so that results are those of the engine up to the order
of sums.  With `parents` the new tokens are the nodes of a tree (tree_verification.py): each sees the past, its
ancestors and itself, at position length + depth - 1; then `keep` says which of them stay.

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
from weightless.decode.kv_cache import KVCache
from weightless.decode.paged_cache import PagedKVCache
from weightless.decode.tree_verification import build_tree_mask, checked_parents
from weightless.kernels.codes import QK_EPS
from weightless.ops.class_head import below
from weightless.ops.cross_entropy import log_softmax
from weightless.ops.feedforward import activate
from weightless.ops.hashing import row_index
from weightless.ops.norm import rms_norm
from weightless.ops.rope import rope
from weightless.program.arena import Arena
from weightless.program.program import Program
from weightless.quant.formats import decode_rows, encode_rows

Caches = dict[str, tuple[Any, int]]


class Work(NamedTuple):
    """New tokens of one sequence; `parents` None means one after another."""

    sequence: int
    tokens: Sequence[int]
    parents: Sequence[int] | None = None


class _Item(NamedTuple):
    """One piece of work laid out: where its rows are, positions, and the tokens seen up to each of them."""

    sequence: int
    rows: slice
    position_N: np.ndarray
    paths: list[list[int]]
    tree: np.ndarray | None


class BatchRunner:
    """Batched twin of the engine for programs of lookups, attention, feed-forward blocks and a head."""

    def __init__(
        self, program: Program, weights: np.ndarray, dtype: Any = np.float32, paged: bool = False, block_size: int = 16
    ) -> None:
        if odd := unsupported(program):
            raise ConfigError(f"the batched runner has no {odd[0]!r}; use runner_for, which falls back to the engine")
        self.program, self.dtype = program, np.dtype(dtype).type
        self._arena = Arena(program.layout, weights)
        self._weights: dict[str, np.ndarray] = {}
        self._caches = _caches(program, self.dtype, paged, block_size)
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
        """Bytes held for keys and values."""
        return sum(cache.nbytes for cache in self._distinct())

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
        return twin

    def free(self, sequence: int) -> None:
        """Forget a sequence."""
        if self._tokens.pop(sequence):
            for cache in self._distinct():
                cache.free(sequence)

    def tokens(self, sequence: int) -> list[int]:
        """What was fed so far (of a tree: every node, until `keep`)."""
        return list(self._tokens[sequence])

    def keep(self, sequence: int, n: int, also: Sequence[int] = ()) -> None:
        """Keep the first `n` tokens, then those at the places `also`; n >= 1."""
        fed = self._tokens[sequence]
        for cache in self._distinct():
            cache.keep(sequence, n, also)
        self._tokens[sequence] = [*fed[:n], *(fed[place] for place in also)]

    def forward(self, work: Sequence[Any]) -> list[np.ndarray]:
        """log p (n, V) of each item (a Work, or its fields as a tuple), after each of its tokens."""
        items = self._laid_out([Work(*entry) for entry in work])
        state: dict[str, np.ndarray] = {}
        for op in (*self.program.body, *self.program.heads["full"]):
            STEPS[op.name](self, op, state, items)
        return [state["log p"][item.rows] for item in items]

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
                paths.append([*(paths[parent] if parent >= 0 else past[-8:]), int(token)])
            depth = [1] * n
            for node, parent in enumerate(above):
                depth[node] = depth[parent] + 1 if parent >= 0 else 1
            self._check(tokens, len(past) + max(depth))
            tree = None if chain else build_tree_mask(1, above)[1:, 1:]
            position_N = len(past) - 1 + np.array(depth)
            items.append(_Item(sequence, slice(start, start + n), position_N, paths, tree))
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
        """A whole matrix or vector, decoded once."""
        if name not in self._weights:
            self._weights[name] = self._arena.rows(name).astype(self.dtype, copy=False)
        return self._weights[name]

    def rows_of(self, name: str, at: np.ndarray) -> np.ndarray:
        """Single rows of a table, decoded as they are wanted."""
        return np.stack([self._arena.row(name, int(row)) for row in at]).astype(self.dtype, copy=False)


State = dict[str, np.ndarray]


def times(W: np.ndarray, x_ND: np.ndarray) -> np.ndarray:
    """x W^T [N, rows].  For a few rows of x BLAS is twice as fast the other way round: it walks W as it is stored."""
    if len(x_ND) == 1:
        return x_ND @ W.T
    return np.ascontiguousarray((W @ np.ascontiguousarray(x_ND.T)).T)


def _gather(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    at = np.array([path[-1] for item in items for path in item.paths])
    rows = runner.rows_of(op.table, at)
    if not op.add and state.get(op.x) is None:
        state[op.x] = rows
        return
    there = slice(op.first, op.first + rows.shape[1])
    state[op.x] = state[op.x].copy()
    state[op.x][:, there] = state[op.x][:, there] + rows if op.add else rows


def _gather_position(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    at = np.concatenate([item.position_N for item in items])
    state[op.x] = state[op.x] + runner.rows_of(op.table, at)


def _gather_hashed(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    last = [path[-op.order :] for item in items for path in item.paths]
    tokens = np.array([[op.pad] * (op.order - len(tail)) + tail for tail in last], dtype=np.uint64)
    n_rows = runner.program.by_name[op.table].shape[0]
    at = np.array([int(row_index(row, op.seed, n_rows)) for row in tokens])
    state[op.x] = state[op.x] + runner.rows_of(op.table, at)


def _norm_matvec(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    W = runner.weight(op.weight)
    y = times(W.T if op.transposed else W, _normed(runner, op, state[op.x]))
    state[op.y] = op.softcap * np.tanh(y / op.softcap) if op.softcap else y


def _normed(runner: BatchRunner, op: Any, x_ND: np.ndarray) -> np.ndarray:
    return rms_norm(x_ND, runner.weight(op.norm), op.eps) if op.norm else x_ND


def _joined(runner: BatchRunner, op: Any, x_ND: np.ndarray, branch_ND: np.ndarray) -> np.ndarray:
    """The stream after the branch; see `program.operators.residual`."""
    if op.after and op.on == "branch":
        branch_ND = rms_norm(branch_ND, runner.weight(op.after), op.eps)
    branch_ND = branch_ND * runner.dtype(op.scale)
    if op.gains:
        branch_ND = branch_ND * runner.weight(op.gains)
    x_ND = x_ND + branch_ND
    return rms_norm(x_ND, runner.weight(op.after), op.eps) if op.after and op.on == "sum" else x_ND


def _rope_append(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    n_q, n_kv = op.n_heads * op.d_head, op.n_kv_heads * op.d_head
    position_N = np.concatenate([item.position_N for item in items])
    q, k, v = np.split(state[op.qkv], [n_q, n_q + n_kv], axis=1)
    q, k = (_turned(runner, op, x, norm, position_N) for x, norm in ((q, op.q_norm), (k, op.k_norm)))
    if op.q_gain:
        q = q * runner.weight(op.q_gain).reshape(-1, 1)
    rows = _as_stored(runner, op.cache, np.concatenate([k.reshape(len(k), -1), v], axis=1))
    k, v = (x.reshape(len(x), op.n_kv_heads, op.d_head).transpose(1, 0, 2) for x in np.split(rows, 2, axis=1))
    cache, layer = runner._caches[op.cache]
    for item in items:
        cache.append(item.sequence, layer, k[:, item.rows], v[:, item.rows])
    state[op.qkv] = q


def _turned(runner: BatchRunner, op: Any, x_ND: np.ndarray, norm: str, position_N: np.ndarray) -> np.ndarray:
    heads = x_ND.reshape(len(x_ND), -1, op.d_head)
    if op.qk_norm:
        heads = rms_norm(heads, runner.weight(norm) if norm else None, QK_EPS)
    return heads if op.rotary == "none" else rope(heads, position_N, op.theta, op.rotary)


def _as_stored(runner: BatchRunner, cache: str, rows: np.ndarray) -> np.ndarray:
    """What reading these rows back from the program's cache would give; f32 rows are left as exact as they are."""
    format = runner.program.by_name[cache].format
    if format == "f32":
        return rows
    return decode_rows(encode_rows(rows.astype(np.float32), format), format, rows.shape[1]).astype(runner.dtype)


def _attend(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    cache, layer = runner._caches[op.cache]
    q = state[op.qkv]
    out = np.empty((len(q), op.n_heads * op.d_head), runner.dtype)
    for item in items:
        a_HTK = cache.attend(item.sequence, layer, q[item.rows].transpose(1, 0, 2), item.tree)
        out[item.rows] = a_HTK.transpose(1, 0, 2).reshape(len(item.paths), -1)
    state[op.out] = out


def _matvec_add(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    state[op.x] = _joined(runner, op, state[op.x], times(runner.weight(op.weight), state[op.a]))


def _norm_ffn_add(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    hidden = activate(times(runner.weight(op.up), _normed(runner, op, state[op.x])), op.activation)
    state[op.x] = _joined(runner, op, state[op.x], times(runner.weight(op.down), hidden))


def _logits_full(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    state["log p"] = log_softmax(state[op.logits])


def _class_full(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    state[op.h] = _normed(runner, op, state[op.x])
    state[op.choice] = log_softmax(times(runner.weight(op.classes), state[op.h]))


def _group_full(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    state[op.out] = below(state[op.h], state[op.choice], runner.weight(op.groups), op.n_groups)


def _word_full(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    by_slot = below(state[op.h], state[op.choice], runner.weight(op.words), op.vocab_size)
    log_p = np.empty_like(by_slot)
    log_p[:, runner._arena.rows(op.token_of_slot)[:, 0]] = by_slot
    state["log p"] = log_p


def _nothing(runner: BatchRunner, op: Any, state: State, items: list[_Item]) -> None:
    """The history is kept as lists of tokens."""


STEPS: dict[str, Callable[[BatchRunner, Any, State, list[_Item]], None]] = {
    "accept_token": _nothing,
    "gather_row": _gather,
    "gather_position": _gather_position,
    "gather_hashed": _gather_hashed,
    "norm_matvec": _norm_matvec,
    "rope_append": _rope_append,
    "attend": _attend,
    "matvec_add": _matvec_add,
    "norm_ffn_add": _norm_ffn_add,
    "logits_full": _logits_full,
    "class_full": _class_full,
    "group_full": _group_full,
    "word_full": _word_full,
}


def unsupported(program: Program) -> list[str]:
    """Names of operators that a batch cannot run."""
    return [op.name for op in (*program.body, *program.heads["full"]) if op.name not in STEPS]


def _caches(program: Program, dtype: Any, paged: bool, block_size: int) -> Caches:
    """{tensor: (cache, layer)}: layers of one shape share a cache."""
    shapes: dict[tuple[int, int, int | None], list[str]] = {}
    window = {op.cache: op.window or None for op in program.body if op.name == "attend"}
    for op in program.body:
        if op.name == "rope_append":
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
