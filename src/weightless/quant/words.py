"""Codes of few bits laid side by side in words of 32 bits, ternary ones five to a byte; and back (NumPy, the truth).

Codes are whole numbers u = 0 … levels - 1.  A word holds f = 32 // bits of them, the first in its lowest bits.  Where
bits does not divide 32 (3, 5, 6) two bits are left over; those of W words in a row, the first word's lowest, hold one
or two codes more, so that no bit is lost:

    bits     1   2   3   4   5   6   8
    codes   32  16  32   8  32  16   4      of a period, consecutive columns
    words    1   1   3   1   5   3   1

A row is as many periods as fit; what is left of it takes as many words as its codes fill.  Little-endian.

Ternary codes, five per byte (`t5`), group by group:    byte i = sum_k (u[5 i + k] - 1) 3^k    as an int8, -121 … 121.
Any other byte means the same digits here and in every fast kernel: those of r_k - 3 r_(k+1), r_k = round(byte / 3^k).
"""

from __future__ import annotations

import functools

import numpy as np

PERIODS = {1: (32, 1), 2: (16, 1), 3: (32, 3), 4: (8, 1), 5: (32, 5), 6: (16, 3), 8: (4, 1)}
"""Codes and words of a period by bits."""
FIVE = 5
"""Ternary codes of a byte."""


@functools.cache
def pieces(bits: int) -> tuple[tuple[tuple[int, int, int, int], ...], ...]:
    """Where every code of a period lies: (word, lowest bit there, lowest bit in the code, bits), in order."""
    n_codes, n_words = PERIODS[bits]
    per_word = 32 // bits
    out = []
    for k in range(n_codes):
        word, place = divmod(k, per_word)
        if word < n_words:
            out.append(((word, bits * place, 0, bits),))
            continue
        first, found = bits * (k - per_word * n_words), []  # in the string of all left-over bits
        at = first
        while at < first + bits:
            n = min(2 - at % 2, first + bits - at)
            found.append((at // 2, 30 + at % 2, at - first, n))
            at += n
        out.append(tuple(found))
    return tuple(out)


def n_words(bits: int, cols: int) -> int:
    """Words of a row."""
    n_codes, words = PERIODS[bits]
    whole, rest = divmod(cols, n_codes)
    return whole * words + min(words, -(-rest // (32 // bits)))


def pack_words(u_RC: np.ndarray, bits: int) -> np.ndarray:
    """Codes [R, C] -> uint8 [R, 4 n_words]."""
    rows, cols = u_RC.shape
    n_codes, words = PERIODS[bits]
    periods = -(-cols // n_codes)
    padded = np.zeros((rows, periods * n_codes), np.uint32)
    padded[:, :cols] = u_RC
    padded_RPK, out_RPW = padded.reshape(rows, periods, n_codes), np.zeros((rows, periods, words), np.uint32)
    for k, parts in enumerate(pieces(bits)):
        for word, bit, skipped, n in parts:
            part = (padded_RPK[:, :, k] >> np.uint32(skipped)) & np.uint32((1 << n) - 1)
            out_RPW[:, :, word] |= part << np.uint32(bit)
    flat = out_RPW.reshape(rows, -1)[:, : n_words(bits, cols)]
    return np.ascontiguousarray(flat, "<u4").view(np.uint8).reshape(rows, -1)


def unpack_words(stored_RB: np.ndarray, bits: int, cols: int) -> np.ndarray:
    """uint8 [R, 4 n_words] -> codes, uint8 [R, C]."""
    rows = len(stored_RB)
    n_codes, words = PERIODS[bits]
    periods = -(-cols // n_codes)
    padded = np.zeros((rows, periods * words), np.uint32)
    padded[:, : n_words(bits, cols)] = np.ascontiguousarray(stored_RB).view("<u4")
    words_RPW, out_RPK = padded.reshape(rows, periods, words), np.zeros((rows, periods, n_codes), np.uint8)
    for k, parts in enumerate(pieces(bits)):
        for word, bit, skipped, n in parts:
            part = (words_RPW[:, :, word] >> np.uint32(bit)) & np.uint32((1 << n) - 1)
            out_RPK[:, :, k] |= (part << np.uint32(skipped)).astype(np.uint8)
    return out_RPK.reshape(rows, -1)[:, :cols]


def places_in_words(bits: int, cols: int) -> list[tuple[int, ...]]:
    """The bytes of a row that every column's code lies in."""
    n_codes, words = PERIODS[bits]
    out = []
    for column in range(cols):
        period, k = divmod(column, n_codes)
        parts = pieces(bits)[k]
        found = {4 * (period * words + w) + at // 8 for w, bit, _, n in parts for at in (bit, bit + n - 1)}
        out.append(tuple(sorted(found)))
    return out


def pack_fives(u_RL: np.ndarray) -> np.ndarray:
    """Ternary codes 0, 1, 2 of one group [R, L] -> uint8 [R, ceil(L / 5)]."""
    rows, size = u_RL.shape
    digits = np.zeros((rows, -(-size // FIVE) * FIVE), np.int32)
    digits[:, :size] = u_RL.astype(np.int32) - 1
    values = digits.reshape(rows, -1, FIVE) @ (3 ** np.arange(FIVE, dtype=np.int32))
    return values.astype(np.int8).view(np.uint8)


def unpack_fives(stored_RN: np.ndarray, size: int) -> np.ndarray:
    """uint8 [R, ceil(size / 5)] -> digits -1, 0, 1 as int8 [R, size] (of foreign bytes also 2 and -2)."""
    values = np.ascontiguousarray(stored_RN).view(np.int8).astype(np.int32)
    rounded = [(2 * values + 3**k) // (2 * 3**k) for k in range(FIVE)] + [np.zeros_like(values)]
    digits = [rounded[k] - 3 * rounded[k + 1] for k in range(FIVE)]
    return np.stack(digits, axis=2).reshape(len(values), -1)[:, :size].astype(np.int8)
