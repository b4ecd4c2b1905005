"""What is kept of what was counted, and where: slots that were visited often enough, as many as a budget has bytes for.

A slot of nodes or a list takes 16 bytes, four of them a line.  Every context and every fourth level has lines of its
own, in proportion to the slots that it keeps.  Where a line is full the least visited goes, so FILL slots are wanted
for every place: what is lost of the seldom visited costs less than places that stay empty.  The threshold is the least
number of visits at which so many places are enough; bytes that are left make more lines, up to MOST_ROOM times as many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from weightless.base.errors import ConfigError
from weightless.kernels.numba import count_inputs as fast
from weightless.kernels.numba.count_packing import list_census, node_census, pack_lists, pack_nodes
from weightless.kernels.numba.count_tables import PACKED_WAYS, SLOT
from weightless.ops.count_layout import regions

LINE, FILL, MOST_ROOM = 64, 1.2, 2.4
MOST_VISITS = 1023
N_GROUPS = fast.MAX_DEPTH // fast.N_LEVELS


class Census(NamedTuple):
    """How many slots were visited so often: [contexts, groups, 1024] of nodes, [lists, 1024] of lists."""

    nodes: np.ndarray
    lists: np.ndarray


class Plan(NamedTuple):
    """Fewest visits of what is kept, and (first line, lines): [contexts, groups(, 2)] and [lists(, 2)]."""

    fewest: np.ndarray
    list_fewest: np.ndarray
    regions: np.ndarray
    list_regions: np.ndarray

    @property
    def n_lines(self) -> tuple[int, int]:
        return int(self.regions[..., 1].sum()), int(self.list_regions[..., 1].sum())


def census(tables: fast.Tables, n_dense: int) -> Census:
    """Count the slots of growing tables by visits."""
    nodes = np.zeros((n_dense, N_GROUPS, MOST_VISITS + 1), np.int64)
    lists = np.zeros((tables.lists.shape[0], MOST_VISITS + 1), np.int64)
    node_census(tables.nodes, nodes)
    list_census(tables.lists, lists)
    return Census(nodes, lists)


def plan(found: Census, budget: int, n_roots: np.ndarray) -> Plan:
    """The lowest threshold, the same for all, at which the tables take at most `budget` bytes.

    `n_roots` int64 [groups]: how many nodes every group has, for which it needs a line each.
    """
    low, high = 1, MOST_VISITS
    if _bytes(_lines(found, high, n_roots)) > budget:
        raise ConfigError(f"{budget:,} bytes leave no room for counts: give more, or take fewer contexts")
    while low < high:
        middle = (low + high) // 2
        if _bytes(_lines(found, middle, n_roots)) <= budget:
            high = middle
        else:
            low = middle + 1
    nodes, lists = _lines(found, low, n_roots)
    spare = budget / max(1, _bytes((nodes, lists)))
    nodes, lists = (
        np.where(part, np.maximum(part * min(spare, MOST_ROOM), 1), 0).astype(np.int64) for part in (nodes, lists)
    )
    return Plan(np.full(nodes.shape, low), np.full(lists.shape, low), _regions(nodes), _regions(lists))


def _lines(found: Census, fewest: int, n_roots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lines of every (context, group) and of every list."""
    kept = found.nodes[..., fewest:].sum(-1), found.lists[..., fewest:].sum(-1)
    nodes, lists = (np.ceil(n / (PACKED_WAYS * FILL)).astype(np.int64) for n in kept)
    return np.where(nodes > 0, np.maximum(nodes, n_roots), 0), lists


def _bytes(lines: tuple[np.ndarray, np.ndarray]) -> int:
    return LINE * int(lines[0].sum() + lines[1].sum())


def _regions(lines: np.ndarray) -> np.ndarray:
    """(first line, lines) of every stretch, in the shape of `lines`."""
    return regions(lines.reshape(-1).tolist()).reshape(*lines.shape, 2)


def packed_tables(tables: fast.Tables, kept: Plan, places: np.ndarray, stretch: np.ndarray) -> fast.Tables:
    """The packed tables beside the same window."""
    n_nodes, n_lists = kept.n_lines
    nodes, lists = (np.zeros(max(1, n) * LINE, np.uint8) for n in (n_nodes, n_lists))
    visits = [np.zeros(len(part) // SLOT, np.uint16) for part in (nodes, lists)]
    bits = tables.bits
    pack_nodes(tables.nodes, bits[0], kept.fewest, kept.regions, places, stretch, nodes, visits[0])
    pack_lists(tables.lists, bits[1], kept.list_fewest, kept.list_regions, lists, visits[1])
    return tables._replace(
        nodes=nodes, lists=lists, regions=kept.regions, list_regions=kept.list_regions, places=places
    )
