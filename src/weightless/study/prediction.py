"""Predictions that a machine can check: a small language about the arms of a study, read before anything runs.

    prediction  sum (< | <= | > | >=) sum            A - B < 0.02 nats    A.touched / B.touched < 0.1
                place within FACTORx of place        best(train.max_lr) within 4x of edge(train.max_lr)
                order(arm, arm, …)                   losses ascend from the first to the last
                diverges(arm)                        no seed of it ends with a finite loss
    sum         product (+ | -) product …            with spaces around the minus, since names may hold dashes
    product     factor (* | /) factor …
    factor      NUMBER [unit]  |  arm[.figure]  |  ( sum )  |  - factor
    place       best(KEY [, KEY = value]…)           the value of a key whose arm has the least loss
                edge(KEY [, KEY = value]…)           the least value of it at which a run diverged
                NUMBER

An arm is written as in the study, in double quotes where it holds anything but letters, digits and _ . - =, or begins
with a digit.  Without a figure its loss is meant: nats per token where the prediction says nats, bits per byte where it
says bits, else what the study compares by.  Units: nats, bits, B, kB, MB, GB, s, min, h.  A number beside a loss needs
one, because 0.02 nats and 0.02 bits are two predictions; zero does not.

`parse` reads the form, `check` also holds names to a study.  Errors: ConfigError with the place, and the nearest name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from weightless.base.errors import ConfigError, nearest
from weightless.study.claims import (
    FIGURES,
    KINDS,
    Comparison,
    Diverges,
    Expression,
    Number,
    Order,
    Place,
    Prediction,
    Ref,
    Sum,
    Within,
)
from weightless.study.reading import LONGEST, Reader, error, tokens

LOSS = {"nats": "nats_per_token", "bits": "bits_per_byte"}


def parse(text: str) -> Prediction:
    """The claim of a prediction; ConfigError where its form is wrong, without a look at any study."""
    if not isinstance(text, str) or not text.strip():
        raise ConfigError('a prediction is a text such as "A - B < 0.02 nats"')
    if len(text) > LONGEST:
        raise ConfigError(f"a prediction of {len(text)} characters, more than {LONGEST}: write several shorter ones")
    reader = Reader(text, tokens(text))
    claim = reader.claim()
    if reader.peek().kind != "end":
        raise reader.fail(f"expected the end, found {reader.peek().text!r}")
    if len(set(reader.units)) > 1:
        raise reader.fail("nats and bits in one prediction: nats are per token and bits per byte, so choose one", 0)
    return Prediction(text, claim, reader.units[0] if reader.units else "")


def check(
    text: str,
    arms: Collection[str],
    figures: Collection[str] = FIGURES,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
) -> Prediction:
    """`parse`, with every arm, figure, key and unit held to a study; ConfigError names the nearest.

    `settings` is {arm: {key: value}} and is needed to hold the keys of best(…) and edge(…); without it they pass.
    """
    prediction = parse(text)
    claim = prediction.claim
    found = bound(prediction, arms, figures)
    if isinstance(claim, Within):
        for place in (claim.one, claim.other):
            if isinstance(place, Place) and settings is not None:
                placed(text, place, settings)
    return found


def bound(prediction: Prediction, arms: Collection[str], figures: Collection[str] = FIGURES) -> Prediction:
    """The prediction with every name as an arm of `arms` and a figure; a bare arm has None for its loss."""
    text, claim = prediction.text, prediction.claim
    if isinstance(claim, Order):
        found = tuple(_arm(text, ref, arms, figures) for ref in claim.arms)
        names = [ref.name for ref in found]
        twice = next((ref for i, ref in enumerate(found) if ref.name in names[:i]), None)
        if twice is not None:
            raise error(text, twice.at, f"{twice.name!r} stands in the order twice")
        return replace(prediction, claim=Order(found))
    if isinstance(claim, Diverges):
        return replace(prediction, claim=Diverges(_arm(text, claim.arm, arms, figures)))
    if isinstance(claim, Comparison):
        left, right = (_bind(text, side, arms, figures) for side in (claim.left, claim.right))
        _hold_units(prediction, left, right)
        return replace(prediction, claim=Comparison(left, claim.operator, right))
    return prediction


def _arm(text: str, ref: Ref, arms: Collection[str], figures: Collection[str]) -> Ref:
    found = _resolve(text, ref, arms, figures)
    if found.figure is not None:
        raise error(text, ref.at, f"an arm stands here, without a figure: {found.name}")
    return found


def _bind(text: str, side: Expression, arms: Collection[str], figures: Collection[str]) -> Expression:
    if isinstance(side, Sum):
        left, right = (_bind(text, part, arms, figures) for part in (side.left, side.right))
        return replace(side, left=left, right=right)
    return _resolve(text, side, arms, figures) if isinstance(side, Ref) else side


def _resolve(text: str, ref: Ref, arms: Collection[str], figures: Collection[str]) -> Ref:
    """An arm of that whole name comes first, then an arm and a figure behind the last dot."""
    name, figure = ref.name, ref.figure
    if name not in arms and figure is None and not ref.quoted:
        front, dot, last = name.rpartition(".")
        if dot and (front in arms or last in figures):
            name, figure = front, last
    if name not in arms:
        minus = ' (a minus needs spaces around it, and a name with other signs needs "quotes")' if "-" in name else ""
        raise error(text, ref.at, f"no arm {name!r}; {nearest(name, arms)}{minus}")
    if figure is not None and figure not in figures:
        raise error(text, ref.at, f"no figure {figure!r} of {name}; {nearest(figure, figures)}")
    return Ref(name, figure, True, ref.at)


def refs(side: Expression) -> Iterator[Ref]:
    """Every figure of an arm in it, from left to right."""
    if isinstance(side, Ref):
        yield side
    elif isinstance(side, Sum):
        yield from refs(side.left)
        yield from refs(side.right)


def _hold_units(prediction: Prediction, left: Expression, right: Expression) -> None:
    """ConfigError for sums and comparisons of unlike things, and for a prediction that names no arm."""
    if not any(True for side in (left, right) for _ in refs(side)):
        raise error(prediction.text, 0, "names no arm, so there is nothing to predict")
    _alike(prediction, _kind(prediction, left), _kind(prediction, right), left, right)


Kind = tuple[tuple[str, int], ...] | None
"""Powers of units, such as bytes over seconds; None for a plain number, which may stand for any unit but a loss's."""


def _kind(prediction: Prediction, side: Expression) -> Kind:
    if isinstance(side, Number):
        return ((side.kind, 1),) if side.kind else None
    if isinstance(side, Ref):
        kind = (prediction.unit or "loss") if side.figure is None else KINDS.get(side.figure, "") or side.figure
        return ((kind, 1),)
    one, other = (_kind(prediction, part) for part in (side.left, side.right))
    if side.sign in "+-":
        _alike(prediction, one, other, side.left, side.right)
        return one if other is None else other
    if one is None and other is None:
        return None
    powers = dict(one or ())
    for kind, power in other or ():
        powers[kind] = powers.get(kind, 0) + (power if side.sign == "*" else -power)
    return tuple(sorted((kind, power) for kind, power in powers.items() if power))


def _alike(prediction: Prediction, one: Kind, other: Kind, left: Expression, right: Expression) -> None:
    for kind, plain in ((one, right if other is None else None), (other, left if one is None else None)):
        is_zero = isinstance(plain, Number) and plain.value == 0
        if plain is not None and not is_zero and any(k in ("loss", "nats", "bits") for k, _ in kind or ()):
            raise error(prediction.text, _at(plain), "a number beside a loss needs its unit: write nats or bits")
    if one is not None and other is not None and one != other:
        raise error(prediction.text, _at(right), f"{_told(other)} beside {_told(one)}: these are not of one kind")


def _told(kind: Kind) -> str:
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in kind or ()) or "a plain number"


def _at(side: Expression) -> int:
    return _at(side.left) if isinstance(side, Sum) else side.at


def placed(text: str, place: Place, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """{arm: value of the place's key} of the arms that it names; ConfigError unless they differ in nothing else."""
    keys = {key for setting in settings.values() for key in setting}
    for key in (place.key, *place.where):
        if key not in keys:
            raise error(text, place.at, f"no arm varies {key!r}; {nearest(key, keys)}")
    chosen = {
        arm: setting
        for arm, setting in settings.items()
        if place.key in setting and all(_same(setting.get(k), v) for k, v in place.where.items())
    }
    if not chosen:
        where = ", ".join(f"{k} = {v}" for k, v in place.where.items())
        raise error(text, place.at, f"no arm has {where}")
    values: dict[str, float] = {}
    for arm, setting in chosen.items():
        value = setting[place.key]
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise error(text, place.at, f"{place.key} = {value!r} in {arm}: factors are of positive numbers")
        values[arm] = float(value)
    for key in sorted(keys - {place.key}):
        seen = {str(setting.get(key)): setting.get(key) for setting in chosen.values()}
        if len(seen) > 1 and len(set(values.values())) < len(values):
            named = ", ".join(list(seen)[:4])
            raise error(text, place.at, f"several arms have one {place.key}: say which, {key} = one of {named}")
    return values


def _same(value: Any, written: str) -> bool:
    if str(value) == written:
        return True
    try:
        return not isinstance(value, bool) and float(value) == float(written)
    except (TypeError, ValueError):
        return False
