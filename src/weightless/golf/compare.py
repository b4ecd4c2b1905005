"""Is one submission better than another: Welch's test of their scores per seed, one-sided, with a bar to clear.

    t = (mean_B - mean_A - bar) / sqrt(a + b)        a = var_A / n_A, b = var_B / n_B
    df = (a + b)^2 / (a^2 / (n_A - 1) + b^2 / (n_B - 1))
    p = P(T > t), the chance of such a lead, had A gained no more than the bar over B

B. L. Welch (1947), Biometrika 34, 28-35.  Scores are nats per token where both are of the same tokens, else bits per
byte of the same text.  A bar of d nats per token is d / (ln 2 * bytes per token) bits per byte.
Errors: WeightlessError for scores of different texts, and for one score alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.units import LN2
from weightless.golf.known import RECORD_NATS
from weightless.golf.scores import SAME, Scores
from weightless.lab.report.interval import Welch, welch

SAME_TEXT = 1e-4
"""Relative: a text may be cut to whole windows."""


@dataclass(frozen=True)
class Comparison:
    unit: str
    a: tuple[float, ...]
    b: tuple[float, ...]
    bar_nats: float
    bar_bits: float | None
    over_bar: Welch
    over_zero: Welch
    notes: tuple[str, ...]

    def is_better(self, p: float) -> bool:
        """Whether A clears the bar at this level."""
        return self.over_bar.p < p


def compare(a: Scores, b: Scores, bar: float = RECORD_NATS) -> Comparison:
    """A against B, in nats where they are of the same tokens."""
    if bar < 0:
        raise ConfigError(f"--bar {bar} should not be negative: it is what A has to gain, in nats per token")
    notes = list(_refuse_other_texts(a, b))
    same_tokens = _same_tokenizer(a, b)
    per_token = b.per_token if b.per_token is not None else a.per_token
    bar_bits = bar / (LN2 * per_token) if per_token else None
    if same_tokens and a.losses and b.losses:
        unit, x, y, room = "nats per token", a.losses, b.losses, bar
    else:
        unit, x, y = "bits per byte", a.bits, b.bits
        if not x or not y:
            raise WeightlessError(
                f"{(a if not x else b).folder} says no bits per byte, and the tokenizers are not known to be one: "
                "score both so that they say val_bpb"
            )
        if bar_bits is None:
            raise WeightlessError("bytes per token are unknown, so the bar has no size in bits per byte: give --bar 0")
        room = bar_bits
        notes.append("the tokenizers differ (or are unknown): compared in bits per byte, the bar by B's tokenizer")
    return Comparison(unit, x, y, bar, bar_bits, welch(x, y, room), welch(x, y, 0.0), tuple(notes))


def _refuse_other_texts(a: Scores, b: Scores) -> list[str]:
    """WeightlessError for different validation sets; notes where nobody can know."""
    if a.val_sha256 and b.val_sha256 and _same_tokenizer(a, b):
        if a.val_sha256 == b.val_sha256 and a.tokens == b.tokens:
            return []
        raise WeightlessError(
            f"{a.folder} scored {a.tokens:,} targets of the ids {a.val_sha256[:12]}, {b.folder} {b.tokens:,} of "
            f"{b.val_sha256[:12]}: score both on the same validation text, cut and sampled alike"
        )
    one, other = a.text_bytes, b.text_bytes
    if one is not None and other is not None:
        if abs(one / other - 1) > SAME_TEXT + (0 if a.n_bytes and b.n_bytes else SAME):
            raise WeightlessError(
                f"{a.folder} was scored on {one:,.0f} bytes of text, {b.folder} on {other:,.0f}: scores of different "
                "texts cannot be compared"
            )
        if not (a.val_sha256 and b.val_sha256):
            return [f"the same text by its length, {one:,.0f} bytes; no hash says so"]
        return []
    if a.per_token is not None and b.per_token is not None and not _same_tokenizer(a, b):
        raise WeightlessError(
            f"{a.folder} has {a.per_token:.5f} bytes per token, {b.folder} {b.per_token:.5f}, and one of them does not "
            "say how many tokens it scored: other tokenizers, or other texts"
        )
    return ["nothing says that both were scored on the same text"]


def _same_tokenizer(a: Scores, b: Scores) -> bool:
    """By hash, else by bytes per token."""
    if a.tokenizer_sha256 and b.tokenizer_sha256:
        return a.tokenizer_sha256 == b.tokenizer_sha256
    if a.per_token is None or b.per_token is None:
        return False
    return abs(a.per_token / b.per_token - 1) <= SAME
