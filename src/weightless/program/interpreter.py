"""The compiled engine: one numba function that runs any lowered program, so Python costs nothing per operator.

A lowered program is a table of instructions (`operator.Lowered`): opcode, integer operands (byte offsets,
strides, shapes, formats), float operands.  Weights `W` = (uint8, float32, uint16) and state `S` = (uint8, float32,
uint16, uint32) are views of two flat memories.  Registers:

    ints   [T, TOKEN, TARGET, STATUS, and four of traffic]; STATUS != 0 stops the run: data points outside its table
    floats uniforms in [0, 1)

The registers of traffic add up the bytes of operators whose cost the data decides (n-gram probes), the compiled twin
of their `accesses`: in state, in the context index, in the word index, in cumulative probabilities.
Every address taken from data is checked against its table before use.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from weightless.kernels.codes import QK_EPS
from weightless.kernels.numba_hashing import hashed_row
from weightless.kernels.numba_layers import (
    activate,
    append_kv,
    attend,
    draw,
    log_sum_exp,
    normalise_heads,
    rms_norm,
    rotate_heads,
)
from weightless.kernels.numba_ngram_walk import QUANTA, draw_entry, id_at, own_quanta, search
from weightless.kernels.numba_rows import KERNEL, decode_row, matvec
from weightless.program import opcodes as op

T, TOKEN, TARGET, STATUS = 0, 1, 2, 3
IN_STATE, IN_CONTEXT, IN_WORDS, IN_CUM = 4, 5, 6, 7
N_REGISTERS, N_TRAFFIC = 8, 4

_ACCEPT_TOKEN, _GATHER_ROW, _GATHER_HASHED = op.ACCEPT_TOKEN, op.GATHER_ROW, op.GATHER_HASHED
_NORM_MATVEC, _ROPE_APPEND, _ATTEND, _MATVEC_ADD = op.NORM_MATVEC, op.ROPE_APPEND, op.ATTEND, op.MATVEC_ADD
_NORM_FFN_ADD = op.NORM_FFN_ADD
_LOGITS_SCORE, _LOGITS_SAMPLE, _LOGITS_FULL = op.LOGITS_SCORE, op.LOGITS_SAMPLE, op.LOGITS_FULL
_CLASS_SCORE, _CLASS_SAMPLE, _CLASS_FULL = op.CLASS_SCORE, op.CLASS_SAMPLE, op.CLASS_FULL
_WORD_SCORE, _WORD_SAMPLE, _WORD_FULL = op.WORD_SCORE, op.WORD_SAMPLE, op.WORD_FULL
_NGRAM_CONTEXT, _NGRAM_SCORE, _NGRAM_SAMPLE = op.NGRAM_CONTEXT, op.NGRAM_SCORE, op.NGRAM_SAMPLE
_NGRAM_FULL, _NGRAM_FINISH = op.NGRAM_FULL, op.NGRAM_FINISH


# Inlined, because a function that returns a slice would have to count references to it.
@njit(inline="always", **KERNEL)
def _vector(memory, offset, n):  # type: ignore[no-untyped-def]
    return memory[1][offset // 4 : offset // 4 + n]


@njit(inline="always", **KERNEL)
def _ids(S, offset, n):  # type: ignore[no-untyped-def]
    return S[3][offset // 4 : offset // 4 + n]


@njit(**KERNEL)
def _gather(c, W, S, R, hashed, scratch):  # type: ignore[no-untyped-def]
    history, at, stride, cols, form = _ids(S, c[0], R[T]), c[1], c[2], c[3], c[4]
    if hashed:
        row = hashed_row(history, R[T], c[7], np.uint64(c[8]), c[9], c[6])
    else:
        row = np.int64(history[R[T] - 1])
        if row >= c[7]:
            R[STATUS] = 1
            return
    add = hashed or c[6] != 0
    x = _vector(S, c[5], cols)
    out = scratch[:cols] if add else x
    decode_row(W, at + row * stride, cols, form, out)
    if add:
        for j in range(cols):
            x[j] += out[j]


@njit(**KERNEL)
def _norm_matvec(c, f, W, S, scratch):  # type: ignore[no-untyped-def]
    at, stride, rows, cols, form = c[0], c[1], c[2], c[3], c[4]
    h = scratch[:cols]
    rms_norm(_vector(S, c[6], cols), _vector(W, c[5], cols), f[0], h)
    matvec(W, at, stride, rows, cols, form, h, _vector(S, c[7], rows))


@njit(**KERNEL)
def _rope_append(c, f, S, R, scratch):  # type: ignore[no-untyped-def]
    cache, stride, form, n_heads, n_kv, d_head, qk_norm = c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    n_q, d_kv = n_heads * d_head, n_kv * d_head
    qkv = _vector(S, c[0], n_q + 2 * d_kv)
    kv = scratch[: 2 * d_kv]  # k is rotated in scratch: only the cache row keeps it
    for j in range(2 * d_kv):
        kv[j] = qkv[n_q + j]
    if qk_norm:
        normalise_heads(qkv, n_heads, d_head, QK_EPS)
        normalise_heads(kv, n_kv, d_head, QK_EPS)
    rotate_heads(qkv, n_heads, d_head, R[T] - 1, f[0])
    rotate_heads(kv, n_kv, d_head, R[T] - 1, f[0])
    append_kv(kv, 2 * d_kv, form, S[:3], cache, stride, R[T])


@njit(**KERNEL)
def _attend(c, S, R, scratch):  # type: ignore[no-untyped-def]
    cache, stride, form, n_heads, n_kv, d_head, window = c[2], c[3], c[4], c[5], c[6], c[7], c[8]
    q, out = _vector(S, c[0], n_heads * d_head), _vector(S, c[1], n_heads * d_head)
    first = max(0, R[T] - window) if window > 0 else 0
    attend(q, n_heads, n_kv, d_head, S[:3], cache, stride, form, first, R[T], scratch, out)


@njit(**KERNEL)
def _add_into(x, part, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        x[j] += part[j]


@njit(**KERNEL)
def _matvec_add(c, W, S, scratch):  # type: ignore[no-untyped-def]
    rows, cols = c[2], c[3]
    out = scratch[:rows]
    matvec(W, c[0], c[1], rows, cols, c[4], _vector(S, c[5], cols), out)
    _add_into(_vector(S, c[6], rows), out, rows)


@njit(**KERNEL)
def _norm_ffn_add(c, f, W, S, scratch):  # type: ignore[no-untyped-def]
    n_up, width, d_ff = c[2], c[7], c[8]
    x = _vector(S, c[10], width)
    h, hidden = scratch[:width], scratch[width : width + n_up]
    inner = scratch[width + n_up : width + n_up + d_ff]
    rms_norm(x, _vector(W, c[9], width), f[0], h)
    matvec(W, c[0], c[1], n_up, width, c[3], h, hidden)
    activate(hidden, d_ff, c[11], inner)
    matvec(W, c[4], c[5], width, d_ff, c[6], inner, h)
    _add_into(x, h, width)


@njit(**KERNEL)
def _logits(code, c, S, R, u):  # type: ignore[no-untyped-def]
    n = c[1]
    logits = _vector(S, c[0], n)
    if code == _LOGITS_SCORE:
        _vector(S, c[2], 1)[0] = log_sum_exp(logits, n) - np.float64(logits[R[TARGET]])
    elif code == _LOGITS_SAMPLE:
        _vector(S, c[2], 1)[0] = draw(logits, n, u[0])
    else:
        out, norm = _vector(S, c[2], n), log_sum_exp(logits, n)
        for j in range(n):
            out[j] = math.exp(np.float64(logits[j]) - norm)


@njit(**KERNEL)
def _classes(code, c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_classes, width = c[2], c[3]
    h, scores = _vector(S, c[7], width), scratch[:n_classes]
    rms_norm(_vector(S, c[6], width), _vector(W, c[5], width), f[0], h)
    matvec(W, c[0], c[1], n_classes, width, c[4], h, scores)
    choice = _vector(S, c[8], n_classes if code == _CLASS_FULL else 2)
    norm = log_sum_exp(scores, n_classes)
    if code == _CLASS_SAMPLE:
        choice[0], choice[1] = draw(scores, n_classes, u[0]), 0.0
    elif code == _CLASS_FULL:
        for j in range(n_classes):
            choice[j] = np.float64(scores[j]) - norm
    else:
        slot = id_at(W[0], c[9], c[10], R[TARGET])
        if slot >= n_classes * c[11]:
            R[STATUS] = 1
            return
        choice[0], choice[1] = slot, norm - np.float64(scores[slot // c[11]])


@njit(**KERNEL)
def _word_scores(c, W, S, chosen, scratch):  # type: ignore[no-untyped-def]
    """Scores of one class's words into scratch; returns how many of them are real words."""
    stride, width, form, n_words, vocab_size = c[1], c[3], c[4], c[8], c[9]
    matvec(
        W, c[0] + chosen * n_words * stride, stride, n_words, width, form, _vector(S, c[5], width), scratch[:n_words]
    )
    return min(n_words, vocab_size - chosen * n_words)


@njit(**KERNEL)
def _words(code, c, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_words, vocab_size = c[8], c[9]
    if code == _WORD_FULL:
        _words_full(c, W, S, R, scratch)
        return
    choice, outcome = _vector(S, c[6], 2), _vector(S, c[7], 1)
    if not (choice[0] >= 0 and choice[0] < (c[2] if code == _WORD_SCORE else c[2] // n_words)):
        R[STATUS] = 1
        return
    if code == _WORD_SCORE:
        slot = np.int64(choice[0])
        n = _word_scores(c, W, S, slot // n_words, scratch)
        nats = log_sum_exp(scratch, n) - np.float64(scratch[slot % n_words])
        outcome[0] = np.float64(choice[1]) + nats
    else:
        chosen = np.int64(choice[0])
        n = _word_scores(c, W, S, chosen, scratch)
        slot = min(chosen * n_words + draw(scratch, n, u[1]), vocab_size - 1)
        outcome[0] = id_at(W[0], c[10], c[11], slot)


@njit(**KERNEL)
def _words_full(c, W, S, R, scratch):  # type: ignore[no-untyped-def]
    n_words, vocab_size = c[8], c[9]
    choice, out = _vector(S, c[6], c[2] // n_words), _vector(S, c[7], vocab_size)
    for chosen in range(c[2] // n_words):
        n = _word_scores(c, W, S, chosen, scratch)
        norm = log_sum_exp(scratch, n) - np.float64(choice[chosen])
        for j in range(n):
            token = id_at(W[0], c[10], c[11], chosen * n_words + j)
            if token >= vocab_size:
                R[STATUS] = 1
                return
            out[token] = math.exp(np.float64(scratch[j]) - norm)


@njit(**KERNEL)
def _ngram_context(c, W, S, R):  # type: ignore[no-untyped-def]
    node_at, n_cols, n_rows, level = c[2], c[3], c[4], c[5]
    history, found = _ids(S, c[0], R[T]), _ids(S, c[1], 4)
    at = np.int64(-1)
    R[IN_STATE] += 16
    if level == 1:
        at = np.int64(history[R[T] - 1])
        R[IN_STATE] += 4
    elif R[T] >= level:
        parent = _ids(S, c[6], 2)
        R[IN_STATE] += 8
        first, end = np.int64(parent[0]), np.int64(parent[1])
        if end > n_rows - 1:
            R[STATUS] = 1
            return
        if first < end:
            at, probes = search(W[0], c[7], c[8], first, end, np.int64(history[R[T] - level]))
            R[IN_STATE] += 4
            R[IN_CONTEXT] += probes * c[8]
    found[:] = np.uint32(0)
    if at >= n_rows - 1:
        R[STATUS] = 1
    elif at >= 0:
        R[IN_CONTEXT] += 8 * n_cols
        first_cell = n_cols * at
        found[2] = id_at(W[0], node_at, 4, first_cell + n_cols - 1)
        found[3] = id_at(W[0], node_at, 4, first_cell + 2 * n_cols - 1)
        if n_cols == 2:
            found[0], found[1] = id_at(W[0], node_at, 4, first_cell), id_at(W[0], node_at, 4, first_cell + 2)


@njit(**KERNEL)
def _list_range(c, S, R):  # type: ignore[no-untyped-def]
    """(first, end) of this level's continuation list; level 0 owns the whole table."""
    if c[3] == 0:
        return np.int64(0), c[2]
    found = _ids(S, c[4], 4)
    R[IN_STATE] += 8
    first, end = np.int64(found[2]), np.int64(found[3])
    if end > c[2]:
        R[STATUS] = 1
        return np.int64(0), np.int64(0)
    return first, end


@njit(**KERNEL)
def _ngram_score(c, W, S, R):  # type: ignore[no-untyped-def]
    p, cum_at = _vector(S, c[0], 1), c[1]
    first, end = _list_range(c, S, R)
    if c[3] == 0:
        p[0] = np.float64(own_quanta(W[0], cum_at, 0, R[TARGET])) / QUANTA
        R[IN_STATE] += 4
        R[IN_CUM] += 8 if R[TARGET] > 0 else 4
        return
    if first >= end:
        return
    at, probes = search(W[0], c[5], c[6], first, end, R[TARGET])
    own, entries = np.int64(0), 1
    if at >= 0:
        own = own_quanta(W[0], cum_at, first, at)
        entries += (1 if at < end - 1 else 0) + (1 if at > first else 0)
    gamma = QUANTA - id_at(W[0], cum_at, 4, end - 1)
    p[0] = (np.float64(own) + np.float64(gamma) * np.float64(p[0])) / QUANTA
    R[IN_STATE] += 8
    R[IN_WORDS] += probes * c[6]
    R[IN_CUM] += 4 * entries


@njit(**KERNEL)
def _ngram_sample(c, W, S, R, u):  # type: ignore[no-untyped-def]
    outcome, is_first = _vector(S, c[0], 1), c[7] != 0
    if not is_first:
        R[IN_STATE] += 4
        if outcome[0] >= 0:
            return
    first, end = _list_range(c, S, R)
    at, read = draw_entry(W[0], c[1], first, end, u[c[3]])
    R[IN_CUM] += 4 * read
    if at >= 0:
        outcome[0] = id_at(W[0], c[5], c[6], at) if c[3] > 0 else at
        R[IN_WORDS] += c[6]
        R[IN_STATE] += 4
    elif is_first:
        outcome[0] = -1.0
        R[IN_STATE] += 4


@njit(**KERNEL)
def _ngram_full(c, W, S, R):  # type: ignore[no-untyped-def]
    vocab_size = c[7]
    p = _vector(S, c[0], vocab_size)
    first, end = _list_range(c, S, R)
    if c[3] == 0:
        R[IN_STATE] += 4 * vocab_size
        R[IN_CUM] += 4 * vocab_size
        for j in range(vocab_size):
            p[j] = np.float64(own_quanta(W[0], c[1], 0, j)) / QUANTA
        return
    if first >= end:
        return
    R[IN_STATE] += 8 * vocab_size
    R[IN_WORDS] += (end - first) * c[6]
    R[IN_CUM] += (end - first) * 4
    gamma = np.float64(QUANTA - id_at(W[0], c[1], 4, end - 1)) / QUANTA
    for j in range(vocab_size):
        p[j] = np.float64(p[j]) * gamma
    for i in range(first, end):
        word = id_at(W[0], c[5], c[6], i)
        if word >= vocab_size:
            R[STATUS] = 1
            return
        p[word] += np.float64(own_quanta(W[0], c[1], first, i)) / QUANTA


@njit(**KERNEL)
def _run(kind, c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    """One instruction."""
    if kind == _ACCEPT_TOKEN:
        _ids(S, c[0], R[T])[R[T] - 1] = np.uint32(R[TOKEN])
    elif kind == _GATHER_ROW or kind == _GATHER_HASHED:
        _gather(c, W, S, R, kind == _GATHER_HASHED, scratch)
    elif kind == _NORM_MATVEC:
        _norm_matvec(c, f, W, S, scratch)
    elif kind == _ROPE_APPEND:
        _rope_append(c, f, S, R, scratch)
    elif kind == _ATTEND:
        _attend(c, S, R, scratch)
    elif kind == _MATVEC_ADD:
        _matvec_add(c, W, S, scratch)
    elif kind == _NORM_FFN_ADD:
        _norm_ffn_add(c, f, W, S, scratch)
    elif kind <= _LOGITS_FULL:
        _logits(kind, c, S, R, u)
    elif kind <= _CLASS_FULL:
        _classes(kind, c, f, W, S, R, u, scratch)
    elif kind <= _WORD_FULL:
        _words(kind, c, W, S, R, u, scratch)
    elif kind == _NGRAM_CONTEXT:
        _ngram_context(c, W, S, R)
    elif kind == _NGRAM_SCORE:
        _ngram_score(c, W, S, R)
    elif kind == _NGRAM_SAMPLE:
        _ngram_sample(c, W, S, R, u)
    elif kind == _NGRAM_FULL:
        _ngram_full(c, W, S, R)
    elif kind == _NGRAM_FINISH:
        _vector(S, c[1], 1)[0] = -math.log(np.float64(_vector(S, c[0], 1)[0]))


@njit(**KERNEL)
def drive(code, floats, spans, W, S, R, u, scratch, tokens, targets, results, traffic):  # type: ignore[no-untyped-def]
    """For every i: feed tokens[i] with the body, then run a head with target targets[i]; `results` takes the outcome.

    `spans` = (first and last instruction of the body, of the head, byte offset of the outcome); an empty body runs
    the head where the engine stands, an empty head only feeds.  traffic[i] = bytes of data-decided operators, by where.
    """
    for i in range(len(tokens)):
        R[TOKEN], R[TARGET] = tokens[i], targets[i]
        for k in range(N_TRAFFIC):
            R[IN_STATE + k] = 0
        if spans[1] > spans[0]:
            R[T] += 1
        n_body = spans[1] - spans[0]
        for k in range(n_body + spans[3] - spans[2]):
            at = spans[0] + k if k < n_body else spans[2] + k - n_body
            _run(code[at, 0], code[at, 1:], floats[at], W, S, R, u, scratch)
            if R[STATUS] != 0:
                return
        results[i] = _vector(S, spans[4], 1)[0]
        for k in range(N_TRAFFIC):
            traffic[i, k] = R[IN_STATE + k]
