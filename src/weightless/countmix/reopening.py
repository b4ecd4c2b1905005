"""A packed model as a learner: the very numbers of its bytes, to score, and to go on from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weightless.countmix.learning import MIXERS, Learner, mixer_rows
from weightless.countmix.shape import Shape
from weightless.countmix.tree_records import Nodes, records_of, unpacked
from weightless.kernels.numba import count_inputs as fast
from weightless.ops.count_layout import list_places, pair_places, regions, weight_places
from weightless.ops.count_mixing import (
    LAST_SHIFT,
    MAP_STEP,
    MIDDLE,
    WEIGHT_BITS,
    WEIGHT_SHIFT,
    reciprocal_table,
    squash_table,
)

N_GROUPS = fast.MAX_DEPTH // fast.N_LEVELS


def packed_learner(
    shape: Shape, arrays: Mapping[str, np.ndarray], root: int, lines: tuple[list[int], list[int]], bits: tuple[int, int]
) -> Learner:
    """Scores what the engine scores: maps are their bytes, and the table of logits says what a byte means."""
    ranks, tokens = (arrays[name][:, 0] for name in ("tree.rank", "tree.token"))
    vocab_size = len(ranks)
    tree, nodes = unpacked(arrays["tree.nodes"], ranks, tokens, root, shape.n_inputs)
    tables = fast.Tables(
        nodes=arrays["counts.nodes"][:, 0].copy(),
        lists=arrays["counts.lists"][:, 0].copy(),
        regions=regions(lines[0]).reshape(-1, N_GROUPS, 2),
        list_regions=regions(lines[1]),
        places=nodes.places,
        bits=np.array(bits),
        window=np.zeros((len(shape.window), shape.n_slots, 1 + shape.n_followers), np.uint32),
        pairs=np.zeros((vocab_size, 2), np.uint8),
    )
    return Learner(shape, tree, tables, _learned(shape, arrays, nodes), records_of(arrays["tokens.records"]))


def _learned(shape: Shape, arrays: Mapping[str, np.ndarray], nodes: Nodes) -> fast.Learned:
    vocab_size, n, m = len(nodes.order0), shape.n_inputs, len(shape.mixers)
    rows = mixer_rows(shape, vocab_size)
    weights = {"node": nodes.weights}
    for name in shape.mixers:
        if name != "node":
            places = weight_places(name, len(shape.lists), vocab_size, n, shape.bias)
            weights[name] = arrays[f"mix.{name}"][:, 0][places]
    list_map = arrays["maps.lists"][:, 0][list_places(len(shape.lists) + len(shape.window))]
    logits = (np.arange(4096) - MIDDLE) * MAP_STEP
    return fast.Learned(
        order0=_as_counters(nodes.order0),
        dense_map=_as_counters(arrays["maps.dense"][:, 0]),
        list_map=_as_counters(list_map.reshape(-1)),
        pair_map=_as_counters(arrays["maps.pairs"][:, 0][pair_places()].reshape(-1)),
        weights=_weights(np.concatenate([weights[name] for name in shape.mixers]), WEIGHT_SHIFT),
        first_row=np.cumsum([0, *rows[:-1]]),
        kinds=np.array([MIXERS[name] for name in shape.mixers]),
        last=_weights(arrays["mix.last"].reshape(-1, m), LAST_SHIFT),
        stretch=logits.astype(np.int64),
        squash=squash_table(),
        reciprocals=reciprocal_table(),
    )


def _as_counters(bytes_: np.ndarray) -> np.ndarray:
    """Counters whose first twelve bits are the byte."""
    return bytes_.astype(np.uint32) << np.uint32(20)


def _weights(bytes_: np.ndarray, shift: int) -> np.ndarray:
    return ((bytes_.astype(np.int64) - MIDDLE) << (WEIGHT_BITS - shift)).astype(np.int32)
