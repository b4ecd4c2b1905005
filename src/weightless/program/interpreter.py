"""The compiled engine: one numba function that runs any lowered program, so Python costs nothing per operator.

A lowered program is a table of instructions (`operator.Lowered`): opcode, integer operands (byte offsets,
strides, shapes, formats), float operands.  Weights `W` = (uint8, float32, uint16) and state `S` = (uint8, float32,
uint16, uint32) are views of two flat memories, followed by a log in the engine that logs; whatever an operator touches
is taken through `kernels.numba_memory`, which writes it there.  `registers.py` names the registers; the instructions of
counted models are in `interpreter_ngram.py`, `interpreter_suffix.py` and `interpreter_mixing.py`.
Every address taken from data is checked against its table before use.
"""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.codes import QK_EPS
from weightless.kernels.numba_attend import attend
from weightless.kernels.numba_hashing import hashed_row
from weightless.kernels.numba_layers import (
    activate,
    append_kv,
    draw,
    exp_shifted,
    log_sum_exp,
    normalise_heads,
    rms_norm,
    rotate_heads,
)
from weightless.kernels.numba_matvec import matvec
from weightless.kernels.numba_memory import (
    READ,
    WRITE,
    begin,
    id_at,
    loaded,
    store_id,
    stored,
    touch,
    touch_rows,
    updated,
)
from weightless.kernels.numba_rows import KERNEL, decode_row
from weightless.program import opcodes as op
from weightless.program.interpreter_mixing import run_mixing
from weightless.program.interpreter_ngram import run_ngram
from weightless.program.interpreter_suffix import run_suffix
from weightless.program.registers import IN_STATE, N_REGISTERS, N_TRAFFIC, STATUS, TARGET, TOKEN, T

__all__ = ["IN_STATE", "N_REGISTERS", "N_TRAFFIC", "STATUS", "TARGET", "TOKEN", "T", "drive"]

_ACCEPT_TOKEN, _GATHER_ROW, _GATHER_HASHED = op.ACCEPT_TOKEN, op.GATHER_ROW, op.GATHER_HASHED
_NORM_MATVEC, _ROPE_APPEND, _ATTEND, _MATVEC_ADD = op.NORM_MATVEC, op.ROPE_APPEND, op.ATTEND, op.MATVEC_ADD
_NORM_FFN_ADD = op.NORM_FFN_ADD
_LOGITS_SCORE, _LOGITS_SAMPLE, _LOGITS_FULL = op.LOGITS_SCORE, op.LOGITS_SAMPLE, op.LOGITS_FULL
_CLASS_SCORE, _CLASS_SAMPLE, _CLASS_FULL = op.CLASS_SCORE, op.CLASS_SAMPLE, op.CLASS_FULL
_WORD_SCORE, _WORD_SAMPLE, _WORD_FULL = op.WORD_SCORE, op.WORD_SAMPLE, op.WORD_FULL
_UNIGRAM_SAMPLE, _SUFFIX_FULL = op.UNIGRAM_SAMPLE, op.SUFFIX_FULL


@njit(**KERNEL)
def _add_into(x, part, n):  # type: ignore[no-untyped-def]
    for j in range(n):
        x[j] += part[j]


@njit(**KERNEL)
def _product(W, at, stride, rows, cols, form, x, out):  # type: ignore[no-untyped-def]
    """out = the stored rows from byte `at` on, times x."""
    touch_rows(W, at, stride, rows, cols, form, READ)
    matvec(W[:3], at, stride, rows, cols, form, x, out)


@njit(**KERNEL)
def _gather(c, W, S, R, hashed, scratch):  # type: ignore[no-untyped-def]
    at, stride, cols, form = c[1], c[2], c[3], c[4]
    seen = min(c[7], R[T]) if hashed else 1
    touch(S, c[0] + 4 * (R[T] - seen), 4 * seen, READ)
    history = S[3][c[0] // 4 : c[0] // 4 + R[T]]
    if hashed:
        row = hashed_row(history, R[T], c[7], np.uint64(c[8]), c[9], c[6])
    else:
        row = np.int64(history[R[T] - 1])
        if row >= c[7]:
            R[STATUS] = 1
            return
    touch_rows(W, at + row * stride, stride, 1, cols, form, READ)
    x = stored(S, c[5], cols)
    if hashed or c[6] != 0:
        touch(S, c[5], 4 * cols, READ)
        decode_row(W[:3], at + row * stride, cols, form, scratch[:cols])
        _add_into(x, scratch, cols)
    else:
        decode_row(W[:3], at + row * stride, cols, form, x)


@njit(**KERNEL)
def _norm_matvec(c, f, W, S, scratch):  # type: ignore[no-untyped-def]
    at, stride, rows, cols, form = c[0], c[1], c[2], c[3], c[4]
    h = scratch[:cols]
    rms_norm(loaded(S, c[6], cols), loaded(W, c[5], cols), f[0], h)
    _product(W, at, stride, rows, cols, form, h, stored(S, c[7], rows))


@njit(**KERNEL)
def _rope_append(c, f, S, R, scratch):  # type: ignore[no-untyped-def]
    cache, stride, form, n_heads, n_kv, d_head, qk_norm = c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    n_q, d_kv = n_heads * d_head, n_kv * d_head
    qkv = loaded(S, c[0], n_q + 2 * d_kv)
    touch(S, c[0], 4 * n_q, WRITE)
    kv = scratch[: 2 * d_kv]  # k is rotated in scratch: only the cache row keeps it
    for j in range(2 * d_kv):
        kv[j] = qkv[n_q + j]
    if qk_norm:
        normalise_heads(qkv, n_heads, d_head, QK_EPS)
        normalise_heads(kv, n_kv, d_head, QK_EPS)
    rotate_heads(qkv, n_heads, kv, n_kv, d_head, R[T] - 1, f[0])
    touch_rows(S, cache + (R[T] - 1) * stride, stride, 1, 2 * d_kv, form, WRITE)
    append_kv(kv, 2 * d_kv, form, S[:3], cache, stride, R[T])


@njit(**KERNEL)
def _attend(c, S, R, scratch):  # type: ignore[no-untyped-def]
    cache, stride, form, n_heads, n_kv, d_head, window = c[2], c[3], c[4], c[5], c[6], c[7], c[8]
    q, out = loaded(S, c[0], n_heads * d_head), stored(S, c[1], n_heads * d_head)
    first = max(0, R[T] - window) if window > 0 else 0
    touch_rows(S, cache + first * stride, stride, R[T] - first, 2 * n_kv * d_head, form, READ)
    attend(q, n_heads, n_kv, d_head, S[:3], cache, stride, form, first, R[T], scratch, out)


@njit(**KERNEL)
def _matvec_add(c, W, S, scratch):  # type: ignore[no-untyped-def]
    rows, cols = c[2], c[3]
    out = scratch[:rows]
    _product(W, c[0], c[1], rows, cols, c[4], loaded(S, c[5], cols), out)
    _add_into(updated(S, c[6], rows), out, rows)


@njit(**KERNEL)
def _norm_ffn_add(c, f, W, S, scratch):  # type: ignore[no-untyped-def]
    n_up, width, d_ff = c[2], c[7], c[8]
    x = updated(S, c[10], width)
    h, hidden = scratch[:width], scratch[width : width + n_up]
    inner = scratch[width + n_up : width + n_up + d_ff]
    rms_norm(x, loaded(W, c[9], width), f[0], h)
    _product(W, c[0], c[1], n_up, width, c[3], h, hidden)
    activate(hidden, d_ff, c[11], inner)
    _product(W, c[4], c[5], width, d_ff, c[6], inner, h)
    _add_into(x, h, width)


@njit(**KERNEL)
def _logits(code, c, S, R, u):  # type: ignore[no-untyped-def]
    n = c[1]
    logits = loaded(S, c[0], n)
    if code == _LOGITS_SCORE:
        stored(S, c[2], 1)[0] = log_sum_exp(logits, n) - np.float64(logits[R[TARGET]])
    elif code == _LOGITS_SAMPLE:
        stored(S, c[2], 1)[0] = draw(logits, n, u[0])
    else:
        exp_shifted(logits, log_sum_exp(logits, n), n, stored(S, c[2], n))


@njit(**KERNEL)
def _classes(code, c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_classes, width = c[2], c[3]
    h, scores = stored(S, c[7], width), scratch[:n_classes]
    rms_norm(loaded(S, c[6], width), loaded(W, c[5], width), f[0], h)
    _product(W, c[0], c[1], n_classes, width, c[4], h, scores)
    choice = stored(S, c[8], n_classes if code == _CLASS_FULL else 2)
    norm = log_sum_exp(scores, n_classes)
    if code == _CLASS_SAMPLE:
        choice[0], choice[1] = draw(scores, n_classes, u[0]), 0.0
    elif code == _CLASS_FULL:
        for j in range(n_classes):
            choice[j] = np.float64(scores[j]) - norm
    else:
        slot = id_at(W, c[9], c[10], R[TARGET])
        if slot >= n_classes * c[11]:
            R[STATUS] = 1
            return
        choice[0], choice[1] = slot, norm - np.float64(scores[slot // c[11]])


@njit(**KERNEL)
def _word_scores(c, W, S, chosen, scratch):  # type: ignore[no-untyped-def]
    """Scores of one class's words into scratch; returns how many of them are real words."""
    stride, width, form, n_words, vocab_size = c[1], c[3], c[4], c[8], c[9]
    h, block = loaded(S, c[5], width), c[0] + chosen * n_words * stride
    _product(W, block, stride, n_words, width, form, h, scratch[:n_words])
    return min(n_words, vocab_size - chosen * n_words)


@njit(**KERNEL)
def _words(code, c, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_words, vocab_size = c[8], c[9]
    if code == _WORD_FULL:
        _words_full(c, W, S, R, scratch)
        return
    choice, outcome = loaded(S, c[6], 2), stored(S, c[7], 1)
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
        outcome[0] = id_at(W, c[10], c[11], slot)


@njit(**KERNEL)
def _words_full(c, W, S, R, scratch):  # type: ignore[no-untyped-def]
    n_words, vocab_size = c[8], c[9]
    choice, out = loaded(S, c[6], c[2] // n_words), stored(S, c[7], vocab_size)
    for chosen in range(c[2] // n_words):
        n = _word_scores(c, W, S, chosen, scratch)
        norm = log_sum_exp(scratch, n) - np.float64(choice[chosen])
        for j in range(n):
            token = id_at(W, c[10], c[11], chosen * n_words + j)
            if token >= vocab_size:
                R[STATUS] = 1
                return
            out[token] = math.exp(np.float64(scratch[j]) - norm)


@njit(**KERNEL)
def _run(kind, c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    """One instruction."""
    if kind == _ACCEPT_TOKEN:
        store_id(S, c[0] + 4 * (R[T] - 1), R[TOKEN])
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
    elif kind <= _UNIGRAM_SAMPLE:
        run_ngram(kind, c, W, S, R, u)
    elif kind <= _SUFFIX_FULL:
        run_suffix(kind, c, W, S, R, u)
    else:
        run_mixing(kind, c, W, S, R, u)


@njit(**KERNEL)
def drive(code, floats, spans, W, S, R, u, scratch, tokens, targets, results, traffic):  # type: ignore[no-untyped-def]
    """For every i: feed tokens[i] with the body, then run a head with target targets[i]; `results` takes the outcome.

    `spans` = (first and last instruction of the body, of the head, byte offset of the outcome); an empty body runs
    the head where the engine stands, an empty head only feeds.  traffic[i] = bytes of data-decided operators, by where.
    In a log, operator k of the i-th token is operation i * (operators per token) + k.
    """
    for i in range(len(tokens)):
        R[TOKEN], R[TARGET] = tokens[i], targets[i]
        for k in range(N_TRAFFIC):
            R[IN_STATE + k] = 0
        if spans[1] > spans[0]:
            R[T] += 1
        n_body = spans[1] - spans[0]
        n_steps = n_body + spans[3] - spans[2]
        for k in range(n_steps):
            at = spans[0] + k if k < n_body else spans[2] + k - n_body
            begin(W, i * n_steps + k)
            _run(code[at, 0], code[at, 1:], floats[at], W, S, R, u, scratch)
            if R[STATUS] != 0:
                return
        results[i] = S[1][spans[4] // 4]
        for k in range(N_TRAFFIC):
            traffic[i, k] = R[IN_STATE + k]
