"""Was a prediction right?  confirmed, refuted or undecided, with the numbers and the reason.

A comparison left < right is decided by the difference f = left - right over the seeds (`statistics.known`): its 95 %
interval on the one side of zero confirms, on the other refutes, and an interval that holds zero decides nothing.  So a
wrong word comes with a chance of at most 2.5 %.  What is not known stays undecided:

    single seed      there is no spread to judge by.  Figures that are counted and not sampled (parameters, bytes,
                     FLOPs, tokens) are decided none the less, and the reason says that it was a single seed
    cells that are missing, running, failed or lost: what is there is told
    a diverged cell  an arm of which every seed diverged (two at least) has no loss at all: higher than any.  Where some
                     diverged and others did not, the mean of those left over would flatter the arm

best(KEY) is every value whose arm is not told apart from the lowest loss (Holm); edge(KEY) lies between the lowest
value at which any seed diverged and the lowest at which all did.  A claim about them is decided where all of these
agree.  Without any divergence the edge lies somewhere above the largest value: that can refute, and never confirm.
order(a, b, …) is confirmed where each step is, and refuted where any is at the level 5 % / number of steps.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from weightless.base.units import human_bytes, human_seconds
from weightless.study.cells import Evidence
from weightless.study.claims import (
    KINDS,
    Comparison,
    Diverges,
    Expression,
    Number,
    Order,
    Place,
    Prediction,
    Ref,
    Within,
)
from weightless.study.prediction import LOSS, check, placed, refs
from weightless.study.statistics import ALPHA, LOSSES, Known, known, loss_figure, mean, ranking

Word = Literal["confirmed", "refuted", "undecided"]
COUNTED = ("parameters", "stored", "touched", "flops_per_token", "training_flops", "tokens_seen")
"""Figures without chance in them: a single seed decides, and is told."""
FIXED = ("parameters", "stored", "touched", "flops_per_token")
"""What a model has before it is trained, so that one that diverged has it as well, where it was measured."""
ROUNDING = 1e-12
"""Sides that are apart by this share are equal: 0.1 * 3 is 0.3."""


@dataclass(frozen=True)
class Verdict:
    """A prediction, the word for it, and the `reason`: the numbers, and why they do not suffice where they do not."""

    text: str
    word: Word
    reason: str


def verdicts(evidence: Evidence) -> list[Verdict]:
    """Of every prediction of the study, in its order."""
    question = evidence.study.get("question") or {}
    told = question.get("prediction") or []
    return [judge(text, evidence) for text in ([told] if isinstance(told, str) else told)]


def judge(text: str, evidence: Evidence) -> Verdict:
    """The verdict on one prediction; ConfigError where it names what the study does not have."""
    settings = {cell.arm: cell.setting for cell in evidence.cells}
    figures = {*KINDS, *(name for cell in evidence.cells for name in cell.figures)}
    prediction = check(text, evidence.arms(), figures, settings)
    claim = prediction.claim
    if isinstance(claim, Comparison):
        word, reason = _compared(claim, _loss(prediction, evidence), evidence)
    elif isinstance(claim, Order):
        word, reason = _ordered(claim, loss_figure(evidence), evidence)
    elif isinstance(claim, Diverges):
        word, reason = _diverged(claim, evidence)
    else:
        word, reason = _within(text, claim, evidence)
    return Verdict(text, word, reason)


def _loss(prediction: Prediction, evidence: Evidence) -> str:
    return LOSS.get(prediction.unit) or loss_figure(evidence)


def _compared(claim: Comparison, loss: str, evidence: Evidence, alpha: float = ALPHA) -> tuple[Word, str]:
    """The word for left operator right, at a two-sided level."""
    used = list(
        dict.fromkeys((ref.name, ref.figure or loss) for side in (claim.left, claim.right) for ref in refs(side))
    )
    lost = [arm for arm in dict.fromkeys(arm for arm, f in used if f in LOSSES) if _all_diverged(evidence, arm)]
    if lost:
        return _without_loss(claim, used, lost, loss, evidence)
    gaps = _gaps(evidence, {arm for arm, _ in used}, "" if any(f not in FIXED for _, f in used) else "diverged")
    samples = _samples(evidence, used)
    absent = sorted({f"{arm} has no {figure}" for (arm, figure), v in zip(used, samples.values()) if not v})
    if absent:
        return "undecided", "; ".join([*gaps, *absent])
    try:
        told = known(lambda at: _apart(claim, at, loss), samples)
    except ZeroDivisionError:
        return "undecided", "it divides by zero"
    except OverflowError:
        return "undecided", "a side of it is no finite number"
    numbers = _numbers(claim, told, loss)
    if gaps:
        return "undecided", f"{'; '.join(gaps)}; so far {numbers}"
    exact = all(figure in COUNTED for _, figure in used)
    p = told.p()
    if p is None and not exact:
        return "undecided", f"single seed: {numbers}"
    if p is not None and p >= alpha and told.error:
        return "undecided", f"{numbers}: the interval holds the bound"
    return _word(claim.operator, told.value), numbers


def _samples(evidence: Evidence, used: Sequence[tuple[str, str]]) -> dict[str, dict[int, float]]:
    """{arm and figure: {seed: value}}; what a model has whether or not it ends is told of diverged cells as well."""
    found = {}
    for arm, figure in used:
        ended = ("done", "diverged") if figure in FIXED else ("done",)
        cells = [c for c in evidence.cells if c.arm == arm and c.status in ended and figure in c.figures]
        found[f"{arm}\0{figure}"] = {cell.seed: cell.figures[figure] for cell in cells}
    return found


def _apart(claim: Comparison, at: Mapping[str, float], loss: str) -> float:
    """left - right; what rounding alone keeps apart is equal.  OverflowError where a side is not finite."""
    left, right = (_value(side, at, loss) for side in (claim.left, claim.right))
    if not (math.isfinite(left) and math.isfinite(right)):
        raise OverflowError
    return 0.0 if abs(left - right) <= ROUNDING * max(abs(left), abs(right)) else left - right


def _word(operator: str, value: float) -> Word:
    holds = {"<": value < 0, "<=": value <= 0, ">": value > 0, ">=": value >= 0}[operator]
    return "confirmed" if holds else "refuted"


def _without_loss(
    claim: Comparison, used: Sequence[tuple[str, str]], lost: Sequence[str], loss: str, evidence: Evidence
) -> tuple[Word, str]:
    """Where every seed of an arm diverged: its loss is above any finite one, and above any sum of such."""
    told = f"every seed of {' and of '.join(lost)} diverged"
    finite = [(arm, figure) for arm, figure in used if arm not in lost or figure not in LOSSES]
    gaps = _gaps(evidence, {arm for arm, _ in finite if arm not in lost})
    samples = _samples(evidence, finite)
    short = [
        f"{arm} has no {figure}" if not values else f"{arm}: single seed"
        for (arm, figure), values in zip(finite, samples.values())
        if not values or (len(values) < 2 and figure not in COUNTED)
    ]
    if gaps or short:
        return "undecided", "; ".join([told, *gaps, *dict.fromkeys(short)])
    at = {name: math.fsum(values.values()) / len(values) for name, values in samples.items()}
    at |= {f"{arm}\0{figure}": math.inf for arm, figure in used if arm in lost and figure in LOSSES}
    try:
        apart = _value(claim.left, at, loss) - _value(claim.right, at, loss)
    except ZeroDivisionError:
        apart = math.nan
    return ("undecided" if math.isnan(apart) else _word(claim.operator, apart)), told


def _all_diverged(evidence: Evidence, arm: str) -> bool:
    cells = [cell for cell in evidence.cells if cell.arm == arm]
    return len(cells) > 1 and all(cell.status == "diverged" for cell in cells)


def _gaps(evidence: Evidence, arms: Iterable[str], but: str = "") -> list[str]:
    """What is missing of these arms: "A: 1 of 3 cells failed"; cells of the state `but` are not missed."""
    told = []
    for arm in evidence.arms():
        cells = [cell for cell in evidence.cells if cell.arm == arm]
        open_ = [cell for cell in cells if not cell.is_done and cell.status != but] if arm in arms else []
        states = Counter(cell.status for cell in open_)
        if states:
            parts = ", ".join(f"{n} {state}" for state, n in states.items())
            told.append(f"{arm}: {parts} of {len(cells)} cells")
    return told


def _value(side: Expression, at: Mapping[str, float], loss: str) -> float:
    if isinstance(side, Number):
        return side.value
    if isinstance(side, Ref):
        return at[f"{side.name}\0{side.figure or loss}"]
    left, right = (_value(part, at, loss) for part in (side.left, side.right))
    if side.sign == "/":
        return left / right
    return {"+": left + right, "-": left - right, "*": left * right}[side.sign]


def _numbers(claim: Comparison, told: Known, loss: str) -> str:
    """The measured side with its interval beside the number it is held to; else the difference of the sides."""
    for side, other in ((claim.right, claim.left), (claim.left, claim.right)):
        if not any(True for _ in refs(side)):
            shift = _value(side, {}, loss)
            sign = 1 if side is claim.right else -1
            value, half = sign * told.value + shift, told.half()
            kind = _unit(other, loss)
            return f"{amount(value, kind, half)}, bound {_bound(shift, kind)} ({told.how})"
    sides = (claim.left, claim.right)
    names = [side.name for side in sides if isinstance(side, Ref)]
    what = " - ".join(names) if len(names) == 2 else "left - right"
    return f"{what} = {amount(told.value, _unit(claim.left, loss), told.half())} ({told.how})"


def _bound(value: float, kind: str) -> str:
    return amount(value, kind) if kind in ("bytes", "seconds") else f"{value:g} {kind}".rstrip()


def _unit(side: Expression, loss: str) -> str:
    """What a sum is measured in, where it is plain; empty for ratios and for what has no unit."""
    if isinstance(side, Ref):
        return KINDS.get(side.figure or loss, "")
    if isinstance(side, Number):
        return side.kind
    one, other = _unit(side.left, loss), _unit(side.right, loss)
    return "" if side.sign == "/" and other else one or other


def amount(value: float, kind: str, half: float | None = None) -> str:
    """A number with its unit and its half-width, to the digits that the half-width leaves meaning to."""
    if not math.isfinite(value):
        return "–"
    if kind in ("bytes", "seconds"):
        write = human_bytes if kind == "bytes" else human_seconds
        sign = "-" if value < 0 else ""
        return f"{sign}{write(abs(value))}" + (f" ± {write(half)}" if half else "")
    digits = _digits(half if half else abs(value) / 100 or 1.0)
    written = f"{value:,.{digits}f}" + (f" ± {half:,.{digits}f}" if half else "")
    return f"{written} {kind}".rstrip()


def _digits(size: float) -> int:
    """Decimals that show two figures of a size, between none and seven."""
    return min(7, max(0, 1 - math.floor(math.log10(size))))


def _ordered(claim: Order, loss: str, evidence: Evidence) -> tuple[Word, str]:
    steps = list(itertools.pairwise(claim.arms))
    words, told = [], []
    for one, other in steps:
        comparison = Comparison(one, "<", other)
        word, reason = _compared(comparison, loss, evidence)
        if word == "refuted" and _compared(comparison, loss, evidence, ALPHA / len(steps))[0] != "refuted":
            word, reason = "undecided", f"{reason}, not beyond chance over {len(steps)} steps"
        words.append(word)
        told.append(f"{one.name} < {other.name} {word} ({reason})")
    word: Word = "refuted" if "refuted" in words else "undecided" if "undecided" in words else "confirmed"
    return word, "; ".join(told)


def _diverged(claim: Diverges, evidence: Evidence) -> tuple[Word, str]:
    arm = claim.arm.name
    states = Counter(cell.status for cell in evidence.cells if cell.arm == arm)
    n, lost, done = sum(states.values()), states["diverged"], states["done"]
    told = f"{lost} of {n} seeds diverged"
    if lost + done < n:
        return "undecided", "; ".join([told, *_gaps(evidence, [arm])])
    if n < 2:
        return "undecided", f"single seed: {told}"
    return ("confirmed" if lost == n else "refuted" if not lost else "undecided"), told


@dataclass(frozen=True)
class Span:
    """Where a place may be: every value that the seeds leave open; `open_above` for an edge that was never met."""

    values: tuple[float, ...]
    reason: str
    open_above: bool = False
    sure: bool = True


def span(text: str, place: Place, evidence: Evidence) -> Span:
    """Where best(KEY) or edge(KEY) lies."""
    values = placed(text, place, {cell.arm: cell.setting for cell in evidence.cells})
    return _best(place, values, evidence) if place.kind == "best" else _edge(place, values, evidence)


def _best(place: Place, values: Mapping[str, float], evidence: Evidence) -> Span:
    loss = loss_figure(evidence)
    whole = [arm for arm in values if not any(c.status == "diverged" for c in evidence.cells if c.arm == arm)]
    samples = {arm: found for arm in whole if (found := evidence.values(arm, loss))}
    if not samples:
        return Span((), f"no arm with {place.key} has a loss", sure=False)
    ranks = ranking(samples)
    chosen = sorted({values[arm] for arm in (ranks.order[0], *ranks.tied)})
    first = f"best({place.key}) = {values[ranks.order[0]]:g}"
    if ranks.single:
        return Span((values[ranks.order[0]],), f"{first}, single seed", sure=False)
    if rivals := _half_diverged(evidence, values, loss, mean(samples[ranks.order[0]]).value):
        return Span((values[ranks.order[0]],), f"{first}; {'; '.join(rivals)}", sure=False)
    others = [f"{v:g}" for v in chosen if v != values[ranks.order[0]]]
    return Span(tuple(chosen), first + (f", not told apart from {', '.join(others)}" if others else ""))


def _half_diverged(evidence: Evidence, arms: Iterable[str], loss: str, lowest: float) -> list[str]:
    """Arms that would be lower than the best, were it not that some of their seeds diverged."""
    told = []
    for arm in arms:
        gap, found = _gaps(evidence, [arm]), evidence.values(arm, loss)
        if any(cell.status == "diverged" for cell in evidence.cells if cell.arm == arm) and found:
            if mean(found).value <= lowest:
                told.append(f"{gap[0]}, and the others are lower")
    return told


def _edge(place: Place, values: Mapping[str, float], evidence: Evidence) -> Span:
    cells = [(values[cell.arm], cell.status) for cell in evidence.cells if cell.arm in values]
    met = [value for value, status in cells if status == "diverged"]
    if not met:
        done = [value for value, status in cells if status == "done"]
        if not done:
            return Span((), f"no arm with {place.key} is done", sure=False)
        return Span((max(done),), f"nothing diverged up to {place.key} = {max(done):g}", open_above=True)
    finite = {value for value, status in cells if status == "done"}
    every = [value for value in met if value not in finite]
    ends = sorted({min(met), min(every, default=max(met))})
    told = f"edge({place.key}) = {' to '.join(f'{v:g}' for v in ends)}"
    n = sum(value == min(met) for value, _ in cells)
    return Span(tuple(ends), told + (", single seed" if n < 2 else ""), sure=n > 1)


def _within(text: str, claim: Within, evidence: Evidence) -> tuple[Word, str]:
    sides, arms = [], set()
    for place in (claim.one, claim.other):
        if isinstance(place, Number):
            sides.append(Span((place.value,), f"{place.value:g}"))
        else:
            sides.append(span(text, place, evidence))
            arms |= set(placed(text, place, {cell.arm: cell.setting for cell in evidence.cells}))
    reason = "; ".join(side.reason for side in sides)
    gaps = _gaps(evidence, arms, "diverged")
    if gaps or not all(side.sure for side in sides):
        return "undecided", "; ".join([*gaps, reason])
    one, other = sides
    apart = [max(a / b, b / a) for a in one.values for b in other.values]
    told = f"{reason}: a factor of {' to '.join(f'{x:.3g}' for x in dict.fromkeys((min(apart), max(apart))))}"
    if one.open_above or other.open_above:
        edge, rest = (one, other) if one.open_above else (other, one)
        beyond = not rest.open_above and min(edge.values) / max(rest.values) > claim.factor
        return ("refuted" if beyond else "undecided"), told + " at least"
    holds = [x <= claim.factor * (1 + 1e-9) for x in apart]
    return ("confirmed" if all(holds) else "undecided" if any(holds) else "refuted"), told
