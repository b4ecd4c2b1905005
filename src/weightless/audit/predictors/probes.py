"""Is it a predictor?  Four probes, after the rules that make a score comparable (p_t fixed before x_t is seen).

    normalisation         |sum_v p_t(v) - 1| < 1e-5 over the whole vocabulary, no NaN, no p > 1, at every position read
    causality             p_t and all scores up to t are the same bits, whatever tokens follow and in whatever order
                          the positions are asked for
    score before update   p_t is the same bits after the predictor has met x_t, or another token in its place; and the
                          nats that `score` claims for x_t, and for other tokens in its place, are -log p_t of them
    single pass           reading the text again, with what the first reading left behind and from a fresh start, gives
                          the same bits everywhere: nothing is rescored, nothing outlives the process

A `Reading` is one pass over windows of real text, one question per position, in order.  For `tolerance` > 0 "the same
bits" becomes "log p of the true next token within so many nats" (a GPU may add in another order; a CPU has no excuse).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weightless.audit.counters.real_text import windows
from weightless.audit.predictors.findings import Finding, judged, skipped
from weightless.audit.predictors.predictor import Predictor, prefix_of
from weightless.base.errors import WeightlessError

SUM_TOLERANCE = 1e-5
SCORE_TOLERANCE = 1e-3
"""Nats, relative above one: `score` may sum in another order than log_probs (other kernels, another class path)."""
MEAN_TOLERANCE = 2e-4
"""Nats, of the mean signed difference: rounding has no direction, a gate that looks at the target has."""
ENOUGH_POSITIONS = 1000
SAMPLED = 24
FUTURE = 8

Tick = Callable[[int], object]


def silent(amount: int) -> None:
    """Nobody is told how far the reading is."""


@dataclass(frozen=True)
class Reading:
    """What one pass gave at each position: sum of p, the largest log p (NaN where any is), digest, log p(x_t)."""

    sums: np.ndarray
    largest: np.ndarray
    target: np.ndarray
    digests: tuple[bytes, ...]

    @property
    def nats_per_token(self) -> float:
        return -float(self.target.mean())


@dataclass(frozen=True)
class Place:
    """A position: in window `window`, the token `tokens[t]` is to be predicted; `index` counts over all windows."""

    index: int
    tokens: np.ndarray
    t: int

    @property
    def prefix(self) -> np.ndarray:
        return self.tokens[: self.t]


def stretches(tokens: np.ndarray, context: int | None, positions: int) -> list[np.ndarray]:
    """Windows of real text, evenly spread, of context + 1 tokens, with about `positions` targets in all."""
    tokens = prefix_of(tokens)
    if positions < 1:
        raise WeightlessError(f"{positions} positions leave nothing to audit")
    return [prefix_of(w) for w in windows(tokens, min(context or positions, positions), positions)]


def places(texts: Sequence[np.ndarray]) -> Iterator[Place]:
    """Every position of every window, in order."""
    index = 0
    for tokens in texts:
        for t in range(1, len(tokens)):
            yield Place(index, tokens, t)
            index += 1


def read(predictor: Predictor, texts: Sequence[np.ndarray], tick: Tick = silent) -> Reading:
    """Ask for every position in order, keeping of each answer what the probes need; `tick(1)` after each."""
    sums, largest, target, digests = [], [], [], []
    for place in places(texts):
        log_p = predictor.log_probs(place.prefix)
        if int(place.tokens[place.t]) >= len(log_p):
            raise WeightlessError(
                f"the text has token {place.tokens[place.t]}, and the predictor knows {len(log_p)}: "
                "give the text in its own tokens"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            sums.append(float(np.exp(log_p).sum()))
        largest.append(float(log_p.max()))
        target.append(float(log_p[place.tokens[place.t]]))
        digests.append(digest(log_p))
        tick(1)
    return Reading(np.array(sums), np.array(largest), np.array(target), tuple(digests))


def digest(log_p: np.ndarray) -> bytes:
    """16 bytes that tell two distributions apart, bit by bit (-0 and 0 are one)."""
    return hashlib.blake2b((np.asarray(log_p, np.float64) + 0.0).tobytes(), digest_size=16).digest()


def normalisation(reading: Reading) -> Finding:
    """Every distribution sums to one and holds probabilities."""
    n, off = len(reading.sums), np.abs(reading.sums - 1.0)
    wrong = ~(off < SUM_TOLERANCE)
    broken = np.isnan(reading.largest) | (reading.largest > SUM_TOLERANCE)
    failure = ""
    if wrong.any() or broken.any():
        worst = int(np.argmax(np.where(np.isfinite(off), off, np.inf)))
        kinds = f", {int(broken.sum())} hold NaN or p > 1" if broken.any() else ""
        failure = f"{int(wrong.sum())} of {n} sums are off{kinds}; sum of p = {reading.sums[worst]:.6g} at {worst + 1}"
    few = f" (rules ask for {ENOUGH_POSITIONS:,})" if n < ENOUGH_POSITIONS else ""
    return judged("normalisation", failure, f"|sum of p - 1| <= {off.max():.1e} at {n:,} positions{few}")


def single_pass(
    predictor: Predictor, texts: Sequence[np.ndarray], first: Reading, tolerance: float, tick: Tick = silent
) -> Finding:
    """Read again with what the last reading left, then from a fresh start; both must repeat the first."""
    again = _unlike(first, read(predictor, texts, tick), tolerance)
    if again:
        return judged("single pass", f"a second reading differs: {again}", "")
    predictor.fresh()
    fresh = _unlike(first, read(predictor, texts, tick), tolerance)
    failure = f"a reading from a fresh start differs: {fresh}" if fresh else ""
    told = f"read three times, the last from a fresh start: {_same(tolerance)} at {len(first.digests):,} positions"
    return judged("single pass", failure, told)


def _unlike(first: Reading, second: Reading, tolerance: float) -> str:
    """Where two readings differ, in words, or nothing."""
    if tolerance > 0:
        differs = ~(np.abs(first.target - second.target) <= tolerance) & (first.target != second.target)
    else:
        differs = np.array([a != b for a, b in zip(first.digests, second.digests, strict=True)])
    if not differs.any():
        return ""
    with np.errstate(invalid="ignore"):
        gain = float(np.nanmean(second.target - first.target))
    return f"{int(differs.sum())} of {len(differs)} positions, {gain:+.4f} nats per token gained"


def sample(texts: Sequence[np.ndarray], rng: np.random.Generator, n: int = SAMPLED) -> list[Place]:
    """Positions that have a token behind them in their window, in random order."""
    able = [place for place in places(texts) if place.t < len(place.tokens) - 1]
    return [able[i] for i in rng.permutation(len(able))[:n]]


def causality(
    predictor: Predictor, texts: Sequence[np.ndarray], first: Reading, rng: np.random.Generator, tolerance: float
) -> Finding:
    """Ask out of order, after the predictor has been shown two other futures of the same prefix."""
    if not (chosen := sample(texts, rng)):
        return skipped("causality", "no window holds three tokens")
    for place in chosen:
        for _ in range(2):
            width = min(FUTURE, len(place.tokens) - 1 - place.t)
            predictor.log_probs(np.concatenate([place.prefix, rng.integers(0, predictor.vocab_size, width)]))
            if _moved(predictor, place, first, tolerance):
                why = f"p at position {place.index + 1} changes once other tokens behind it were seen"
                return judged("causality", why, "")
    told = f"{_same(tolerance)} at {len(chosen)} positions, out of order, after two other futures each"
    if "score" not in predictor.offers:
        return judged("causality", "", told)
    return judged("causality", _scores_look_ahead(predictor, texts, rng, tolerance), f"{told}; so do the scores")


def _scores_look_ahead(
    predictor: Predictor, texts: Sequence[np.ndarray], rng: np.random.Generator, tolerance: float
) -> str:
    """Replace everything behind some positions and compare the scores up to them."""
    for tokens in texts[:: max(1, len(texts) // 4)]:
        as_it_is = predictor.score(tokens)
        for t in rng.integers(1, len(tokens), 4):
            changed = tokens.copy()
            changed[t + 1 :] = rng.integers(0, predictor.vocab_size, len(tokens) - t - 1)
            difference = np.abs(predictor.score(changed)[:t] - as_it_is[:t])
            if not (difference <= tolerance).all():
                n = int((~(difference <= tolerance)).sum())
                return f"{n} of {t} scores change with the tokens behind them, by up to {difference.max():.3g} nats"
    return ""


def score_before_update(
    predictor: Predictor, texts: Sequence[np.ndarray], first: Reading, rng: np.random.Generator, tolerance: float
) -> Finding:
    """Show x_t and a token in its place, ask p_t again; then hold the claimed scores to -log p_t."""
    name, chosen = "score before update", sample(texts, rng)
    for place in chosen:
        for token in (int(place.tokens[place.t]), int(rng.integers(predictor.vocab_size))):
            predictor.log_probs(np.concatenate([place.prefix, [token]]))
            if _moved(predictor, place, first, tolerance):
                return judged(name, f"p at position {place.index + 1} is another one once its target was seen", "")
    told = f"p stays when its target, or another token in its place, was seen ({len(chosen)} positions)"
    if "score" not in predictor.offers:
        return judged(name, "", told)
    failure = _scores_differ(predictor, texts, first) or _replayed_scores_differ(predictor, chosen[:8], rng)
    return judged(name, failure, f"{told}; the scores are -log p of the target and of replaced targets")


def _scores_differ(predictor: Predictor, texts: Sequence[np.ndarray], first: Reading) -> str:
    """The claimed nats of the text itself against the distributions of the first reading."""
    claimed = np.concatenate([predictor.score(tokens) for tokens in texts])
    true = -first.target
    with np.errstate(invalid="ignore"):
        gap = np.where(claimed == true, 0.0, claimed - true)
    far = ~(np.abs(gap) <= SCORE_TOLERANCE * np.maximum(1.0, np.abs(true)))
    if far.any() or abs(gap.mean()) > MEAN_TOLERANCE:
        told = f"{claimed.mean():.4f} nats per token, the distributions say {true.mean():.4f}"
        return f"scores are not -log p: {told}; {int(far.sum())} of {len(far)} positions are off"
    return ""


def _replayed_scores_differ(predictor: Predictor, chosen: Sequence[Place], rng: np.random.Generator) -> str:
    """With other tokens in the target's place, the likeliest ones among them, the score is still -log p_t of it."""
    for place in chosen:
        log_p = predictor.log_probs(place.prefix)
        likely = np.argsort(log_p)[-2:]
        for token in {*likely.tolist(), *rng.integers(0, len(log_p), 2).tolist()}:
            changed = place.tokens.copy()
            changed[place.t] = token
            claimed, true = float(predictor.score(changed)[place.t - 1]), -float(log_p[token])
            if claimed != true and not abs(claimed - true) <= SCORE_TOLERANCE * max(1.0, abs(true)):
                where = f"token {token} in place of the target at position {place.index + 1}"
                return f"{where} is scored {claimed:.4f} nats, its -log p is {true:.4f}"
    return ""


def _moved(predictor: Predictor, place: Place, first: Reading, tolerance: float) -> bool:
    """Whether p at a place is no longer what the first reading saw."""
    log_p = predictor.log_probs(place.prefix)
    if tolerance > 0:
        before, now = first.target[place.index], log_p[place.tokens[place.t]]
        return bool(before != now and not abs(before - now) <= tolerance)
    return digest(log_p) != first.digests[place.index]


def _same(tolerance: float) -> str:
    return "the same bits" if tolerance == 0 else f"within {tolerance:g} nats"
