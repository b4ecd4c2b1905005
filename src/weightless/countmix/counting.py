"""From a training text to the arrays of a packed model.

    1. a tree over the tokens                                   (tree.py)
    2. documents of about `held_out` tokens are put last        (arranging.py)
    3. count and learn from all but those                       (learning.py)
    4. keep what the budget has room for                        (packing.py)
    5. learn on from what is held out, with what is packed: the mixers meet books that the tables have not seen
    6. count those, too, and pack again, with the mixers of 5

What is learned in the end is rounded to a byte each: maps to logits of 1/16, weights to 1/32, the last sums' to 1/64.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from weightless.base.compiled import PACKAGE, source_key
from weightless.base.errors import ConfigError
from weightless.base.interrupts import Interrupts
from weightless.base.progress import told_if_slow
from weightless.base.saved_work import SavedWork
from weightless.countmix import tree_records
from weightless.countmix.arranging import arranged
from weightless.countmix.learning import Learner, fresh_learned, growing_tables, mixer_rows
from weightless.countmix.packing import Plan, census, packed_tables, plan
from weightless.countmix.saving import COUNTING, COUNTING_THE_REST, LEARNED, Session
from weightless.countmix.shape import Shape
from weightless.countmix.tree import Blocks, Tree, build_tree, group_places, token_counts
from weightless.kernels.numba import count_inputs as fast
from weightless.ops.context_hashes import token_records
from weightless.ops.count_layout import (
    MAPS,
    TOKEN,
    list_places,
    map_sizes,
    mixer_bytes,
    pair_places,
    tree_line,
    weight_places,
)
from weightless.ops.count_mixing import (
    LAST_SHIFT,
    MAP_STEP,
    MIDDLE,
    N_LEVELS,
    WEIGHT_BITS,
    WEIGHT_SHIFT,
)

READ = 1 << 22
OWN_TABLES, PER_TOKEN = 16_384, 10
"""Bytes for the program, the table of sections and what aligns them; for a token in a tokenizer's JSON."""


class Request(NamedTuple):
    """What is asked for: shape, vocabulary, bytes of all that is stored, tokens held out of the counting, and the most
    bytes of the tables while they grow."""

    shape: Shape
    vocab_size: int
    budget: int
    held_out: int
    table_bytes: float = math.inf


class Beside(NamedTuple):
    """A trained model whose word the mixers hear, too.

    blocks: the classes of its head, over which the tree is built.  said_of(tree)(tokens) = int64 [n, MAX_DEPTH], what
    it says at every node of the paths to tokens[1:] of a window that begins with tokens[0].  told(nats): nats per token
    of the text that the mixers are tuned on.  identity: what tells this model from others.
    """

    blocks: Blocks
    said_of: Callable[[Tree], Callable[[np.ndarray], np.ndarray]]
    told: Callable[[float], None]
    identity: str


class Counted(NamedTuple):
    """The packed arrays, the lines of every stretch, bits of the hashes, the tree's root."""

    arrays: dict[str, np.ndarray]
    node_lines: list[int]
    list_lines: list[int]
    bits: tuple[int, int]
    root: int


def count_text(
    request: Request,
    tokens: Any,
    token_bytes: Sequence[bytes] | None,
    show_progress: bool = False,
    saved: SavedWork | None = None,
    beside: Beside | None = None,
) -> Counted:
    """Count, choose, tune, pack; ConfigError when the text is too short or the budget too small.

    `tokens` is read in stretches.  With `saved`, what is counted is kept there, and a count that was killed goes on.
    A model `beside` must not have learned from the tokens that are held out.
    """
    if len(tokens) < 2:
        raise ConfigError(f"{len(tokens)} training tokens have no follower to count: give more text")
    shape, vocab_size = request.shape, request.vocab_size
    with told_if_slow("building the tree over the tokens"):
        tree = build_tree(tokens, vocab_size, beside.blocks if beside else None)
        counts = token_counts(tokens, vocab_size)
    records = token_records(token_bytes if token_bytes is not None else [b""] * vocab_size)
    bits = shape.table_bits(len(tokens), request.table_bytes)
    if show_progress:
        _tell_of_crowding(shape, len(tokens), bits)

    def fresh() -> Learner:
        learned = fresh_learned(shape, tree, counts)
        return Learner(shape, tree, growing_tables(shape, vocab_size, *bits), learned, records)

    room = request.budget - fixed_bytes(shape, vocab_size, token_bytes)
    choice = Choice(tree, room, *group_places(tree, N_LEVELS), beside)
    with Interrupts() if saved else nullcontext() as interrupts:
        session = Session(saved, interrupts)
        learner = session.begin(_identity(request, tokens, records, beside) if saved else {}, fresh, vocab_size)
        text = arranged(tokens, token_bytes, request.held_out)
        _go_over(session, learner, text, text.n_last, choice, show_progress)
    kept, packed = choice.packed(learner)
    arrays = tree_arrays(shape, tree, choice.places, learner.learned, records)
    arrays |= mixer_arrays(shape, vocab_size, learner.learned)
    arrays |= {"counts.nodes": packed.nodes[:, None], "counts.lists": packed.lists[:, None]}
    return Counted(arrays, *_lines(kept), bits, tree.root)


def _tell_of_crowding(shape: Shape, n_tokens: int, bits: tuple[int, int]) -> None:
    """Tables that cannot grow with their text lose contexts, and no error says so."""
    times = shape.crowding(n_tokens, bits)
    if times > 1:
        why = "no table is larger" if bits == shape.table_bits(n_tokens, math.inf) else "tables_gb sets their memory"
        told = f"growing tables: {n_tokens:,} tokens would fill up to {times} times as many buckets ({why})"
        print(f"{told}; contexts that are seen less are pushed out by others", file=sys.stderr, flush=True)


class Choice(NamedTuple):
    """What decides what is kept: the tree, bytes for the tables, number of every node in its group, nodes per group;
    and whom else the mixers hear."""

    tree: Tree
    room: int
    places: np.ndarray
    n_roots: np.ndarray
    beside: Beside | None

    def packed(self, learner: Learner) -> tuple[Plan, fast.Tables]:
        kept = plan(census(learner.tables, len(learner.shape.dense)), self.room, self.n_roots)
        return kept, packed_tables(learner.tables, kept, self.places, learner.learned.stretch)


def _go_over(
    session: Session, learner: Learner, tokens: Any, held_out: int, choice: Choice, show_progress: bool
) -> None:
    """Count and learn, tune on what is held out, count that; each from where an earlier session has come to."""
    n_counted = len(tokens) - held_out
    if session.stage == COUNTING:
        learner.go_over(
            tokens,
            "counting",
            end=n_counted,
            reached=session.reached,
            after=lambda at: session.after(learner, COUNTING, at),
            show_progress=show_progress,
        )
        if held_out > 1:
            _tune(session, learner, tokens, n_counted - 1, choice, show_progress)
    if held_out > 1:
        learner.go_over(
            tokens,
            "counting the rest",
            first=n_counted - 1,
            reached=session.reached if session.stage == COUNTING_THE_REST else None,
            learns=False,
            after=lambda at: session.after(learner, COUNTING_THE_REST, at),
            show_progress=show_progress,
        )


def _tune(session: Session, learner: Learner, tokens: Any, at: int, choice: Choice, show_progress: bool) -> None:
    """The mixers meet text that the tables have not seen.  Who is stopped meanwhile begins the tuning again."""
    before = learner.learned._replace(**{name: getattr(learner.learned, name).copy() for name in LEARNED})
    tuner = Learner(learner.shape, choice.tree, choice.packed(learner)[1], learner.learned, learner.records)
    beside, saves = choice.beside, lambda _: session.after(learner, COUNTING, at, before)
    nats = tuner.tune(tokens, at + 1, show_progress, saves, beside.said_of(choice.tree) if beside else None)
    if beside:
        beside.told(nats)


def _identity(request: Request, tokens: Any, records: np.ndarray, beside: Beside | None) -> dict[str, Any]:
    """What decides a count: all of the text, what is asked for, and the sources that do it."""
    digest = hashlib.sha256(records.tobytes())
    for first in range(0, len(tokens), READ):
        digest.update(np.asarray(tokens[first : first + READ]).astype("<u4").tobytes())
    asked = json.dumps([*request.shape, *request[1:], *([beside.identity] if beside else [])])
    return {"text": digest.hexdigest(), "configuration": asked, "version of the code": source_key(PACKAGE)}


def _lines(kept: Plan) -> tuple[list[int], list[int]]:
    return kept.regions[..., 1].reshape(-1).tolist(), kept.list_regions[..., 1].reshape(-1).tolist()


def tree_arrays(
    shape: Shape, tree: Tree, places: np.ndarray, learned: fast.Learned, records: np.ndarray
) -> dict[str, np.ndarray]:
    """The tree: lines of nodes, both orders of the tokens, what is known of every token."""
    vocab_size = len(tree.rank)
    weights = np.zeros((vocab_size, shape.n_inputs), np.uint8)
    if "node" in shape.mixers:
        weights = mixer_weights(shape, vocab_size, learned)["node"].reshape(weights.shape)
    nodes = tree_records.Nodes(places, map_bytes(learned.order0, learned.stretch), weights)
    return {
        "tree.nodes": tree_records.tree_bytes(tree, nodes),
        "tree.rank": tree.rank.astype(np.uint16)[:, None],
        "tree.token": tree.token.astype(np.uint16)[:, None],
        "tokens.records": tree_records.token_bytes(tree, records),
    }


def mixer_arrays(shape: Shape, vocab_size: int, learned: fast.Learned) -> dict[str, np.ndarray]:
    """Maps and weights, a byte each."""
    n_lists = len(shape.lists) + len(shape.window)
    sizes = map_sizes(len(shape.dense), n_lists)
    places = np.arange(sizes[0]), list_places(n_lists), pair_places()
    maps = (learned.dense_map, learned.list_map, learned.pair_map)
    found = {
        name: _placed(map_bytes(counters, learned.stretch), at, size)
        for name, counters, at, size in zip(MAPS, maps, places, sizes, strict=True)
    }
    found["mix.last"] = weight_bytes(learned.last, LAST_SHIFT)[:, None]
    for name, column in mixer_weights(shape, vocab_size, learned).items():
        if name != "node":
            at = weight_places(name, len(shape.lists), vocab_size, shape.n_inputs, shape.bias)
            size = mixer_bytes(name, len(shape.lists), vocab_size, shape.n_inputs)
            found[f"mix.{name}"] = _placed(column, at, size)
    return found


def _placed(values: np.ndarray, places: np.ndarray, n_bytes: int) -> np.ndarray:
    """A column of bytes with the values where they belong; of several for one place the first counts."""
    column, at = np.zeros((n_bytes, 1), np.uint8), places.reshape(-1)
    column[at[::-1], 0] = values[::-1]
    return column


def mixer_weights(shape: Shape, vocab_size: int, learned: fast.Learned) -> dict[str, np.ndarray]:
    """uint8 [rows * inputs] of every mixer."""
    rows, found = mixer_rows(shape, vocab_size), {}
    for name, first, n in zip(shape.mixers, learned.first_row, rows, strict=True):
        found[name] = weight_bytes(learned.weights[first : first + n], WEIGHT_SHIFT)
    return found


def map_bytes(counters: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Logits of counters in 1/16, around the middle of a byte."""
    logits = stretch[counters >> np.uint32(20)]
    return np.clip((logits + MAP_STEP // 2) // MAP_STEP + MIDDLE, 0, 255).astype(np.uint8)


def weight_bytes(weights: np.ndarray, shift: int) -> np.ndarray:
    """Weights in 1 / 2^shift, around the middle of a byte, in one column."""
    drop = WEIGHT_BITS - shift
    rounded = (weights.astype(np.int64) + (1 << (drop - 1))) >> drop
    return np.clip(rounded + MIDDLE, 0, 255).astype(np.uint8).reshape(-1)


def fixed_bytes(shape: Shape, vocab_size: int, token_bytes: Sequence[bytes] | None) -> int:
    """What is stored beside the tables: maps, weights, the tree, the program and the file's own tables, a tokenizer."""
    maps = sum(map_sizes(len(shape.dense), len(shape.lists) + len(shape.window)))
    sizes = [mixer_bytes(name, len(shape.lists), vocab_size, shape.n_inputs) for name in shape.mixers if name != "node"]
    tree = vocab_size * (tree_line(shape.n_inputs) + 4 + TOKEN)
    tokenizer = sum(PER_TOKEN + sum(2 if byte < 128 else 6 for byte in piece) for piece in token_bytes or ())
    return maps + sum(sizes) + tree + fast.MAX_DEPTH * len(shape.mixers) + OWN_TABLES + tokenizer
