"""The compiled twins of `update.py` and `promise.py`: operands as `layout.Cached.operands` lists them, then a head's.

Rows, words and counts are checked where they are used: a program from a file may let anything else write there.
"""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.memory import READ, load_id, loaded, store_id, stored, touch
from weightless.kernels.numba.rows import KERNEL
from weightless.ops.window_cache import LARGEST, MOST, SHARES, TOTALS, WORDS
from weightless.program.operators.window_cache.layout import BITS, FRESH
from weightless.program.registers import IN_STATE, IN_WINDOW, STATUS, TARGET, USUAL_UNIFORMS, T

HISTORY, ROWS_OF_WORDS, KNOWN, LINES, STRIDE, N_ROWS, ORDERS, VOCAB, WEIGHTS, OWN, OUTCOME = range(11)
LINE = 64  # bytes
CHOICE = USUAL_UNIFORMS


@njit(**KERNEL)
def _window(S, R, at):  # type: ignore[no-untyped-def]
    """A number of the cache's own memory."""
    R[IN_WINDOW] += 4
    return load_id(S, at)


@njit(**KERNEL)
def _put(S, R, at, value):  # type: ignore[no-untyped-def]
    R[IN_WINDOW] += 4
    store_id(S, at, value)


@njit(**KERNEL)
def cache_update(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    orders, here = c[ORDERS], R[T] - 1
    word = load_id(S, c[HISTORY] + 4 * here)
    R[IN_STATE] += 4
    if word >= c[VOCAB]:
        R[STATUS] = 1
        return
    for k in range(min(orders - 1, here), 0, -1):
        onward = _enter(c, S, R, k, _window(S, R, c[KNOWN] + 4 * k), word, here)
        if R[STATUS] != 0:
            return
        if k < orders - 1:
            _put(S, R, c[KNOWN] + 4 * (k + 1), onward)
    at = c[ROWS_OF_WORDS] + 8 * word
    first = _window(S, R, at)
    known = False
    if first < here:
        known = load_id(S, c[HISTORY] + 4 * first) == word
        R[IN_STATE] += 4
    if known:
        _put(S, R, at + 4, _window(S, R, at + 4) + 1)
    else:
        _put(S, R, at, here)
        _put(S, R, at + 4, 1)
        _put(S, R, c[KNOWN], (_window(S, R, c[KNOWN]) if here > 0 else 0) + 1)
    if orders > 1:
        _put(S, R, c[KNOWN] + 4, first if known else here | FRESH)


@njit(**KERNEL)
def _enter(c, S, R, k, row, word, here):  # type: ignore[no-untyped-def]
    """Count the word in a line of order k; the row in which the context that it makes longer goes on."""
    has_longer, fresh = k < c[ORDERS] - 1, row & FRESH != 0
    row &= FRESH - 1
    if row >= c[N_ROWS]:
        R[STATUS] = 1
        return np.int64(0)
    line = c[LINES] + row * c[STRIDE] + LINE * (k - 1)
    onward = c[LINES] + row * c[STRIDE] + LINE * (c[ORDERS] + k - 2)
    hand, used, least, place = np.int64(0), np.int64(0), np.int64(MOST + 1), np.int64(0)
    if not fresh:
        header = _window(S, R, line)
        hand, used = header >> BITS, header & MOST
        if used < 1 or used > WORDS or hand >= WORDS:
            R[STATUS] = 1
            return np.int64(0)
    for i in range(used):
        entry = _window(S, R, line + 4 + 4 * i)
        count = entry & MOST
        if entry >> BITS == word:
            _put(S, R, line + 4 + 4 * i, word << BITS | min(count + 1, MOST))
            return _window(S, R, onward + 4 * i) if has_longer else np.int64(0)
        if count < least or (count == least and place < hand <= i):
            least, place = count, i
    header = hand << BITS | (used + 1)
    if used < WORDS:
        place = used
    else:
        header = (place + 1) % WORDS << BITS | WORDS
    _put(S, R, line, header)
    _put(S, R, line + 4 + 4 * place, word << BITS | 1)
    if has_longer:
        _put(S, R, onward + 4 * place, here)
    return here | FRESH


@njit(**KERNEL)
def _line_of(c, S, R, k):  # type: ignore[no-untyped-def]
    """(address of the line of the context of k words, words in use); none where it has not occurred before."""
    row = _window(S, R, c[KNOWN] + 4 * k)
    if row & FRESH != 0:
        return np.int64(0), np.int64(0)
    if row >= c[N_ROWS]:
        R[STATUS] = 1
        return np.int64(0), np.int64(0)
    line = c[LINES] + row * c[STRIDE] + LINE * (k - 1)
    header = _window(S, R, line)
    used = header & MOST
    if used < 1 or used > WORDS or header >> BITS >= WORDS:
        R[STATUS] = 1
        return np.int64(0), np.int64(0)
    return line, used


@njit(**KERNEL)
def _total(S, R, line, used):  # type: ignore[no-untyped-def]
    """The sum of a line's counts."""
    total = np.int64(0)
    for i in range(used):
        total += _window(S, R, line + 4 + 4 * i) & MOST
    return total


@njit(**KERNEL)
def _weight(c, W, R, k, total, distinct):  # type: ignore[no-untyped-def]
    """lam of a context, by its class; 0 for numbers that no window leaves."""
    if total < 1 or distinct > total:
        R[STATUS] = 1
        return 0.0
    by_total, left = np.int64(0), total
    while left > 1 and by_total < TOTALS - 1:
        by_total, left = by_total + 1, left >> 1
    number = (k * TOTALS + by_total) * SHARES + min(4 * distinct // total, SHARES - 1)
    R[IN_WINDOW] += 4
    weight = np.float64(loaded(W, c[WEIGHTS] + 4 * number, 1)[0])
    if not weight > 0.0:
        return 0.0
    return min(weight, LARGEST)


@njit(**KERNEL)
def _weight_of_0(c, W, S, R):  # type: ignore[no-untyped-def]
    return _weight(c, W, R, np.int64(0), np.int64(R[T]), _window(S, R, c[KNOWN]))


@njit(**KERNEL)
def cache_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    t, target, rest, added = R[T], R[TARGET], 1.0, 0.0
    for k in range(min(c[ORDERS] - 1, t), 0, -1):
        line, used = _line_of(c, S, R, k)
        if used == 0:
            continue
        total, hits = np.int64(0), np.int64(0)
        for i in range(used):
            entry = _window(S, R, line + 4 + 4 * i)
            total += entry & MOST
            hits += entry & MOST if entry >> BITS == target else 0
        weight = _weight(c, W, R, k, total, used)
        if R[STATUS] != 0:
            return
        added += rest * weight * np.float64(hits) / np.float64(total)
        rest *= 1.0 - weight
    weight = _weight_of_0(c, W, S, R)
    at = c[ROWS_OF_WORDS] + 8 * target
    first, count = _window(S, R, at), _window(S, R, at + 4)
    if load_id(S, c[HISTORY] + 4 * min(first, t - 1)) != target or first >= t:
        count = np.int64(0)
    if R[STATUS] != 0 or count > t:
        R[STATUS] = 1
        return
    added += rest * weight * np.float64(count) / np.float64(t)
    rest *= 1.0 - weight
    own = np.float64(loaded(S, c[OWN], 1)[0])
    R[IN_STATE] += 12
    nats = own - math.log(rest) if added == 0.0 else -math.log(rest * math.exp(-own) + added)
    stored(S, c[OUTCOME], 1)[0] = nats


@njit(**KERNEL)
def cache_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    t, choice, drawn = R[T], u[CHOICE], np.int64(-1)
    for k in range(min(c[ORDERS] - 1, t), 0, -1):
        line, used = _line_of(c, S, R, k)
        if used == 0:
            continue
        total = _total(S, R, line, used)
        weight = _weight(c, W, R, k, total, used)
        if R[STATUS] != 0:
            return
        if drawn < 0 and choice < weight:
            drawn = _drawn(S, line, used, choice / weight * np.float64(total))
        elif drawn < 0:
            choice = (choice - weight) / (1.0 - weight)
    weight = _weight_of_0(c, W, S, R)
    chosen = drawn < 0 and choice < weight
    place = min(np.int64((choice / weight if chosen else choice) * np.float64(t)), t - 1)
    word = load_id(S, c[HISTORY] + 4 * place)
    if R[STATUS] != 0 or word >= c[VOCAB]:
        R[STATUS] = 1
        return
    touch(S, c[ROWS_OF_WORDS] + 8 * word + 4, 4, READ)
    R[IN_WINDOW] += 4
    if _window(S, R, c[ROWS_OF_WORDS] + 8 * word) > place:
        R[STATUS] = 1
        return
    own = loaded(S, c[OWN], 1)[0]
    R[IN_STATE] += 12
    stored(S, c[OUTCOME], 1)[0] = drawn if drawn >= 0 else word if chosen else own


@njit(**KERNEL)
def _drawn(S, line, used, quantum):  # type: ignore[no-untyped-def]
    """The word whose counts hold the draw; the line has been read and charged before."""
    below = np.int64(0)
    for i in range(used - 1):
        entry = load_id(S, line + 4 + 4 * i)
        below += entry & MOST
        if quantum < np.float64(below):
            return entry >> BITS
    return load_id(S, line + 4 * used) >> BITS


@njit(**KERNEL)
def cache_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    """First what is left to the model, with the weights in `scratch`; then what the window adds."""
    t, n, rest = R[T], min(c[ORDERS] - 1, R[T]), 1.0
    for k in range(n, 0, -1):
        line, used = _line_of(c, S, R, k)
        scratch[k] = _weight(c, W, R, k, _total(S, R, line, used), used) if used > 0 else 0.0
        rest *= 1.0 - np.float64(scratch[k])
    scratch[0] = _weight_of_0(c, W, S, R)
    if R[STATUS] != 0:
        return
    rest *= 1.0 - np.float64(scratch[0])
    p, out = loaded(S, c[OWN], c[VOCAB]), stored(S, c[OUTCOME], c[VOCAB])
    R[IN_STATE] += 8 * c[VOCAB] + 4 * t
    for j in range(c[VOCAB]):
        out[j] = rest * np.float64(p[j])
    rest = 1.0
    for k in range(n, 0, -1):
        if scratch[k] > 0.0 and not _add_list(c, S, k, rest * np.float64(scratch[k]), out):
            R[STATUS] = 1
            return
        rest *= 1.0 - np.float64(scratch[k])
    if not _add_single(c, S, R, rest * np.float64(scratch[0]) / np.float64(t), out):
        R[STATUS] = 1


@njit(**KERNEL)
def _add_list(c, S, k, weight, out):  # type: ignore[no-untyped-def]
    """out += weight q_k; the line has been found and charged before.  False for a word that is none."""
    line = c[LINES] + load_id(S, c[KNOWN] + 4 * k) * c[STRIDE] + LINE * (k - 1)
    total, used = np.int64(0), load_id(S, line) & MOST
    for i in range(used):
        total += load_id(S, line + 4 + 4 * i) & MOST
    for i in range(used):
        entry = load_id(S, line + 4 + 4 * i)
        if entry >> BITS >= c[VOCAB]:
            return False
        out[entry >> BITS] += weight * np.float64(entry & MOST) / np.float64(total)
    return True


@njit(**KERNEL)
def _add_single(c, S, R, share, out):  # type: ignore[no-untyped-def]
    """out += share times the count of every word of the window, where it first occurred."""
    for i in range(R[T]):
        word = load_id(S, c[HISTORY] + 4 * i)
        if word >= c[VOCAB]:
            return False
        at = c[ROWS_OF_WORDS] + 8 * word
        if load_id(S, at) == i:
            R[IN_WINDOW] += 8
            out[word] += share * np.float64(load_id(S, at + 4))
    return True
