"""Balanced classes of tokens that follow similar contexts, for a two-level softmax head.

A good class is easy to predict from the context and leaves little to say about the word: its tokens should be
preceded by the same things (Brown et al. 1992 had the same aim).  Each token is described by the square roots of
the frequencies of the tokens before it (Hellinger geometry), reduced by a randomised SVD, and the set is halved
again and again across its principal direction.  Every class gets exactly W tokens, the last one what is left.

V tokens, C classes of W = ceil(V / C) words, P previous tokens kept, S singular directions kept.
"""

from __future__ import annotations

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.random import rng_for

N_PREVIOUS = 1024
N_DIRECTIONS = 48
SAMPLE_TOKENS = 20_000_000


def class_slots(tokens: np.ndarray, vocab_size: int, n_classes: int, seed: int) -> np.ndarray:
    """token_of_slot int64 [V]: a permutation of the tokens, slot s belonging to class s div W."""
    if not 1 <= n_classes <= vocab_size:
        raise ConfigError(f"{n_classes} classes do not suit a vocabulary of {vocab_size}")
    n_words = -(-vocab_size // n_classes)
    features_VS = context_features(np.asarray(tokens[:SAMPLE_TOKENS]), vocab_size, seed)
    return np.concatenate(_halved(np.arange(vocab_size), features_VS, n_words))


def frequency_slots(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """token_of_slot by falling frequency: the simple alternative, kept as a control."""
    counts = np.bincount(np.asarray(tokens[:SAMPLE_TOKENS]), minlength=vocab_size)
    return np.argsort(-counts, kind="stable")


def context_features(tokens: np.ndarray, vocab_size: int, seed: int) -> np.ndarray:
    """float32 [V, S]: reduced Hellinger vectors of what precedes each token; zeros for tokens never seen."""
    counts_V = np.bincount(tokens, minlength=vocab_size)
    frequent = np.argsort(-counts_V, kind="stable")[:N_PREVIOUS]
    column_V = np.full(vocab_size, len(frequent))
    column_V[frequent] = np.arange(len(frequent))
    width = len(frequent) + 1  # the last column gathers all rarer predecessors
    pairs = tokens[1:].astype(np.int64) * width + column_V[tokens[:-1]]
    table_VP = np.bincount(pairs, minlength=vocab_size * width).reshape(vocab_size, width).astype(np.float32)
    table_VP = np.sqrt(table_VP / np.maximum(table_VP.sum(1, keepdims=True), 1))
    return _leading_directions(table_VP - table_VP.mean(0), seed)


def _leading_directions(table_VP: np.ndarray, seed: int) -> np.ndarray:
    """Coordinates along the leading right singular vectors, by two rounds of subspace iteration."""
    n = min(N_DIRECTIONS, *table_VP.shape)
    start = rng_for(seed, "token classes").standard_normal((table_VP.shape[1], n)).astype(np.float32)
    basis, _ = np.linalg.qr(table_VP.T @ (table_VP @ start))
    basis, _ = np.linalg.qr(table_VP.T @ (table_VP @ basis))
    left, size, _ = np.linalg.svd(table_VP @ basis, full_matrices=False)
    return left * size


def _halved(members: np.ndarray, features_VS: np.ndarray, n_words: int) -> list[np.ndarray]:
    """Split `members` into runs of n_words; all but the last are full."""
    if len(members) <= n_words:
        return [members]
    here_MS = features_VS[members]
    centred_MS = here_MS - here_MS.mean(0)
    _, directions = np.linalg.eigh(centred_MS.T @ centred_MS)
    order = np.argsort(centred_MS @ directions[:, -1], kind="stable")
    n_runs = -(-len(members) // n_words)
    cut = n_runs // 2 * n_words
    return [*_halved(members[order[:cut]], features_VS, n_words), *_halved(members[order[cut:]], features_VS, n_words)]
