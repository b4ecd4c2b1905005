"""Hashed n-gram rows: which row of a lookup table belongs to the last n tokens.

All arithmetic is modulo 2^64.  For tokens t_1 (oldest) … t_n (most recent), a table's seed s and its number of rows R:

    mix(x):  x ^= x >> 33;  x *= 0xFF51AFD7ED558CCD;  x ^= x >> 33;  x *= 0xC4CEB9FE1A85EC53;  x ^= x >> 33
    h_0 = mix(s + 0xCBF29CE484222325)
    h_i = (h_{i-1} xor t_i) * 0x100000001B3                                        for i = 1 … n
    row = mix(h_n) mod R

The middle line is FNV-1a with whole tokens in the place of bytes (Fowler, Noll, Vo; its offset basis and prime), `mix`
is the 64-bit finaliser of MurmurHash3: without it the low bits of `row` would see only the low bits of the tokens.
A position before the start of the text is a token of its own (by convention id = vocab_size), given by the caller.
`row mod R` favours low rows by less than R / 2^64.  Errors: ConfigError for R < 1 or tokens that are not integers >= 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightless.base.errors import ConfigError

OFFSET_BASIS = 0xCBF29CE484222325
PRIME = 0x100000001B3
MIX_1 = 0xFF51AFD7ED558CCD
MIX_2 = 0xC4CEB9FE1A85EC53
MASK = (1 << 64) - 1


def row_index(tokens_n: np.ndarray, seed: int, n_rows: int) -> np.ndarray:
    """Rows int64 [...] for integer tokens [..., n], the last axis oldest first."""
    tokens_n = _as_uint64(np.asarray(tokens_n))
    _check_rows(n_rows)
    h = np.full((*tokens_n.shape[:-1], 1), start_of(seed), np.uint64)  # never a 0-d array: those warn when they wrap
    for i in range(tokens_n.shape[-1]):
        h = (h ^ tokens_n[..., i : i + 1]) * np.uint64(PRIME)
    return (_mix(h) % np.uint64(n_rows)).astype(np.int64)[..., 0]


def row_index_scalar(tokens: Sequence[int], seed: int, n_rows: int) -> int:
    """The same for one n-gram, in exact Python integers."""
    _check_rows(n_rows)
    h = start_of(seed)
    for token in tokens:
        h = ((h ^ int(token)) * PRIME) & MASK
    return _mix_scalar(h) % n_rows


def start_of(seed: int) -> int:
    """h_0 of a table: seeds that differ in one bit give unrelated tables."""
    return _mix_scalar((seed + OFFSET_BASIS) & MASK)


def last_tokens(tokens_T: np.ndarray, n: int, before_start: int) -> np.ndarray:
    """uint64 [..., T, n]: for every position its token and the n-1 before it, oldest first.

    Positions before the start hold `before_start`.
    """
    tokens_T = _as_uint64(np.asarray(tokens_T))
    front = np.full((*tokens_T.shape[:-1], n - 1), before_start, np.uint64)
    return np.lib.stride_tricks.sliding_window_view(np.concatenate([front, tokens_T], axis=-1), n, axis=-1)


def _mix(x: np.ndarray) -> np.ndarray:
    shift = np.uint64(33)
    x = (x ^ (x >> shift)) * np.uint64(MIX_1)
    x = (x ^ (x >> shift)) * np.uint64(MIX_2)
    return x ^ (x >> shift)


def _mix_scalar(x: int) -> int:
    x = ((x ^ (x >> 33)) * MIX_1) & MASK
    x = ((x ^ (x >> 33)) * MIX_2) & MASK
    return x ^ (x >> 33)


def _check_rows(n_rows: int) -> None:
    if n_rows < 1:
        raise ConfigError(f"a hashed table needs at least one row, got {n_rows}")


def _as_uint64(tokens: np.ndarray) -> np.ndarray:
    if tokens.dtype.kind not in "ui" or (tokens.dtype.kind == "i" and tokens.size and tokens.min() < 0):
        raise ConfigError(f"tokens to be hashed must be integers >= 0, got {tokens.dtype}")
    return tokens.astype(np.uint64, copy=False)
