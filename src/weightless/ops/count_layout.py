"""How a packed model of count mixing lies in bytes: records, lines, slots, and how many of them.

    tree      per node of an even depth, with its two children (members 0, 1, 2): left and right of each (u16), number
              in its group (u16), order 0 of each (u8), weights of each (u8); a line, or as many as that takes
    tokens    64 bytes per token: what it does to words (5 u32), its path (u32: a one, then the sides from the root on),
              its rank (u16), the nodes of its path from depth 10 on (u16)
    nodes     lines of four slots: check, 15 codes
    lists     lines of four: check, 6 counts (4 bits), 6 ranks (u16)
    slots     the window's, 32 bytes: where it was made (u16), a check (u8), K ranks (u16), K counts (u8)
    pairs     (u8, u8) per node: five levels in a line, the next five below each end of them, then by name
    hashes    of the window's contexts at every position (u32); what a slot is checked against, so that none is cleared
    maps      a byte per cell, weights a byte per input: in such an order that a walk meets few lines

A line has 64 bytes and is the unit of what a cache fetches.  What says where a byte lies takes arrays, too; its
compiled twins are in `operators/countmix/places.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weightless.ops.count_mixing import EXACT_CODES, MAX_DEPTH, N_CLASSES, N_CONFIDENCES, N_GROUPS, N_SPREADS

LINE, SLOT = 64, 16
LEFT, PLACE, ORDER0, WEIGHTS, MEMBERS = 0, 12, 14, 17, 3
TOKEN, CODE, RANK, DEEP = 64, 20, 24, 26
WINDOW_SLOT, CHECK, RANKS, MOST_FOLLOWERS = 32, 2, 3, 9
MOST_INPUTS = 24
NEAR_LEVELS, NEAR_PAIRS = 10, 32 * 33
MIXERS = ("depth", "node", "confidence", "input", "token")
MAPS = ("maps.dense", "maps.lists", "maps.pairs")
MAX_VOCAB = 2**16
_UNORDERED = N_CLASSES * (N_CLASSES + 1) // 2
PAIR_ROWS, PAIR_COLS, NEAR, _HALF = 4, 6, 4, MAX_DEPTH // 2


def regions(lines: list[int]) -> np.ndarray:
    """(first line, lines) of every stretch, one behind the other, int64 [n, 2]."""
    counted = np.asarray(lines, np.int64)
    return np.stack([np.cumsum(counted) - counted, counted], -1)


def map_sizes(n_dense: int, n_lists: int) -> tuple[int, int, int]:
    """Bytes of the three maps: of exact counts, of lists, of pairs."""
    return (
        max(1, n_dense) * MAX_DEPTH * EXACT_CODES,
        max(1, n_lists) * N_SPREADS * _UNORDERED * 2 * MAX_DEPTH,
        MAX_DEPTH * N_CONFIDENCES**2,
    )


def tree_line(n: int) -> int:
    """Bytes of a node of an even depth and its children, with n weights each."""
    return LINE * -(-(WEIGHTS + MEMBERS * n) // LINE)


def heap_place(path: int, depth: int, levels: int) -> int:
    """A node's number among those of so many levels, 1; 2, 3; 4 .. 7; ..."""
    below = depth % levels
    return 1 << below | path & (1 << below) - 1


def pair_at(path: int, depth: int, node: int) -> int:
    """Number of a node's pair."""
    if depth >= NEAR_LEVELS:
        return NEAR_PAIRS + node
    if depth < 5:
        return path
    return 32 + 32 * (path >> (depth - 5) & 31) + heap_place(path, depth, 5)


def list_cell(j: Any, depth: Any, spread: Any, fewer: Any, more: Any, is_right: Any) -> Any:
    """Byte of what list j means at a depth with counts of classes `fewer` <= `more`, `is_right`: more on the right.

    A list has few followers, so what it says changes less from node to node than the depth and the side do.
    """
    return (((j * N_SPREADS + spread) * _UNORDERED + more * (more + 1) // 2 + fewer) * MAX_DEPTH + depth) * 2 + is_right


def pair_cell(depth: Any, left: Any, right: Any) -> Any:
    """Byte of what the window's pairs mean; in blocks of like counts, in which every depth has 24 bytes."""
    block = left // PAIR_ROWS * (N_CONFIDENCES // PAIR_COLS) + right // PAIR_COLS
    return ((block * MAX_DEPTH + depth) * PAIR_ROWS + left % PAIR_ROWS) * PAIR_COLS + right % PAIR_COLS


def row_at(row: Any, n: int) -> Any:
    """First byte of a row of n weights: as many in a line as it has room for, so that none lies in two."""
    return row // (LINE // n) * LINE + row % (LINE // n) * n


def confidence_row(depth: Any, sure: Any, earlier: Any) -> Any:
    """Row of the mixer that goes by how sure the last two dense contexts are: depth after depth."""
    return (sure * N_CONFIDENCES + earlier) * MAX_DEPTH + depth


def token_row(token: Any, group: Any, vocab_size: int) -> Any:
    """Row of the mixer that goes by the last token: the first four groups of levels in a line, the others apart."""
    first = token * NEAR + group
    return first + (group >= NEAR) * ((vocab_size - token) * NEAR + token * (N_GROUPS - NEAR) - NEAR)


def input_at(k: Any, depth: Any, sure: Any, bias: int) -> Any:
    """Byte of input k's weight where it goes by depth and by that input's own confidence.

    What has none, order 0 and the bias (which is number `bias`), shares the first line.  Any other has three lines for
    each half of the depths: of confidences 0 and 1, 2 to 6, 7 to 11.
    """
    alone = (k == 0) + (k == bias)
    part = (sure > 1) * 1 + (sure > 6)
    within = (sure - (part > 0) * 2 - (part > 1) * 5) * _HALF + depth % _HALF
    apart = LINE * (1 + ((k - 1 - (k > bias)) * 2 + depth // _HALF) * 3 + part) + within
    return alone * (2 * depth + (k == bias)) + (1 - alone) * apart


def mixer_rows(name: str, n_lists: int, vocab_size: int) -> int:
    """How many rows of weights a mixer selects from."""
    return {
        "depth": (n_lists + 1) * MAX_DEPTH,
        "node": vocab_size,
        "confidence": MAX_DEPTH * N_CONFIDENCES**2,
        "input": MAX_DEPTH * N_CONFIDENCES,
        "token": vocab_size * N_GROUPS,
    }[name]


def mixer_bytes(name: str, n_lists: int, vocab_size: int, n: int) -> int:
    """Bytes of a mixer's weights for n inputs."""
    if name == "input":
        return LINE * (1 + 6 * max(0, n - 2))
    return LINE * -(-mixer_rows(name, n_lists, vocab_size) // (LINE // n))


def list_places(n_lists: int) -> np.ndarray:
    """Byte of every cell, int64 [lists, depths, spreads, left, right classes]."""
    j, depth, spread, left, right = np.indices((max(1, n_lists), MAX_DEPTH, N_SPREADS, N_CLASSES, N_CLASSES))
    return list_cell(j, depth, spread, np.minimum(left, right), np.maximum(left, right), right > left)


def pair_places() -> np.ndarray:
    """Byte of every cell, int64 [depths, left, right]."""
    return pair_cell(*np.indices((MAX_DEPTH, N_CONFIDENCES, N_CONFIDENCES)))


def weight_places(name: str, n_lists: int, vocab_size: int, n: int, bias: int) -> np.ndarray:
    """Byte of every weight, int64 [rows, n], in the order in which a learner has its rows (`count_inputs.row_of`)."""
    rows = np.arange(mixer_rows(name, n_lists, vocab_size))
    if name == "input":
        depth, sure, k = np.indices((MAX_DEPTH, N_CONFIDENCES, n))
        return input_at(k, depth, sure, bias).reshape(-1, n)
    if name == "confidence":
        rows = confidence_row(*np.indices((MAX_DEPTH, N_CONFIDENCES, N_CONFIDENCES))).reshape(-1)
    if name == "token":
        rows = token_row(rows // N_GROUPS, rows % N_GROUPS, vocab_size)
    return row_at(rows, n)[:, None] + np.arange(n)
