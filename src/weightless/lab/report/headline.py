"""The claim: one sentence computed from the data, true whichever way the data went.

The reference is the dense model with the lowest loss (without one, the model that touches most).  The hero is the
lightest model at no higher loss; where there is none, the best of those that touch less.  Where one between hero and
reference has a lower loss than the hero, a second sentence names it.  A loss is called lower only when the seeds allow
it: the 95 % interval of the difference (paired, or Welch's where seeds do not pair) excludes zero, or there is a single
seed, which the line beneath then says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightless.base.units import human_bytes, human_seconds
from weightless.lab.report.groups import Group, difference
from weightless.lab.report.interval import Estimate
from weightless.lab.report.summary import number

Part = tuple[str, str | None]


@dataclass(frozen=True)
class Gain:
    """`hero` needs `words` (27× fewer bytes) than `reference` at no higher loss."""

    hero: str
    reference: str
    words: str


@dataclass(frozen=True)
class Headline:
    """`parts` is the sentence as (words, model they name or None); `gain` is set where a lighter model wins."""

    parts: tuple[Part, ...]
    gain: Gain | None = None

    def __str__(self) -> str:
        return "".join(words for words, _ in self.parts)


def headline(groups: Sequence[Group]) -> Headline:
    """The sentence for groups from `gather`."""
    drawn = [g for g in groups if g.drawable]
    if not drawn:
        return Headline((("No model finished with a finite loss.", None),))
    if len(drawn) == 1:
        only = drawn[0]
        return _say(only, " reaches ", _bpb(only), " bits per byte touching ", _bytes(only), " per token.")
    reference = _reference(drawn)
    lighter = [g for g in drawn if g.touched.mean < reference.touched.mean]
    as_good = [g for g in lighter if g.loss.mean <= reference.loss.mean]
    if as_good:
        best = min(as_good, key=lambda g: (g.loss.mean, g.touched.mean))
        return _wins(min(as_good, key=lambda g: g.touched.mean), reference, best)
    if lighter:
        return _trails(min(lighter, key=lambda g: g.loss.mean), reference)
    return _stands(reference, min((g for g in drawn if g is not reference), key=lambda g: g.loss.mean))


def _reference(drawn: Sequence[Group]) -> Group:
    dense = [g for g in drawn if g.family == "dense"]
    return min(dense, key=lambda g: g.loss.mean) if dense else max(drawn, key=lambda g: g.touched.mean)


def _wins(hero: Group, reference: Group, best: Group) -> Headline:
    loss, other = _two_losses(hero, reference)
    apart = difference(hero, reference).apart
    if loss == other:
        verdict = " at the same loss."
    elif abs(apart.mean) > apart.reach:
        verdict = f" at a lower loss ({other})."
    else:
        verdict = f" at a loss these seeds cannot tell from its {other}."
    gain = Gain(hero.name, reference.name, _fewer(hero, reference))
    claim = (hero, " reaches ", loss, " bits per byte touching ", _bytes(hero), " per token: ", _fewer(hero, reference))
    return _say(*claim, " than ", reference, ",", verdict, *_better(best, hero, reference), gain=gain)


def _better(best: Group, hero: Group, reference: Group) -> tuple[Group | str, ...]:
    """The lowest loss that is reached with fewer bytes than the reference, where that is not the hero's."""
    apart = difference(best, hero).apart
    if best is hero or _bpb(best) == _bpb(hero) or not abs(apart.mean) > apart.reach:
        return ()
    return (" ", best, " reaches ", _bpb(best), " touching ", _bytes(best), ", ", _fewer(best, reference), ".")


def _trails(best: Group, reference: Group) -> Headline:
    loss, other = _two_losses(best, reference)
    first = ("No model reaches the ", other, " bits per byte of ", reference, " with fewer bytes. ")
    if loss == other:
        return _say(
            *first, best, " all but ties, touching ", _bytes(best), " per token: ", _fewer(best, reference), "."
        )
    behind = ("comes closest: ", loss, ", touching ", _bytes(best), " per token, ", _fewer(best, reference), ".")
    return _say(*first, best, " ", *behind)


def _stands(reference: Group, best: Group) -> Headline:
    loss, other = _two_losses(reference, best)
    first = (
        reference,
        " touches the fewest bytes, ",
        _bytes(reference),
        " per token, and reaches ",
        loss,
        " bits per byte",
    )
    if best.loss.mean >= reference.loss.mean:
        return _say(*first, ": no other model does better.")
    ratio = best.touched.mean / reference.touched.mean
    more = f"{_times(ratio)} the bytes" if ratio > 1.0005 else "as many bytes"
    return _say(*first, "; ", best, " reaches ", other, " touching ", more, ".")


def _say(*pieces: Group | str, gain: Gain | None = None) -> Headline:
    parts = tuple((p.name, p.name) if isinstance(p, Group) else (p, None) for p in pieces)
    return Headline(parts, gain)


def _bpb(group: Group) -> str:
    return f"{group.loss.mean:.2f}"


def _two_losses(one: Group, other: Group) -> tuple[str, str]:
    """Both to two decimals, or to three where two would hide the difference."""
    digits = 2 if f"{one.loss.mean:.2f}" != f"{other.loss.mean:.2f}" else 3
    return f"{one.loss.mean:.{digits}f}", f"{other.loss.mean:.{digits}f}"


def _bytes(group: Group) -> str:
    return _whole(human_bytes(group.touched.mean))


def _fewer(light: Group, heavy: Group) -> str:
    return f"{_times(heavy.touched.mean / light.touched.mean)} fewer bytes"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×" if ratio >= 1.05 else f"{ratio:.3f}×"


def evidence(groups: Sequence[Group]) -> str:
    """How sure the numbers are: seeds and interval, or the words single seed; and what longer windows touch."""
    return " ".join([_seeds_told(groups), *_windows_told(groups)])


def _windows_told(groups: Sequence[Group]) -> list[str]:
    """T of models that see more than the headline's positions, over all that they see."""
    found: dict[float, list[str]] = {}
    for group in groups:
        length, mean = (
            group.over_seeds(lambda m, key=key: (m.get("window") or {}).get(key)) for key in ("positions", "T")
        )
        if mean.known:
            found.setdefault(length.mean, []).append(f"{group.name} {human_bytes(mean.mean)}")
    told = "; ".join(f"of {length:,.0f} tokens: {', '.join(figures)}" for length, figures in sorted(found.items()))
    return [f"Bytes touched are those of the first 512 tokens; over whole windows {told}."] if told else []


def _seeds_told(groups: Sequence[Group]) -> str:
    counts = {len(g.members) for g in groups}
    if counts == {1} and all(member.get("training_flops") == 0 for group in groups for member in group.members):
        return "Counted, not trained: nothing here is random."
    if counts == {1}:
        return "Single seed: small differences may be chance."
    several = max(counts)
    line = f"Mean ± half-width of a 95 % t interval over {several} seeds"
    fewer = [f"{g.name} {_seeds(len(g.members))}" for g in groups if len(g.members) != several]
    return f"{line} ({', '.join(fewer)})." if fewer else f"{line}."


def _seeds(n: int) -> str:
    return "single seed" if n == 1 else f"{n} seeds"


def conditions(summary: dict[str, Any]) -> str:
    """Corpus and cost of the run, in one line."""
    corpus, machine = summary["corpus"], summary["machine"]
    where = f" on {machine['cores']} CPU cores" if machine.get("cores") else ""
    sizes = f"{_size(corpus['train_bytes'])} to learn from, {_size(corpus['val_bytes'])} to judge by"
    wall = number(summary["wall_seconds"])
    took = f" The whole run took {_whole(human_seconds(wall))}{where}." if wall == wall else ""
    return f"Corpus {corpus['name']}: {sizes}.{took}"


def _size(value: Any) -> str:
    n = number(value)
    return _whole(human_bytes(n)) if n == n else "unknown size"


def _whole(amount: str) -> str:
    """An amount that no line break parts from its unit."""
    return amount.replace(" ", "\u00a0")


def spelled(value: Estimate, digits: int, grouped: bool = False) -> str:
    """1.934 ± 0.012, 1.934, or a dash."""
    if not value.known:
        return "–"
    form = f"{',' if grouped else ''}.{digits}f"
    written = format(value.mean, form)
    if not value.half:
        return written
    least = 10.0**-digits
    return f"{written} ± {format(value.half, form)}" if value.half >= least / 2 else f"{written} ± <{least:g}"
