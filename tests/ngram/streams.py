"""Streams for the tests of this room: flat and Zipfian, seeded."""

from __future__ import annotations

import numpy as np


def zipfian(n_tokens: int, vocab_size: int, seed: int = 0, exponent: float = 1.3) -> np.ndarray:
    """Word i with probability about 1 / (i + 1)^exponent, each word's rank being its id."""
    ranks = np.random.default_rng(seed).zipf(exponent, n_tokens)
    return ((ranks - 1) % vocab_size).astype(np.uint32)


def flat(n_tokens: int, vocab_size: int, seed: int = 0) -> np.ndarray:
    """Every word equally likely."""
    return np.random.default_rng(seed).integers(0, vocab_size, n_tokens).astype(np.uint32)
