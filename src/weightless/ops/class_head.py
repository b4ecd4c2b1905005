"""A softmax in two levels (Goodman 2001, cs/0108006): first the class, then the word in it.  Exactly normalised.

S = C x W slots: slot s is word s mod W of class s div W.  Slots from `n_valid` (the vocabulary size) on are padding, in
the last class only, with probability 0.  Which token sits in which slot is a permutation the caller keeps.

    log p(s | h) = log_softmax(classes h)[s div W] + log_softmax(words_{s div W} h)[s mod W]

One token costs C + W rows instead of S.  Products and softmaxes are float32 at least; log p has the dtype of h.
Shapes: N positions, D width.  Errors: ConfigError when shapes do not fit.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.ops.arguments import as_given, working_dtype
from weightless.ops.cross_entropy import log_softmax


def words_per_class(n_slots: int, n_classes: int, n_valid: int) -> int:
    """W; refuses classes of unequal size and padding outside the last class (which keeps at least one word)."""
    if n_classes < 1 or n_slots % n_classes:
        raise ConfigError(f"{n_slots} word rows do not divide into {n_classes} classes")
    n_words = n_slots // n_classes
    if not n_slots - n_words < n_valid <= n_slots:
        raise ConfigError(f"{n_valid} of {n_slots} slots: only the last of {n_classes} classes may have padding")
    return n_words


def class_log_probs(h_ND: np.ndarray, classes_CD: np.ndarray, words_SD: np.ndarray, n_valid: int) -> np.ndarray:
    """The whole distribution, log p [N, n_valid] in slot order, as an outer sum of the two levels."""
    words_per_class(len(words_SD), len(classes_CD), n_valid)
    given, work = h_ND, working_dtype(h_ND, classes_CD, words_SD)
    h_ND, classes_CD, words_SD = (array.astype(work, copy=False) for array in (h_ND, classes_CD, words_SD))
    return as_given(below(h_ND, log_softmax(h_ND @ classes_CD.T), words_SD, n_valid), given)


def below(h_ND: np.ndarray, above_NG: np.ndarray, rows_SD: np.ndarray, n_valid: int) -> np.ndarray:
    """log p [N, n_valid] of the slots of the next level from that of the G groups above, whose slots are equally many.

    Levels may follow each other: classes, groups of words, words.
    """
    words_per_class(len(rows_SD), above_NG.shape[1], n_valid)
    score_NS = h_ND @ rows_SD.T
    score_NS[:, n_valid:] = -np.inf
    within_NGW = log_softmax(score_NS.reshape(len(h_ND), above_NG.shape[1], -1))
    return (above_NG[:, :, None] + within_NGW).reshape(len(h_ND), -1)[:, :n_valid]


def slot_log_prob(h_D: np.ndarray, classes_CD: np.ndarray, words_SD: np.ndarray, n_valid: int, slot: int) -> float:
    """log p of one slot, reading only the class rows and the rows of its class (the path a scorer touches)."""
    n_words = words_per_class(len(words_SD), len(classes_CD), n_valid)
    if not 0 <= slot < n_valid:
        raise ConfigError(f"slot {slot} is not one of the {n_valid} words")
    in_class, word = divmod(slot, n_words)
    work = working_dtype(h_D, classes_CD, words_SD)
    h_D, classes_CD, words_SD = (array.astype(work, copy=False) for array in (h_D, classes_CD, words_SD))
    rows_WD = words_SD[in_class * n_words : min((in_class + 1) * n_words, n_valid)]
    return float(log_softmax(classes_CD @ h_D)[in_class] + log_softmax(rows_WD @ h_D)[word])
