"""Bytes touched on real text: T, U and lines over positions and text, from the addresses that the compiled engine logs.

Where the text decides what is read (n-gram back-off, the class of a word) a configuration gives only a bound; here
windows spread evenly over a text are fed, and every step is measured in the mode asked for:

    score    mode S, the cost of scoring the token that follows       sample   mode S, the cost of drawing one
    full     mode F, the cost of all V probabilities
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from weightless.audit.counters.subjects import Runnable
from weightless.base.errors import WeightlessError
from weightless.base.random import rng_for
from weightless.program.cost import HEADLINE_POSITIONS, Touched
from weightless.program.log_reduction import T
from weightless.program.logged_engine import LoggedEngine

TOKENS = 2048


def touched_on_text(
    runnable: Runnable,
    tokens: np.ndarray,
    head: str = "score",
    limit: int = TOKENS,
    positions: int = HEADLINE_POSITIONS,
) -> Touched:
    """The distribution over about `limit` steps (0: all), at positions 1..min(positions, context) of windows."""
    engine, rng, found = runnable.logged_engine(), rng_for(0, "real text"), []
    for window in windows(tokens, min(positions, runnable.program.context), limit):
        engine.reset()
        if head == "score":
            found.append(engine.touched(window[:-1], window[1:])[1])
            continue
        for token in window[:-1]:
            engine.feed(int(token))
            run_head(engine, head, rng)
            found.append(engine.touched_since_feed(head)[None])
    return Touched.of_counts(engine.components, np.concatenate(found))


def windows(tokens: np.ndarray, length: int, limit: int) -> Iterator[np.ndarray]:
    """Stretches of `length` + 1 tokens, evenly spread, that hold about `limit` targets."""
    tokens = np.asarray(tokens, dtype=np.int64)
    if len(tokens) < 2:
        raise WeightlessError(f"{len(tokens)} tokens leave nothing to measure: give a longer text")
    n_windows = -(-(len(tokens) - 1) // length)
    wanted = min(n_windows, -(-limit // length)) if limit else n_windows
    for i in range(wanted):
        first = i * n_windows // wanted * length
        yield tokens[first : first + length + 1]


def run_head(engine: LoggedEngine, head: str, rng: np.random.Generator) -> None:
    """Draw a token, or compute all probabilities, after a feed."""
    if head == "sample":
        engine.sample(rng.random(engine.program.n_uniforms))
    else:
        engine.distribution()


def mode_s_costs(
    runnable: Runnable, tokens: np.ndarray, continue_with: str = "text", seed: int = 0
) -> dict[str, float]:
    """Mean T of scoring and of sampling over one window, and the standard `error` of the mean of their difference.

    With `continue_with` = "text" the window is fed as it stands; with "samples" every token after the first is drawn
    from the model, and scoring costs what scoring that draw costs.
    """
    engine, rng, token = runnable.logged_engine(), rng_for(seed, "sampling cost"), int(tokens[0])
    totals: dict[str, list[int]] = {"score": [], "sample": []}
    for i in range(min(len(tokens) - 1, runnable.program.context)):
        engine.feed(token)
        drawn = engine.sample(rng.random(engine.program.n_uniforms))
        token = drawn if continue_with == "samples" else int(tokens[i + 1])
        engine.score(token)
        for head, of_steps in totals.items():
            of_steps.append(int(engine.touched_since_feed(head)[:, T].sum()))
    apart = np.subtract(totals["sample"], totals["score"])
    means = {head: float(np.mean(values)) for head, values in totals.items()}
    return {**means, "error": float(apart.std() / np.sqrt(len(apart)))}
