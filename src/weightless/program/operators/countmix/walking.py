"""One position and one node of count mixing in compiled code: the fast twin of `reading.py`.

Operands are named by their place in the instruction (`Walking.window_operands`, `Path.lower`).  Bytes that the data
decides are added up in the registers of traffic; where all nodes are visited (`whole`), what they share was read
before.  scratch, in float32 that hold whole numbers below 2^24:

    X, SURE   inputs and confidences     SLOT      per group and dense context: line and way of its slot, or -1
    FOUND     followers per list         RANKS, COUNTS   sixteen per list
"""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.context_hashes import context_start, mix, word_seen
from weightless.kernels.numba.count_inputs import coded_logit, confidence, count_class, limited, sureness
from weightless.kernels.numba.count_tables import bucket_of, packed_check, packed_line
from weightless.kernels.numba.memory import READ, load_id, touch
from weightless.kernels.numba.rows import KERNEL
from weightless.ops import count_layout as layout
from weightless.ops import count_mixing as truth
from weightless.ops.context_hashes import MOST_BACK, NOTHING
from weightless.program.operators.countmix.beside_walking import begin_beside, odds_beside
from weightless.program.operators.countmix.places import (
    byte_of,
    confidence_row,
    heap_place,
    input_at,
    list_cell,
    member_of,
    number_of,
    pair_at,
    pair_cell,
    row_at,
    token_row,
    tree_line,
)
from weightless.program.registers import IN_CONTEXT, IN_CUM, IN_STATE, IN_SUFFIXES, IN_TEXT, IN_WORDS, STATUS, T

HISTORY, HASHES, SLOTS, PAIRS, WORDS, VOCAB, N_WINDOW, N_SLOTS, FOLLOWERS = range(9)
RECORDS, WINDOW_CONTEXTS = 9, 10
TREE, RANK, TOKENS, NODES, LISTS, DENSE_MAP, LIST_MAP, PAIR_MAP = range(9, 17)
MIX_DEPTH, MIX_CONFIDENCE, MIX_INPUT, MIX_TOKEN, MIX_LAST = range(17, 22)
ROOT, NODE_BITS, LIST_BITS, N_DENSE, N_LISTS, MIXERS, OUT, BESIDE = range(22, 30)
CONTEXTS = 30
ORDER0, PLACE, WEIGHTS = layout.ORDER0, layout.PLACE, layout.WEIGHTS
SLOT_BYTES, LINE, WINDOW_SLOT, CHECK, SLOT_RANKS = 16, 64, layout.WINDOW_SLOT, layout.CHECK, layout.RANKS
X, SURE, SLOT, FOUND, RANKS, COUNTS = 0, 32, 64, 192, 224, 640
MAX_DEPTH, LEVELS, GROUPS = truth.MAX_DEPTH, truth.N_LEVELS, truth.N_GROUPS
ONE_P, LIMIT, BIAS, MIDDLE, MAP_STEP = truth.ONE_P, truth.LIMIT, truth.BIAS, truth.MIDDLE, truth.MAP_STEP
EXACT, CLASSES, CONFIDENCES, SPREADS = truth.EXACT_CODES, truth.N_CLASSES, truth.N_CONFIDENCES, truth.N_SPREADS
_WEIGHT_SHIFT, _LAST_SHIFT, _COUNTS = truth.WEIGHT_SHIFT, truth.LAST_SHIFT, truth.LIST_COUNTS
_NOTHING, _LAST, _ONE, _SHORT, _HALF = np.uint64(NOTHING), np.uint64(7), np.uint64(1), np.uint64(0x1FF), np.uint64(32)
_DEPTH, _NODE, _CONFIDENCE, _INPUT, _TOKEN = 1, 2, 4, 8, 16


@njit(**KERNEL)
def bias_of(c):  # type: ignore[no-untyped-def]
    """Which input is always there."""
    return c[N_DENSE] + c[N_LISTS] + c[N_WINDOW] + 2


@njit(**KERNEL)
def token_bits(c, first, n):  # type: ignore[no-untyped-def]
    """Bit i: one of n contexts needs the token i + 1 back; bit 8 and above: words."""
    bits = np.int64(0)
    for k in range(n):
        bits |= c[first + k]
    return bits


@njit(**KERNEL)
def context_hash(c, S, t, operand, current, gap, before):  # type: ignore[no-untyped-def]
    """The hash of a context behind t tokens."""
    h = context_start(operand & 255, operand >> 8)
    for back in range(MOST_BACK):
        if operand >> back & 1:
            h = mix(h, np.uint64(load_id(S, c[HISTORY] + 4 * (t - 1 - back)) + 1) if back < t else _NOTHING)
    if operand >> 8 & 1:
        h = mix(h, word_seen(current, gap))
    if operand >> 8 & 2:
        h = mix(h, before + _ONE)
    return mix(h, _LAST)


@njit(**KERNEL)
def holds_context(c, S, R, w, i, h):  # type: ignore[no-untyped-def]
    """(byte of the slot, whether it holds the context of hash h at index i)."""
    at = c[SLOTS] + (w * c[N_SLOTS] + (h * c[N_SLOTS] >> 32)) * WINDOW_SLOT
    made = number_of(S, at)
    R[IN_WORDS] += 2
    if made >= i:
        return at, False
    R[IN_WORDS] += 1
    if byte_of(S, at + CHECK) != h & 255:
        return at, False
    R[IN_WORDS] += 4
    return at, load_id(S, c[HASHES] + 4 * (made * c[N_WINDOW] + w)) == h


@njit(**KERNEL)
def n_inputs(c):  # type: ignore[no-untyped-def]
    """Of the mixers: order 0, every context, the window's pairs, what is always there, and a neural model."""
    return c[N_DENSE] + c[N_LISTS] + c[N_WINDOW] + (3 if c[BESIDE] < 0 else 4)


@njit(**KERNEL)
def begin_walk(c, W, S, R, scratch):  # type: ignore[no-untyped-def]
    """Followers of all lists; the words, three uint64."""
    if c[BESIDE] >= 0:
        begin_beside(c, S, R, scratch, c[BESIDE])
    t, n_static = R[T], c[N_DENSE] + c[N_LISTS]
    first = CONTEXTS
    bits = token_bits(c, first, n_static + c[N_WINDOW])
    current, gap, before = np.uint64(0), _ONE, np.uint64(2)
    if bits >> 8:
        current, gap = np.uint64(load_id(S, c[WORDS])), np.uint64(load_id(S, c[WORDS] + 4))
        before = np.uint64(load_id(S, c[WORDS] + 8))
        R[IN_STATE] += 12
    for back in range(MOST_BACK):
        if back < t and ((bits | 1) >> back & 1):
            R[IN_STATE] += 4
    touch(S, c[HISTORY] + 4 * (t - 1), 4, READ)
    for j in range(c[N_LISTS]):
        h = context_hash(c, S, t, c[first + c[N_DENSE] + j], current, gap, before)
        _static_list(c, W, R, scratch, j, h)
    for w in range(c[N_WINDOW]):
        h = context_hash(c, S, t, c[first + n_static + w], current, gap, before)
        _window_list(c, S, R, scratch, w, np.int64(h >> _HALF))
    return current, gap, before


@njit(**KERNEL)
def _static_list(c, W, R, scratch, j, h):  # type: ignore[no-untyped-def]
    scratch[FOUND + j] = 0
    lines = CONTEXTS + c[N_DENSE] + c[N_LISTS] + c[N_WINDOW] + 2 * (GROUPS * c[N_DENSE] + j)
    n_lines = c[lines + 1]
    if n_lines == 0:
        return
    line = c[lines] + (bucket_of(h, c[LIST_BITS]) * n_lines >> c[LIST_BITS])
    check = packed_check(max(np.int64(1), np.int64(h & np.uint64(0xFFFF))))
    for way in range(LINE // SLOT_BYTES):
        at = c[LISTS] + line * LINE + way * SLOT_BYTES
        R[IN_CONTEXT] += 1
        if byte_of(W, at) != check:
            continue
        touch(W, at + 1, 3, READ)
        R[IN_CONTEXT] += 3
        n = 0
        for k in range(6):
            code = np.int64(W[0][at + 1 + k // 2]) >> (4 * (k & 1)) & 15
            if code == 0:
                break
            scratch[RANKS + 16 * j + n], scratch[COUNTS + 16 * j + n] = number_of(W, at + 4 + 2 * k), _COUNTS[code]
            n += 1
        R[IN_CONTEXT] += 2 * n
        scratch[FOUND + j] = n
        return


@njit(**KERNEL)
def _window_list(c, S, R, scratch, w, h):  # type: ignore[no-untyped-def]
    i, j, K, n = R[T] - 1, c[N_LISTS] + w, c[FOLLOWERS], 0
    at, holds = holds_context(c, S, R, w, i, h)
    if holds:
        for k in range(K):
            count = byte_of(S, at + SLOT_RANKS + 2 * K + k)
            R[IN_WORDS] += 1
            if count == 0:
                break
            scratch[RANKS + 16 * j + n], scratch[COUNTS + 16 * j + n] = number_of(S, at + SLOT_RANKS + 2 * k), count
            R[IN_WORDS] += 2
            n += 1
    scratch[FOUND + j] = n


@njit(**KERNEL)
def _find_slots(c, W, S, R, scratch, words, node, group):  # type: ignore[no-untyped-def]
    """Where every dense context keeps the four levels below the node."""
    n_dense, first = c[N_DENSE], CONTEXTS
    if n_dense == 0:
        return
    place = number_of(W, c[TREE] + tree_line(n_inputs(c)) * node + PLACE)
    R[IN_TEXT] += 2
    for k in range(n_dense):
        scratch[SLOT + 2 * (group * n_dense + k)] = -1
        lines = first + n_dense + c[N_LISTS] + c[N_WINDOW] + 2 * (GROUPS * k + group)
        n_lines = c[lines + 1]
        if n_lines == 0:
            continue
        h = context_hash(c, S, R[T], c[first + k], words[0], words[1], words[2])
        line = packed_line(bucket_of(h, c[NODE_BITS]), c[NODE_BITS], place, c[lines], n_lines)
        check = packed_check(np.int64(h & _SHORT))
        for way in range(LINE // SLOT_BYTES):
            R[IN_CONTEXT] += 1
            if byte_of(W, c[NODES] + line * LINE + way * SLOT_BYTES) == check:
                scratch[SLOT + 2 * (group * n_dense + k)] = line
                scratch[SLOT + 2 * (group * n_dense + k) + 1] = way
                break


@njit(**KERNEL)
def _mapped(W, R, at, whole):  # type: ignore[no-untyped-def]
    """The logit that a map's byte says."""
    R[IN_CUM] += 0 if whole else 1
    return (byte_of(W, at) - MIDDLE) * MAP_STEP


@njit(**KERNEL)
def _dense_inputs(c, W, R, scratch, depth, place, whole):  # type: ignore[no-untyped-def]
    group, n_dense = depth // LEVELS, c[N_DENSE]
    for k in range(n_dense):
        scratch[X + 1 + k], scratch[SURE + 1 + k] = 0, 0
        line = np.int64(scratch[SLOT + 2 * (group * n_dense + k)])
        if line < 0:
            continue
        way = np.int64(scratch[SLOT + 2 * (group * n_dense + k) + 1])
        code = byte_of(W, c[NODES] + line * LINE + way * SLOT_BYTES + place)
        R[IN_CONTEXT] += 1
        if code == 0:
            continue
        sure, logit = coded_logit(code)
        if code <= EXACT:
            logit = _mapped(W, R, c[DENSE_MAP] + (k * MAX_DEPTH + depth) * EXACT + code - 1, whole)
        scratch[X + 1 + k], scratch[SURE + 1 + k] = logit, sure


@njit(**KERNEL)
def _list_inputs(c, W, R, scratch, node, low, high, depth, whole):  # type: ignore[no-untyped-def]
    """The deepest static list with a follower here, from 1; 0 where none has."""
    deepest = 0
    for j in range(c[N_LISTS] + c[N_WINDOW]):
        q, n, left, right = 1 + c[N_DENSE] + j, np.int64(scratch[FOUND + j]), np.int64(0), np.int64(0)
        scratch[X + q], scratch[SURE + q] = 0, 0
        for k in range(n):
            rank = np.int64(scratch[RANKS + 16 * j + k])
            if low <= rank < high:
                if rank >= node:
                    right += np.int64(scratch[COUNTS + 16 * j + k])
                else:
                    left += np.int64(scratch[COUNTS + 16 * j + k])
        if left + right == 0:
            continue
        if j < c[N_LISTS]:
            deepest = j + 1
        a, b = count_class(left), count_class(right)
        cell = list_cell(j, depth, min(n, SPREADS) - 1, min(a, b), max(a, b), b > a)
        scratch[X + q] = _mapped(W, R, c[LIST_MAP] + cell, whole)
        sure = count_class(left + right)
        scratch[SURE + q] = sure if left > 0 and right > 0 else min(sure + 2, CONFIDENCES - 1)
    return deepest


@njit(**KERNEL)
def _pair_input(c, W, S, R, scratch, node, depth, path, q, whole):  # type: ignore[no-untyped-def]
    at = c[PAIRS] + 2 * pair_at(path, depth, node)
    left, right = byte_of(S, at), byte_of(S, at + 1)
    R[IN_WORDS] += 2
    scratch[X + q], scratch[SURE + q] = 0, 0
    if left + right > 0:
        cell = pair_cell(depth, confidence(left), confidence(right))
        scratch[X + q] = _mapped(W, R, c[PAIR_MAP] + cell, whole)
        scratch[SURE + q] = confidence(left + right)


@njit(**KERNEL)
def _weighted(W, R, scratch, at, n, register):  # type: ignore[no-untyped-def]
    """A mixer's sum; input k's weight lies at `at` + k."""
    total = np.int64(0)
    for k in range(n):
        x = np.int64(scratch[X + k])
        if x != 0:
            total += (byte_of(W, at + k) - MIDDLE) * x
            R[register] += 1
    return limited(total, _WEIGHT_SHIFT)


@njit(**KERNEL)
def _weighted_by_input(W, R, scratch, table, depth, n, bias):  # type: ignore[no-untyped-def]
    """The sum of the mixer whose weights go by every input's own confidence."""
    total = np.int64(0)
    for k in range(n):
        x = np.int64(scratch[X + k])
        if x != 0:
            at = table + input_at(k, depth, np.int64(scratch[SURE + k]), bias)
            total += (byte_of(W, at) - MIDDLE) * x
            R[IN_SUFFIXES] += 1
    return limited(total, _WEIGHT_SHIFT)


@njit(**KERNEL)
def _mixed(c, W, S, R, scratch, line, member, depth, deepest, n, whole):  # type: ignore[no-untyped-def]
    """The last sum over the mixers' sums."""
    mixers, before, total, m = c[MIXERS], R[IN_SUFFIXES], np.int64(0), 0
    n_mixers = 0
    for k in range(5):
        n_mixers += mixers >> k & 1
    last = c[MIX_LAST] + depth * n_mixers
    for kind in range(5):
        if mixers >> kind & 1 == 0:
            continue
        if kind == 0:
            s = _weighted(W, R, scratch, c[MIX_DEPTH] + row_at(deepest * MAX_DEPTH + depth, n), n, IN_SUFFIXES)
        elif kind == 1:
            s = _weighted(W, R, scratch, line + WEIGHTS + n * member, n, IN_TEXT)
        elif kind == 2:
            d = c[N_DENSE]
            sure, earlier = np.int64(scratch[SURE + d]), np.int64(scratch[SURE + max(d - 1, 0)])
            at = c[MIX_CONFIDENCE] + row_at(confidence_row(depth, sure, earlier), n)
            s = _weighted(W, R, scratch, at, n, IN_SUFFIXES)
        elif kind == 3:
            s = _weighted_by_input(W, R, scratch, c[MIX_INPUT], depth, n, bias_of(c))
        else:
            token = load_id(S, c[HISTORY] + 4 * (R[T] - 1))
            at = c[MIX_TOKEN] + row_at(token_row(token, depth // LEVELS, c[VOCAB]), n)
            counted = R[IN_SUFFIXES]
            if depth % LEVELS == 0:
                touch(W, at, n, READ)
                counted += n
            s = _weighted(W, R, scratch, at, n, IN_SUFFIXES)
            R[IN_SUFFIXES] = counted
        total += (byte_of(W, last + m) - MIDDLE) * s
        R[IN_SUFFIXES] += 1
        m += 1
    if whole:
        R[IN_SUFFIXES] = before
    return limited(total, _LAST_SHIFT)


@njit(**KERNEL)
def logit_at(c, W, S, R, scratch, words, node, low, high, depth, path, home, whole):  # type: ignore[no-untyped-def]
    """What all inputs say at a node (`reading.Spot`), in 1/256; sets the status where the tree is too deep."""
    if depth >= MAX_DEPTH:
        R[STATUS] = 1
        return np.int64(0)
    if depth % LEVELS == 0:
        _find_slots(c, W, S, R, scratch, words, node, depth // LEVELS)
    n, pair = n_inputs(c), bias_of(c) - 1
    line, member = c[TREE] + tree_line(n) * home, member_of(depth, path)
    scratch[X], scratch[SURE] = (byte_of(W, line + ORDER0 + member) - MIDDLE) * MAP_STEP, 0
    R[IN_TEXT] += 1
    _dense_inputs(c, W, R, scratch, depth, heap_place(path, depth, LEVELS), whole)
    deepest = _list_inputs(c, W, R, scratch, node, low, high, depth, whole)
    _pair_input(c, W, S, R, scratch, node, depth, path, pair, whole)
    scratch[X + pair + 1], scratch[SURE + pair + 1] = BIAS, 0
    if c[BESIDE] >= 0:
        said = odds_beside(c, W, S, R, scratch, c[BESIDE], node, low, high, c[VOCAB])
        scratch[X + n - 1], scratch[SURE + n - 1] = said, sureness(said)
    return _mixed(c, W, S, R, scratch, line, member, depth, deepest, n, whole)


@njit(**KERNEL)
def right_share(logit):  # type: ignore[no-untyped-def]
    """`ops.count_mixing.probability`."""
    return math.floor(ONE_P / (1.0 + math.exp(-logit / 256.0)) + 0.5) / ONE_P


@njit(**KERNEL)
def child_of(c, W, R, home, depth, path, side, low, high):  # type: ignore[no-untyped-def]
    """The node on a side of one; the status is set where it lies outside (low, high)."""
    line = c[TREE] + tree_line(n_inputs(c)) * home
    child = number_of(W, line + layout.LEFT + 4 * member_of(depth, path) + 2 * side)
    R[IN_TEXT] += 2
    if not low < child < high:
        R[STATUS] = 1
    return child
