"""What an evaluation claims of itself, held to what the predictor measures on the same text.

    targets          as many as the text has behind its first token, or as the ranges name; a stream may be cut to a
                     whole number of windows, nothing else is missing without being said (`sampled`)
    claimed bytes    the bytes of those targets, to the byte
    claimed loss     the predictor's own nats on them: all of them where that is no more than it was read anyway, else a
                     sample, within 5 standard errors of it
    expected         constants of the validation text that somebody else published: --expect bytes=151080891

A predictor with a context is read in windows of it; a claim of sliding windows (`stride` below the context) and a
predictor that remembers everything are read at single places, each behind all the tokens that it may know there.
Standard errors are those of places far apart; of windows, those of their means, and never less than what a tenth of the
loss between two texts would make them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightless.audit.predictors.byte_counts import Claim, TokenBytes
from weightless.audit.predictors.findings import Finding, judged, skipped
from weightless.audit.predictors.predictor import Predictor
from weightless.base.errors import ConfigError, nearest
from weightless.base.units import LN2

LOSS_TOLERANCE = 1e-3
"""Nats, relative above one: another machine or thread count adds in another order, and logs print four digits."""
STANDARD_ERRORS = 5.0
BETWEEN_TEXTS = 0.1
"""Share of the loss by which windows of one text differ at least."""
SPREAD = 256
LONGEST_PREFIX = 1 << 20
STRETCH = 1 << 22
EXPECTABLE = ("bytes", "targets", "tokens", "documents")


@dataclass(frozen=True)
class Measured:
    """Nats per token of a sample of the targets; `error` is 0 where they are all of them."""

    nats: float
    error: float
    n: int


def counts(claim: Claim, n_tokens: int, context: int | None) -> Finding:
    """The claimed number of targets against the text."""
    name, there, claimed = "claimed targets", n_tokens - 1, claim.eval_tokens
    named = sum(end - first for first, end in claim.ranges) if claim.ranges is not None else None
    if claimed is None:
        return skipped(name, f"no number of targets is claimed; the text has {there:,}")
    if named is not None and claimed != named:
        return judged(name, f"{claimed:,} targets are claimed, the ranges name {named:,}", "")
    cut = there - there % context if context and context <= there else there
    if claimed > there:
        short = f"{claimed:,} targets are claimed, the text has {there:,}: it is another one, or cut short"
        return judged(name, short, "")
    if claimed not in (there, cut) and not (claim.sampled or named is not None):
        return judged(
            name, f"{claimed:,} targets are claimed of {there:,}, and nothing says which (ranges, sampled)", ""
        )
    told = "all" if claimed == there else "cut to whole windows" if claimed == cut else "a part of the text, by choice"
    return judged(name, "", f"{claimed:,} of {there:,}, {told}")


def claimed_bytes(claim: Claim, counts: np.ndarray | None) -> Finding:
    """The claimed number of bytes against those of the targets; counts int64 [n_tokens - 1] by the table."""
    name = "claimed bytes"
    if claim.eval_bytes is None or counts is None:
        return skipped(name, "no number of bytes is claimed" if counts is not None else "the tokenizer is unknown")
    ends = np.concatenate([[0, 0], np.cumsum(counts)])  # ends[i]: bytes of the targets before token i
    if claim.ranges is not None:
        true = sum(
            int(ends[min(end, len(counts) + 1)] - ends[min(first, len(counts) + 1)]) for first, end in claim.ranges
        )
    elif claim.eval_tokens in (None, len(counts)) or not claim.sampled and claim.eval_tokens < len(counts):
        true = int(ends[-1 if claim.eval_tokens is None else claim.eval_tokens + 1])
    elif claim.eval_bytes > ends[-1]:
        true = int(ends[-1])
    else:
        return skipped(name, "nothing says which targets were scored")
    off = f"{claim.eval_bytes:,} bytes are claimed, the targets stand for {true:,}"
    return judged(name, off if claim.eval_bytes != true else "", f"{true:,}, as claimed")


def loss(claim: Claim, measured: Measured | None, counts: np.ndarray | None = None) -> Finding:
    """The claimed nats per token against the measured; of a claim that has bits per byte alone, these.

    `counts`: int64 [n_tokens - 1], bytes of the targets, None where the tokenizer is unknown.
    """
    name, claimed = "claimed loss", claim.loss
    if claimed is None and claim.bits_per_byte is not None and measured is not None:
        return _loss_in_bits(claim, measured, counts)
    if claimed is None:
        return skipped(name, "no loss is claimed")
    if measured is None:
        return skipped(name, "the ranges name no target that could be read")
    tokens = claim.eval_tokens
    if claim.nats is not None and tokens and abs(claim.nats / tokens - claimed) > LOSS_TOLERANCE * max(1.0, claimed):
        twice = f"{claim.nats:,.4f} nats of {tokens:,} targets are claimed, and {claimed:.4f} nats per token"
        return judged(name, f"{twice}: these are two numbers", "")
    if not np.isfinite(measured.nats):
        return judged(name, f"{claimed:.4f} nats per token are claimed, and a target has probability 0", "")
    allowed = STANDARD_ERRORS * measured.error + LOSS_TOLERANCE * max(1.0, abs(measured.nats))
    how = f"all {measured.n:,} targets" if not measured.error else f"{measured.n:,} of the targets"
    told = f"{claimed:.4f} nats per token are claimed, {measured.nats:.4f} measured on {how} (within {allowed:.4f})"
    return judged(name, told if not abs(claimed - measured.nats) <= allowed else "", told)


def _loss_in_bits(claim: Claim, measured: Measured, counts: np.ndarray | None) -> Finding:
    """Claimed bits per byte against the measured nats over the bytes of the targets."""
    name, claimed = "claimed loss", claim.bits_per_byte
    assert claimed is not None
    if counts is None:
        return skipped(name, "bits per byte alone are claimed, and the tokenizer is unknown")
    per_token = bytes_per_token(counts, claim)
    if not per_token:
        return judged(
            name,
            f"{claimed:.4f} bits per byte are claimed, and nothing says of which targets (ranges, nats_per_token)",
            "",
        )
    if not np.isfinite(measured.nats):
        return judged(name, f"{claimed:.4f} bits per byte are claimed, and a target has probability 0", "")
    bits = LN2 * per_token
    allowed = (STANDARD_ERRORS * measured.error + LOSS_TOLERANCE * max(1.0, abs(measured.nats))) / bits
    how = f"all {measured.n:,} targets" if not measured.error else f"{measured.n:,} of the targets"
    told = (
        f"{claimed:.4f} bits per byte are claimed, {measured.nats / bits:.4f} measured on {how} (within {allowed:.4f})"
    )
    return judged(name, told if not abs(claimed - measured.nats / bits) <= allowed else "", told)


def bytes_per_token(counts: np.ndarray, claim: Claim) -> float | None:
    """Bytes per target over what was scored; None where it is not known which targets these are."""
    counts = np.concatenate([[0], counts])
    if claim.ranges is not None:
        at = [np.arange(first, end) for first, end in claim.ranges if end <= len(counts)]
        scored = np.concatenate(at) if at else np.zeros(0, np.int64)
        return float(counts[scored].mean()) if len(scored) else None
    every = claim.eval_tokens == len(counts) - 1 or (claim.eval_tokens is None and not claim.sampled)
    return float(counts[1:].mean()) if every else None


def bytes_of_targets(table: TokenBytes, tokens: np.ndarray) -> np.ndarray:
    """int64 [n_tokens - 1], a stretch at a time: a validation set of sixty million tokens fits into memory."""
    out = np.empty(max(0, len(tokens) - 1), dtype=np.int64)
    for start in range(0, len(out), STRETCH):
        out[start : start + STRETCH] = table.of(np.asarray(tokens[start : start + STRETCH + 1], dtype=np.int64))
    return out


def measure(
    predictor: Predictor, tokens: np.ndarray, claim: Claim, windows: Sequence[np.ndarray], target: np.ndarray
) -> Measured | None:
    """Nats per token; `target` is log p(x_t) of the reading of `windows`, side by side and spread over the text."""
    context, n = predictor.context, len(tokens) - 1
    sliding = claim.stride is not None and context is not None and claim.stride < context
    ranges = claim.ranges if claim.ranges is not None else ((1, n + 1),)
    named = [(max(1, first), min(end, n + 1)) for first, end in ranges if first <= n]
    whole = sum(end - first for first, end in named) == n and not (claim.ranges is None and claim.sampled)
    if not sliding and context is not None and max(len(w) - 1 for w in windows) >= min(context, n):
        if whole and len(target) == n:
            return _of_all(predictor, tokens, -target, context)
        if whole or claim.ranges is None:
            return _of_windows(windows, -target, n if whole else claim.eval_tokens or len(target))
        return _of_ranges(predictor, tokens, named, 2 * len(target), context)
    places = np.concatenate([np.arange(first, end) for first, end in named] or [np.zeros(0, np.int64)])
    places = places if context is not None else places[places < LONGEST_PREFIX]
    chosen = places[np.unique(np.linspace(0, len(places) - 1, min(SPREAD, len(places))).astype(np.int64))]
    found = np.array([_nats_at(predictor, tokens, int(t), context, claim.stride or context) for t in chosen])
    if not len(found):
        return None
    every = len(chosen) == len(places) and (whole or claim.ranges is not None)
    return Measured(float(found.mean()), 0.0 if every else _deviation(found) / len(found) ** 0.5, len(found))


def _nats_at(predictor: Predictor, tokens: np.ndarray, t: int, context: int | None, step: int | None) -> float:
    """-log p of one target, behind the tokens that the evaluation's window holds before it."""
    first = 0
    if context is not None and step is not None and t > context:
        end = min(len(tokens), 1 + context + -(-(t - context) // step) * step)  # of the window that scores it
        first = max(0, end - 1 - context)
    prefix = np.ascontiguousarray(tokens[first:t], dtype=np.int64)
    return -float(predictor.log_probs(prefix)[int(tokens[t])])


def _of_all(predictor: Predictor, tokens: np.ndarray, nats: np.ndarray, context: int) -> Measured:
    """Every target; the last window, where it is not full, may begin anew or reach back over a whole context."""
    n = len(nats)
    back = (
        [_nats_at(predictor, tokens, t, context, context) for t in range(n - n % context + 1, n + 1)]
        if n > context
        else []
    )
    anew, reaching = float(nats.mean()), float(np.concatenate((nats[: n - len(back)], back)).mean())
    return Measured((anew + reaching) / 2, abs(anew - reaching) / 2 / STANDARD_ERRORS, n)


def _of_ranges(
    predictor: Predictor, tokens: np.ndarray, named: Sequence[tuple[int, int]], most: int, context: int
) -> Measured | None:
    """The claim's own windows, one after another as they are fed, or as many of them as hold about `most` targets."""
    n_targets = sum(end - first for first, end in named)
    wanted = min(len(named), max(1, -(-most * len(named) // max(1, n_targets))))
    picked = [named[i * len(named) // wanted] for i in range(wanted)]
    parts = [np.array([_nats_at(predictor, tokens, t, context, context) for t in range(*pair)]) for pair in picked]
    parts = [part for part in parts if len(part)]
    if not parts:
        return None
    found = _of_windows([np.zeros(len(part) + 1) for part in parts], np.concatenate(parts))
    return Measured(found.nats, 0.0, found.n) if wanted == len(named) else found


def _of_windows(windows: Sequence[np.ndarray], nats: np.ndarray, n_claimed: int = 0) -> Measured:
    """A sample; the claim may rest on another one, of `n_claimed` targets (0: the same one)."""
    edges = np.cumsum([len(w) - 1 for w in windows])[:-1]
    means = np.array([part.mean() for part in np.split(nats, edges) if len(part)])
    mean, apart = float(nats.mean()), _deviation(nats)
    between = max(_deviation(means), BETWEEN_TEXTS * mean if apart else 0.0)
    error = max(apart / len(nats) ** 0.5, between / len(means) ** 0.5, 1e-9)
    return Measured(mean, error * (1 + (len(nats) / n_claimed if n_claimed else 0.0)) ** 0.5, len(nats))


def _deviation(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        found = float(values.std())
    return found if found == found else float("inf")


def read_expected(pairs: Sequence[str]) -> dict[str, int]:
    """NAME=NUMBER of --expect; ConfigError for another name, or what is no number."""
    found: dict[str, int] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in EXPECTABLE:
            raise ConfigError(f"--expect {pair}: {nearest(name, EXPECTABLE)}; one of {', '.join(EXPECTABLE)}")
        plain = value.replace(",", "").replace("_", "")
        if not (plain.isascii() and plain.isdigit()) or name in found:
            raise ConfigError(f"--expect {pair}: give one whole number, as in {name}=151080891")
        found[name] = int(plain)
    return found


def expected(wanted: dict[str, int], there: dict[str, int | None]) -> Finding:
    """Published constants of the validation text against what is there."""
    name = "validation text"
    told = ", ".join(f"{value:,} {what}" for what, value in there.items() if value is not None)
    unknown = [what for what in wanted if there.get(what) is None]
    wrong = [
        f"{what} are {there[what]:,}, expected {value:,}"
        for what, value in wanted.items()
        if what not in unknown and there[what] != value
    ]
    wrong += [f"{what} are expected to be {wanted[what]:,}, and nobody knows them here" for what in unknown]
    return judged(name, "; ".join(wrong), told + (", as expected" if wanted else ""))
