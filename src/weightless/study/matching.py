"""Floor 9.  Make arms comparable: turn the free dials of each until it equals the first one in what is matched.

    solved, mismatch = solve([ArmConfig("a", "dense", {…}, {…}), ArmConfig("b", "feather", {…}, {…})], "bytes", 4096)

The first arm is the reference and stays as it is.  Of every other arm, in this order, until it is within `tolerance`:

    1. each fine dial alone (`dials`: width of the feed-forward block, rows of tables), at the nearest of its values;
       then the width behind the rows
    2. each coarse dial (d_model, n_layers) near its own nearest value, there the fine ones again
    3. both coarse dials, and the fine ones

`free` of an arm names the dials that may move; without it all may, but for what the arm and the first one, of the same
family, were given differently: that is what the study asks about.  A match of tokens (seconds) gives every arm the
training tokens (seconds) of the first one instead.  What is left of the difference in every quantity is returned as a
share of the first arm's.
Errors: ConfigError for an arm that cannot be matched, saying how near it came and by which dial.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from weightless.base.config import to_dict
from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.lab.recipe import ModelRecipe
from weightless.models.catalog import Trained, family
from weightless.study.dials import COARSE, FINE, UNBOUNDED, check_dials, dials_of, scaled, turned, value_of, values_of
from weightless.study.quantities import BUDGETS, SIZES, Counter, positions_per_step

MATCHES = (*SIZES, *BUDGETS, "none")
TOLERANCE = 0.01
ROUNDS = 4
AROUND = 5
"""Values of a coarse dial that are tried on either side of its nearest."""


@dataclass(frozen=True)
class ArmConfig:
    """One arm as a study gives it: fields of the family's Config and of TrainConfig, and the dials that may move."""

    name: str
    family: str
    config: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    free: tuple[str, ...] = ()


class Tried(NamedTuple):
    """A configuration, how far it is from the target as a share, and the dials that were turned."""

    config: Any
    off: float
    by: tuple[str, ...]


def solve(
    arms: Sequence[ArmConfig], match: str, vocab_size: int, tolerance: float = TOLERANCE
) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    """([{name, family, config, train} of every arm], {arm: {quantity: share by which it is above the first one}}).

    The shares hold every quantity that both arms have, whatever was matched; the first arm's are 0.
    """
    if match not in MATCHES:
        raise ConfigError(f"controls.match = {match!r}: {nearest(match, MATCHES)}")
    if not 0 < tolerance <= 0.5:
        raise ConfigError(f"controls.tolerance = {tolerance:g} is a share: above 0, at most 0.5")
    counter, made = Counter(), []
    configs = [_configured(arm, vocab_size) for arm in arms]
    for arm, config in zip(arms, configs, strict=True):
        if match in SIZES and arm is not arms[0]:
            config = _sized(arm, config, (arms[0], configs[0]), match, tolerance, counter)
        train = _trained(arm, config, (arms[0], configs[0]), match, tolerance) if match in BUDGETS else arm.train
        made.append((arm, config, train))
    amounts = [counter.all_of(arm.family, config, train) for arm, config, train in made]
    return [_plain(*one) for one in made], {
        arm.name: _shares(found, amounts[0]) for arm, found in zip(arms, amounts, strict=True)
    }


def _configured(arm: ArmConfig, vocab_size: int) -> Any:
    """Its family's Config; a name of an arm may hold what no model's name may."""
    try:
        return ModelRecipe("model", arm.family, config=arm.config).build_config(vocab_size)
    except ConfigError as error:
        told = str(error).removeprefix("model 'model': ")
        raise ConfigError(f"arm {arm.name!r}: {told}") from None


def _plain(arm: ArmConfig, config: Any, train: dict[str, Any]) -> dict[str, Any]:
    """The arm with what was turned written into its configuration."""
    before, after = to_dict(_configured(arm, config.vocab_size)), to_dict(config)
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    return {"name": arm.name, "family": arm.family, "config": {**arm.config, **changed}, "train": dict(train)}


def _shares(found: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    return {name: found[name] / amount - 1 for name, amount in reference.items() if name in found and amount}


def _sized(
    arm: ArmConfig, config: Any, first: tuple[ArmConfig, Any], quantity: str, tolerance: float, counter: Counter
) -> Any:
    """The arm's configuration, turned to the size of the first one."""
    for one in (first[0], arm):
        if not isinstance(family(one.family), Trained):
            raise ConfigError(
                f"arm {one.name!r}: the {quantity} of family {one.family!r} are known when its text was read: take "
                'controls.match = "none", "tokens" or "seconds"'
            )
    target = counter.exactly(first[0].family, first[1], quantity)
    search = _Search(arm, quantity, target, tolerance, counter)
    check_dials(config, arm.free, f"arm {arm.name!r}")
    return search.matched(config, _free(arm, config, *first))


def _free(arm: ArmConfig, config: Any, first: ArmConfig, reference: Any) -> list[str]:
    """The dials that may move, in order."""
    if arm.free:
        return list(arm.free)
    asked = [] if arm.family != first.family else dials_of(reference)
    given = {name for name in asked if name in dials_of(config) and value_of(config, name) != value_of(reference, name)}
    return [name for name in dials_of(config) if name not in given or not _is_written(arm, first, name)]


def _is_written(arm: ArmConfig, first: ArmConfig, name: str) -> bool:
    fields = [key for key in {**arm.config, **first.config} if key == name or (name == "rows" and "rows" in key)]
    return any(arm.config.get(key) != first.config.get(key) for key in fields)


@dataclass
class _Search:
    """One arm on its way to a target; the nearest that was met is kept for the refusal."""

    arm: ArmConfig
    quantity: str
    target: float
    tolerance: float
    counter: Counter
    best: Tried | None = None

    def matched(self, config: Any, free: Sequence[str]) -> Any:
        fine = [name for name in free if name in FINE]
        coarse = [name for name in free if name in COARSE]
        for tried in self._ways(config, fine, coarse):
            if self.best is None or abs(tried.off) < abs(self.best.off):
                self.best = tried
            if abs(tried.off) <= self.tolerance:
                return tried.config
        raise ConfigError(self._refusal(free))

    def _ways(self, config: Any, fine: Sequence[str], coarse: Sequence[str]) -> Iterator[Tried]:
        as_given = self._tried(config, ())
        if not fine or not as_given.off:
            yield as_given
        if fine:
            yield from self._finely(config, fine, ())
            yield as_given
        for name in coarse:
            for there in self._around(config, name, fine):
                yield from self._finely(there, fine, (name,))
        if len(coarse) == 2:
            for deeper in self._around(config, coarse[1], fine):
                for there in self._around(deeper, coarse[0], fine):
                    yield from self._finely(there, fine, tuple(coarse))

    def _finely(self, config: Any, fine: Sequence[str], by: tuple[str, ...]) -> Iterator[Tried]:
        """Each fine dial alone, then the first one behind each of the others."""
        for name in fine:
            yield self._tried(self.nearest(config, name), (*by, name))
        for name in fine[1:]:
            there = self.nearest(self.nearest(config, name), fine[0])
            yield self._tried(there, (*by, name, fine[0]))
        if not fine:
            yield self._tried(config, by)

    def _tried(self, config: Any, by: tuple[str, ...]) -> Tried:
        return Tried(config, self._amount(config) / self.target - 1, by)

    def _amount(self, config: Any) -> float:
        if self._quick(config) == math.inf:
            return math.inf
        return self.counter.exactly(self.arm.family, config, self.quantity)

    def nearest(self, config: Any, name: str) -> Any:
        """The configuration whose fine dial stands at the value nearest to the target, of all that it may take.

        The quick count differs from the exact one by what does not depend on the dial; where it does, a little, the
        difference is taken anew where the search ended.
        """
        values = values_of(self.arm.family, config, name)
        at = config
        for _ in range(ROUNDS):
            aim = self.target - self._amount(at) + self._quick(at)
            found = turned(config, name, self._nearest_value(config, name, values, aim))
            if found == at:
                break
            at = found
        return at

    def _nearest_value(self, config: Any, name: str, values: Sequence[int], aim: float) -> int:
        """The value whose quick count is nearest to `aim`, the one that it has where it is as near as any."""

        def count(i: int) -> float:
            return self._quick(turned(config, name, values[i]))

        above = bisect_left(range(len(values)), aim, key=count)
        beside = [i for i in (above - 1, above) if 0 <= i < len(values)]
        found = min((values[i] for i in beside), key=lambda value: abs(self._quick(turned(config, name, value)) - aim))
        stays = abs(self._quick(config) - aim) <= abs(self._quick(turned(config, name, found)) - aim)
        return value_of(config, name) if stays else found

    def _quick(self, config: Any) -> float:
        """Without end where the configuration's check lets pass what the program does not: it grew too large."""
        try:
            return self.counter.quickly(self.arm.family, config, self.quantity)
        except WeightlessError:
            return math.inf

    def _around(self, config: Any, name: str, fine: Sequence[str]) -> Iterator[Any]:
        """Configurations with a coarse dial at the values about its nearest, the nearest first.

        A dial without an upper end (rows, slots) takes whatever is left: then they are the largest values that leave
        something to it, up to the value that was given.
        """
        values = values_of(self.arm.family, config, name)
        unbounded = [other for other in fine if other in UNBOUNDED and self._moves(config, other)]
        lean = config
        for other in unbounded:
            lean = turned(lean, other, values_of(self.arm.family, lean, other)[0])

        def count(i: int) -> float:
            return self._quick(scaled(self.arm.family, lean, name, values[i]))

        at = min(bisect_left(range(len(values)), self.target, key=count), len(values) - 1)
        last = at + AROUND + 1
        if unbounded:
            at = min(at - 1, values.index(value_of(config, name)))
            last = at + 1
        for i in sorted(range(max(0, at - AROUND), min(len(values), last)), key=lambda i: abs(i - at)):
            yield scaled(self.arm.family, config, name, values[i])

    def _moves(self, config: Any, name: str) -> bool:
        values = values_of(self.arm.family, config, name)
        ends = [self._quick(turned(config, name, value)) for value in (values[0], values[-1])]
        return ends[0] != ends[1]

    def _refusal(self, free: Sequence[str]) -> str:
        told = f"arm {self.arm.name!r} cannot be matched to {self.target:,.0f} {_unit(self.quantity)} within "
        told += f"{self.tolerance:.1%}"
        assert self.best is not None
        dials = " and ".join(self.best.by) or "no dial at all"
        stand = ", ".join(f"{name} = {value_of(self.best.config, name)}" for name in self.best.by)
        moved = ", ".join(free) or "none is free"
        return (
            f"{told}: the nearest is {self.best.off:+.1%}, by {dials}{f' ({stand})' if stand else ''}; dials that may "
            f"move: {moved}; name others in free, begin nearer to it, or give [controls] tolerance"
        )


def _unit(quantity: str) -> str:
    return {"bytes": "bytes touched", "stored": "stored bytes", "flops": "FLOPs per token"}.get(quantity, quantity)


def _trained(arm: ArmConfig, config: Any, first: tuple[ArmConfig, Any], match: str, tolerance: float) -> dict[str, Any]:
    """The training of an arm, as long as that of the first one; nothing for a family without training."""
    if not isinstance(family(arm.family), Trained):
        return dict(arm.train)
    given, reference = first
    length = "num_steps" if match == "tokens" else "seconds"
    if not given.train.get(length):
        raise ConfigError(f"controls.match = {match!r}: the first arm ({given.name!r}) should give train.{length}")
    train = {key: value for key, value in arm.train.items() if key not in ("num_steps", "seconds")}
    if match == "seconds":
        return {**train, "seconds": given.train["seconds"]}
    tokens = given.train["num_steps"] * positions_per_step(reference, given.train)
    step = positions_per_step(config, train)
    steps = max(1, round(tokens / step))
    if abs(off := steps * step / tokens - 1) > tolerance:
        raise ConfigError(
            f"arm {arm.name!r} cannot see {tokens:,} tokens within {tolerance:.1%}: {steps} steps of {step:,} are "
            f"{off:+.1%}; give it smaller steps (batch_size), longer training, or [controls] tolerance"
        )
    return {**{key: value for key, value in train.items() if key not in ("clock", "fit_seconds")}, "num_steps": steps}
