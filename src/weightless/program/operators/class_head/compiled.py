"""The compiled twins of `promise.py`: operands as its `lower` lists them, the packed rows of classes or words first."""

from __future__ import annotations

import math

import numpy as np

from weightless.base.compiled import njit
from weightless.kernels.numba.layers import draw, log_sum_exp
from weightless.kernels.numba.memory import id_at, loaded, stored
from weightless.kernels.numba.rows import KERNEL
from weightless.program.operators.products import normed, product, product_of_rows
from weightless.program.registers import STATUS, TARGET


@njit(**KERNEL)
def _class_scores(c, f, W, S, scores):  # type: ignore[no-untyped-def]
    """Scores of all classes."""
    width = c[3]
    h = stored(S, c[8], width)
    normed(W, c[6], loaded(S, c[7], width), width, f[0], h)
    product(W, c, h, scores)


@njit(**KERNEL)
def class_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_classes = c[2]
    scores = scratch[:n_classes]
    _class_scores(c, f, W, S, scores)
    choice = stored(S, c[9], 2)
    norm = log_sum_exp(scores, n_classes)
    slot = id_at(W, c[10], c[11], R[TARGET])
    if slot >= n_classes * c[12]:
        R[STATUS] = 1
        return
    choice[0], choice[1] = slot, norm - np.float64(scores[slot // c[12]])


@njit(**KERNEL)
def class_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    scores = scratch[: c[2]]
    _class_scores(c, f, W, S, scores)
    choice = stored(S, c[9], 2)
    choice[0], choice[1] = draw(scores, c[2], u[0]), 0.0


@njit(**KERNEL)
def class_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_classes = c[2]
    scores = scratch[:n_classes]
    _class_scores(c, f, W, S, scores)
    choice = stored(S, c[9], n_classes)
    norm = log_sum_exp(scores, n_classes)
    for j in range(n_classes):
        choice[j] = np.float64(scores[j]) - norm


@njit(**KERNEL)
def _word_scores(c, W, S, chosen, scratch):  # type: ignore[no-untyped-def]
    """Scores of one class's words into scratch; returns how many of them are real words."""
    n_words, vocab_size = c[9], c[10]
    h = loaded(S, c[6], c[3])
    product_of_rows(W, c, c[0] + chosen * n_words * c[1], n_words, h, scratch[:n_words])
    return min(n_words, vocab_size - chosen * n_words)


@njit(**KERNEL)
def word_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_words = c[9]
    choice, outcome = loaded(S, c[7], 2), stored(S, c[8], 1)
    if not (choice[0] >= 0 and choice[0] < c[2]):
        R[STATUS] = 1
        return
    slot = np.int64(choice[0])
    n = _word_scores(c, W, S, slot // n_words, scratch)
    nats = log_sum_exp(scratch, n) - np.float64(scratch[slot % n_words])
    outcome[0] = np.float64(choice[1]) + nats


@njit(**KERNEL)
def word_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_words = c[9]
    choice, outcome = loaded(S, c[7], 2), stored(S, c[8], 1)
    if not (choice[0] >= 0 and choice[0] < c[2] // n_words):
        R[STATUS] = 1
        return
    chosen = np.int64(choice[0])
    n = _word_scores(c, W, S, chosen, scratch)
    slot = min(chosen * n_words + draw(scratch, n, u[1]), c[10] - 1)
    outcome[0] = id_at(W, c[11], c[12], slot)


@njit(**KERNEL)
def word_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    n_words, vocab_size = c[9], c[10]
    choice, out = loaded(S, c[7], c[2] // n_words), stored(S, c[8], vocab_size)
    for chosen in range(c[2] // n_words):
        n = _word_scores(c, W, S, chosen, scratch)
        norm = log_sum_exp(scratch, n) - np.float64(choice[chosen])
        for j in range(n):
            token = id_at(W, c[11], c[12], chosen * n_words + j)
            if token >= vocab_size:
                R[STATUS] = 1
                return
            out[token] = math.exp(np.float64(scratch[j]) - norm)


@njit(**KERNEL)
def group_score(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    choice, out, per_class = loaded(S, c[7], 2), stored(S, c[8], 2), c[9]
    if not (choice[0] >= 0 and choice[0] < c[10] * c[11]):
        R[STATUS] = 1
        return
    group = np.int64(choice[0]) // c[11]
    n = _word_scores(c, W, S, group // per_class, scratch)
    nats = log_sum_exp(scratch, n) - np.float64(scratch[group % per_class])
    out[0], out[1] = choice[0], np.float64(choice[1]) + nats


@njit(**KERNEL)
def group_sample(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    choice, out, per_class = loaded(S, c[7], 2), stored(S, c[8], 2), c[9]
    if not (choice[0] >= 0 and choice[0] < c[2] // per_class):
        R[STATUS] = 1
        return
    chosen = np.int64(choice[0])
    n = _word_scores(c, W, S, chosen, scratch)
    out[0], out[1] = min(chosen * per_class + draw(scratch, n, u[2]), c[10] - 1), 0.0


@njit(**KERNEL)
def group_full(c, f, W, S, R, u, scratch):  # type: ignore[no-untyped-def]
    per_class, n_groups = c[9], c[10]
    n_classes = c[2] // per_class
    above, out = loaded(S, c[7], n_classes), stored(S, c[8], n_groups)
    for chosen in range(n_classes):
        n = _word_scores(c, W, S, chosen, scratch)
        norm = log_sum_exp(scratch, n) - np.float64(above[chosen])
        for j in range(n):
            out[chosen * per_class + j] = np.float64(scratch[j]) - norm
