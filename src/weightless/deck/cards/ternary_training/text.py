"""The text of the ternary card: fables, of one seed to train on, of others to be judged by; and counts of it.

    training_text()            what `deck deploy` writes as train_data.txt: the same bytes on every machine
    hidden_windows(rng, ...)   stories of a seed that is drawn for this grading, cut into windows
    counted_bits(windows)      bits per byte of a unigram and of a bigram model of the training text on those windows

Stories stand one after another, nothing between them (each ends with a line end), so a byte is a token and no other
token is needed.  How well they can be predicted is known: `fables.entropy_bits_per_byte()`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from weightless.data.text import fables

TRAINING_SEED, TRAINING_BYTES = 0, 1_000_000
FIRST_HIDDEN_SEED, LAST_HIDDEN_SEED = 1_000_000, 2**31
N_BYTES = 256


def training_text(seed: int = TRAINING_SEED, n_bytes: int = TRAINING_BYTES) -> bytes:
    """Whole stories of a seed, until `n_bytes` are reached."""
    return b"".join(fables.documents(seed, n_bytes))


def hidden_windows(rng: np.random.Generator, n_windows: int, length: int) -> np.ndarray:
    """uint8 (n_windows, length) of a text that nobody has seen."""
    seed = int(rng.integers(FIRST_HIDDEN_SEED, LAST_HIDDEN_SEED))
    text = np.frombuffer(training_text(seed, n_windows * length), np.uint8)
    return text[: n_windows * length].reshape(n_windows, length)


@cache
def counts() -> np.ndarray:
    """(256, 256) how often a byte follows a byte in the training text."""
    text = np.frombuffer(training_text(), np.uint8).astype(np.int64)
    return np.bincount(text[:-1] * N_BYTES + text[1:], minlength=N_BYTES**2).reshape(N_BYTES, N_BYTES)


def counted_bits(windows: np.ndarray) -> tuple[float, float]:
    """Bits per byte of (unigram, bigram) on every byte of the windows but the first of each.

    unigram (n_x + 1/2) / (n + 128)        bigram (n_yx + 2 unigram) / (n_y + 2)
    """
    pairs = counts()
    unigram = (pairs.sum(axis=0) + 0.5) / (pairs.sum() + N_BYTES / 2)
    bigram = (pairs + 2 * unigram) / (pairs.sum(axis=1, keepdims=True) + 2)
    before, after = windows[:, :-1], windows[:, 1:]
    return float(-np.log2(unigram[after]).mean()), float(-np.log2(bigram[before, after]).mean())
