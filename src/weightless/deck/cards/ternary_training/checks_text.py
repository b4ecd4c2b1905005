"""What a checkpoint has learnt, on text of this grading, by the verifier's own forward pass; what its loader says."""

from __future__ import annotations

import numpy as np

from weightless.deck.asking import processor_seconds
from weightless.deck.bench import Bench, Worker
from weightless.deck.cards.ternary_training.checkpoint import LIMITS, N_BYTES, Checkpoint, decoded, loaded
from weightless.deck.cards.ternary_training.forward import bits_per_byte, log_probs
from weightless.deck.cards.ternary_training.text import counted_bits, hidden_windows
from weightless.deck.comparing import array_of, close
from weightless.deck.outcome import Failed

NAME = "log_probs"
N_WINDOWS, LONGEST_WINDOW, SHORTEST_WINDOW = 6, 256, 16
LARGEST_PERPLEXITY = 100.0
"""For each byte; 256 is what a model says that knows nothing."""
SLOWER, GRACE = 40.0, 2.0


def asked(worker: Worker, tokens: np.ndarray) -> np.ndarray:
    """(T, 256) of one call, float32 or float64."""
    found = worker.call(NAME, tokens.tolist())
    dtype = found.dtype if isinstance(found, np.ndarray) and found.dtype in (np.float32, np.float64) else np.float32
    return array_of(found, (len(tokens), N_BYTES), dtype, f"{NAME} of {len(tokens)} bytes")


def windows(bench: Bench, model: Checkpoint, n: int = N_WINDOWS) -> np.ndarray:
    """Hidden windows that the model's context holds, with one byte more to be predicted."""
    length = min(model.config.max_position_embeddings, LONGEST_WINDOW)
    if length < SHORTEST_WINDOW:
        raise Failed("WRONG_SHAPE", f"a context of {length} bytes is below {SHORTEST_WINDOW}")
    return hidden_windows(bench.rng, n, length + 1)


def plain_call(bench: Bench) -> None:
    with bench.solution(LIMITS) as worker:
        asked(worker, np.frombuffer(b"The old wolf", np.uint8))


def better_than_unigram(bench: Bench) -> None:
    with bench.solution(LIMITS) as worker:
        model = decoded(loaded(worker))
    text = windows(bench, model)
    bits, (unigram, _) = bits_per_byte(model, text), counted_bits(text)
    if not 2**bits < LARGEST_PERPLEXITY:
        raise Failed(
            "WRONG_NUMERIC", f"perplexity {2**bits:.4g} for each byte; it should be below {LARGEST_PERPLEXITY:g}"
        )
    if not bits < unigram:
        told = f"counts of single bytes need {unigram:.2f}: nothing was learnt"
        raise Failed("WRONG_NUMERIC", f"{bits:.2f} bits per byte of hidden text, and {told}")


def better_than_bigram(bench: Bench) -> None:
    with bench.solution(LIMITS) as worker:
        model = decoded(loaded(worker))
    text = windows(bench, model)
    bits, (_, bigram) = bits_per_byte(model, text), counted_bits(text)
    if not bits < bigram:
        told = f"counts of pairs of bytes need {bigram:.2f}, and they fit into a table"
        raise Failed("WRONG_NUMERIC", f"{bits:.2f} bits per byte of hidden text; {told}")


def loader_agrees(bench: Bench) -> None:
    """To a hundred times what float32 misses float64 by."""
    with bench.solution(LIMITS) as worker:
        model = decoded(loaded(worker))
        for window in windows(bench, model, 1)[:, :-1]:
            found = asked(worker, window).astype(np.float64)
            truth, rough = (log_probs(model, window[None], dtype)[0] for dtype in (np.float64, np.float32))
            close(found, truth, "log_probs beside those of the checkpoint", plain=rough, factor=100.0)


def causal(bench: Bench) -> None:
    """Rounding alone may differ between lengths: products of other sizes add up in another order."""
    with bench.solution(LIMITS) as worker:
        model = decoded(loaded(worker))
        text = windows(bench, model, 2)[:, :-1]
        whole = asked(worker, text[0]).astype(np.float64)
        if not np.allclose(np.exp(whole).sum(axis=1), 1.0, rtol=1e-3):
            raise Failed("WRONG_NUMERIC", "probabilities do not add up to 1")
        half = len(text[0]) // 2
        mixed = np.concatenate((text[0, :half], text[1, half:]))
        rough = log_probs(model, text[:1])[0]
        for n, found in (
            (half, asked(worker, mixed)),
            (half, asked(worker, text[0, :half])),
            (1, asked(worker, text[0, :1])),
        ):
            told = f"the first {n} rows, whatever follows"
            close(found[:n].astype(np.float64), whole[:n], told, plain=rough[:n], factor=100.0)


def time_beside_ours(bench: Bench) -> None:
    """Scoring a window; a larger model may take as much longer as it has more weights."""
    with bench.reference(LIMITS) as ours:
        size = decoded(loaded(ours)).n_weights
        text = np.frombuffer(bytes(range(32, 127)), np.uint8)
        least = processor_seconds(ours, lambda worker: asked(worker, text))
    with bench.solution(LIMITS) as worker:
        model = decoded(loaded(worker))
        allowed = GRACE + SLOWER * least * max(1.0, model.n_weights / size)
        taken = processor_seconds(worker, lambda w: asked(w, text[: model.config.max_position_embeddings]))
    if taken > allowed:
        told = f"{model.n_weights:,} weights, ours has {size:,} and takes {least:.2f} s"
        raise Failed("SLOW", f"{len(text)} bytes take {taken:.2f} s, allowed {allowed:.2f} s ({told})")
