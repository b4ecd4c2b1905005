"""How a packed model of count mixing lies in bytes: records, lines, slots, and how many of them.

    tree      32 bytes per node: left, right (u16), order 0 (u8), unused, number in its group (u16), weights (u8)
    nodes     lines of four slots: check, 15 codes
    lists     lines of four: check, 6 counts (4 bits), 6 ranks (u16)
    slots     the window's, 32 bytes: where it was made (u16), K ranks (u16), K counts (u8)
    pairs     (u8, u8) per node
    hashes    of the window's contexts at every position (u32); what a slot is checked against, so that none is cleared

A line has 64 bytes and is the unit of what a cache fetches.
"""

from __future__ import annotations

import numpy as np

from weightless.ops.count_mixing import EXACT_CODES, MAX_DEPTH, N_CLASSES, N_CONFIDENCES, N_GROUPS, N_SPREADS

RECORD, LEFT, ORDER0, PLACE, WEIGHTS = 32, 0, 4, 6, 8
LINE, SLOT = 64, 16
WINDOW_SLOT, MOST_FOLLOWERS = 32, 9
MOST_INPUTS = RECORD - WEIGHTS
MIXERS = ("depth", "node", "confidence", "input", "token")
MAX_VOCAB = 2**16


def regions(lines: list[int]) -> np.ndarray:
    """(first line, lines) of every stretch, one behind the other, int64 [n, 2]."""
    counted = np.asarray(lines, np.int64)
    return np.stack([np.cumsum(counted) - counted, counted], -1)


def map_sizes(n_dense: int, n_lists: int) -> tuple[int, int, int]:
    """Bytes of the three maps: of exact counts, of lists, of pairs."""
    return (
        max(1, n_dense) * MAX_DEPTH * EXACT_CODES,
        max(1, n_lists) * MAX_DEPTH * N_SPREADS * N_CLASSES**2,
        MAX_DEPTH * N_CONFIDENCES**2,
    )


def mixer_rows(name: str, n_lists: int, vocab_size: int) -> int:
    """How many rows of weights a mixer selects from."""
    return {
        "depth": (n_lists + 1) * MAX_DEPTH,
        "node": vocab_size,
        "confidence": MAX_DEPTH * N_CONFIDENCES**2,
        "input": MAX_DEPTH * N_CONFIDENCES,
        "token": vocab_size * N_GROUPS,
    }[name]
