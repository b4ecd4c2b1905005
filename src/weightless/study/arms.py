"""Floor 9.  From a study to its arms: every point of the grid, every [[arm]], with what each of them is made of.

An arm starts from [base] and changes what it names.  One that changes the family keeps the fields of [base.config] that
its own family has too; what it leaves behind is told (`notes`), and a family that is counted keeps nothing of
[base.train].  Then the controls turn dials (matching.py), and every model is checked as a recipe checks it.
A tuned arm is several variants, of which the best counts later.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from weightless.base.config import from_dict, put, to_dict
from weightless.base.errors import ConfigError
from weightless.lab.recipe import DataRecipe, ModelRecipe, Recipe
from weightless.models.catalog import Composed, Counted, family
from weightless.study.study_file import LONGEST_NAME, TABLES, ArmTable, Base, Controls, Study

MODEL = "model"
"""What the model of every cell is called in its recipe: names of arms decide nothing about a result."""
MOST_ARMS = 2000


@dataclass(frozen=True)
class Arm:
    """One setting, ready to run: `of` names the tuned arm that it is a variant of, "" for none.

    `setting` has, for every key that is varied anywhere in the study, what this arm has there.
    """

    name: str
    description: str
    model: ModelRecipe
    data: DataRecipe
    changes: Mapping[str, Any]
    setting: Mapping[str, Any] = field(default_factory=dict)
    of: str = ""
    free: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def recipe(self, study: Study, seed: int) -> Recipe:
        """What one cell of it is made by."""
        return Recipe("cell", (self.model,), (seed,), self.data, study.eval, study.sample)


def arms_of(study: Study) -> tuple[list[Arm], dict[str, dict[str, float]]]:
    """(all arms in the order of the study, what matching left of their differences); ConfigError for one at fault."""
    points = math.prod(len(values) for values in study.grid.values())
    n = points * sum(math.prod(len(v) for v in table.tune.values()) for table in study.arm or [ArmTable("")])
    if n > MOST_ARMS:
        raise ConfigError(f"{n:,} arms, more than {MOST_ARMS:,}: vary fewer keys, or give [search] instead of [grid]")
    arms = [_made(study.base, study.data, *one) for one in _named(study)]
    for i, arm in enumerate(arms):
        if arm.name in [other.name for other in arms[:i]]:
            raise ConfigError(f"two arms are called {arm.name!r}: give the [[arm]]s other names")
    arms, mismatch = _matched(study, arms)
    for arm in arms:
        try:
            arm.recipe(study, study.seeds[0])
        except ConfigError as error:
            raise ConfigError(f"arm {arm.name!r}: {str(error).removeprefix(f'model {MODEL!r}: ')}") from None
    keys = list(dict.fromkeys(key for arm in arms for key in arm.changes))
    arms[0] = dataclasses.replace(arms[0], notes=(*arms[0].notes, *_idle(study, arms)))
    whole = [
        dataclasses.replace(arm, setting={k: v for k in keys if (v := value_at(arm, k)) is not None}) for arm in arms
    ]
    return whole, mismatch


def _idle(study: Study, arms: Sequence[Arm]) -> list[str]:
    """What [base] says for nobody."""
    given = [f"{table}.{key}" for table in ("config", "train") for key in getattr(study.base, table)]
    return [f"base.{key} does nothing: every arm says it" for key in given if all(key in arm.changes for arm in arms)]


def arm_with(study: Study, name: str, changes: Mapping[str, Any], description: str = "") -> Arm:
    """[base] with these changes: a trial of a search, or its best one."""
    arm = _made(study.base, study.data, ArmTable(name, description, dict(changes)), dict(changes), "")
    return dataclasses.replace(arm, setting=dict(changes))


def _named(study: Study) -> Iterator[tuple[ArmTable, dict[str, Any], str]]:
    """(its table under its own name, all that it changes, the tuned arm that it is one of)."""
    points = list(product(study.grid))
    for table in study.arm or [ArmTable("")]:
        for point in points:
            parts = [part for part in (table.name, label(point)) if part]
            name = "-".join(parts) or "base"
            changes = {**point, **table.changes}
            twice = point.keys() & (table.changes.keys() | table.tune.keys())
            if twice:
                raise ConfigError(f"arm {table.name!r} and the grid both say {min(twice)}: take it out of one of them")
            if own := table.changes.keys() & table.tune.keys():
                raise ConfigError(f"arm {table.name!r} says {min(own)} and tunes it: take it out of one of them")
            for tuned in product(table.tune):
                told = name + (f"~{label(tuned)}" if tuned else "")
                yield dataclasses.replace(table, name=told), {**changes, **tuned}, name if tuned else ""


def product(grid: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination, the last key changing fastest; one that changes nothing for an empty grid."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def label(point: Mapping[str, Any]) -> str:
    """feather-max_lr=0.003: how an arm of a grid is called, which is a file name and a word of a prediction."""
    last = [key.rpartition(".")[2] for key in point]
    parts = []
    for key, short in zip(point, last, strict=True):
        value = _worded(key, point[key])
        name = short if last.count(short) == 1 else key
        parts.append(value if key in ("family", "data.source") else f"{name}={value}")
    found = "-".join(parts)
    if len(found) > LONGEST_NAME:
        raise ConfigError(
            f"the arm {found[:60]!r}… has a name of {len(found)} letters: vary fewer keys, or use [[arm]]"
        )
    return found


def _worded(key: str, value: Any) -> str:
    if key in ("data.source", "data.validation"):
        value = PurePath(str(value)).name.partition(".")[0]
    told = f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9_.=-]+", "-", told.replace("+", "")).strip("-") or "none"


def _made(base: Base, data: DataRecipe, table: ArmTable, changes: dict[str, Any], of: str) -> Arm:
    """An arm from [base], its changes put in."""
    told = f"arm {table.name!r}"
    values, notes = _inherited(base, changes.get("family", base.family), told)
    for key in table.unset:
        if not _taken_out(values, key):
            raise ConfigError(f"{told}: unset names {key!r}, which [base] does not give: leave it out")
    tables: dict[str, Any] = {**values, "data": to_dict(data)}
    for key, value in changes.items():
        head, _, rest = key.partition(".")
        if head not in TABLES:
            tables[key] = value
            continue
        tables[head] = dict(tables[head])
        put(tables[head], rest.split("."), value, f"{told}: {key}")
    tokens = tables.pop("train_tokens")
    fields = {**tables, "name": MODEL, "train_tokens": [tokens] if tokens else []}
    try:
        made_data = from_dict(DataRecipe, fields.pop("data"), "data")
        model = from_dict(ModelRecipe, fields)
    except ConfigError as error:
        raise ConfigError(f"{told}: {error}") from None
    return Arm(table.name, table.description, model, made_data, changes, {}, of, table.free, tuple(notes))


def _inherited(base: Base, name: str, told: str) -> tuple[dict[str, Any], list[str]]:
    """What an arm of this family has of [base], and what was left behind."""
    values = to_dict(base)
    if name == base.family or not isinstance(name, str):
        return values, []
    try:
        room = family(name)
    except ConfigError as error:
        raise ConfigError(f"{told}: {error}") from None
    has = {f.name for f in dataclasses.fields(room.Config)}
    left = [f"config.{key}" for key in base.config if key not in has]
    kept = {key: value for key, value in base.config.items() if key in has}
    if isinstance(room, Counted):
        left += [f"train.{key}" for key in base.train]
        values |= {"train": {}, "distil": {}, "init_from": ""}
    elif isinstance(room, Composed):
        values |= {"distil": {}, "init_from": ""}
    notes = [f"{told}: family {name!r} goes without {', '.join(left)} of [base]"] if left else []
    return {**values, "family": name, "config": kept}, notes


def _taken_out(values: dict[str, Any], key: str) -> bool:
    table, _, rest = key.partition(".")
    inner = values.get(table)
    if not isinstance(inner, dict) or rest not in inner:
        return False
    values[table] = {name: value for name, value in inner.items() if name != rest}
    return True


def _matched(study: Study, arms: list[Arm]) -> tuple[list[Arm], dict[str, dict[str, float]]]:
    """Dials turned so that the arms are equal in what the controls name, and the shares that are left."""
    if study.controls.match == "none":
        idle = next((f"arm {arm.name!r}: free" for arm in arms if arm.free), "")
        if idle or study.controls.tolerance != Controls.tolerance:
            raise ConfigError(f"{idle or 'controls.tolerance'} does nothing without controls.match: leave it out")
        return arms, {}
    from weightless.study.matching import ArmConfig, solve

    given = [
        ArmConfig(arm.name, arm.model.family, dict(arm.model.config), dict(arm.model.train), arm.free) for arm in arms
    ]
    sizes = {arm.data.vocab_size for arm in arms}
    if len(sizes) > 1:
        raise ConfigError(f"controls.match = {study.controls.match!r} with vocabularies of {sorted(sizes)}: match one")
    solved, mismatch = solve(given, study.controls.match, sizes.pop(), study.controls.tolerance)
    return [_turned(arm, one) for arm, one in zip(arms, solved, strict=True)], mismatch


def _turned(arm: Arm, solved: Mapping[str, Any]) -> Arm:
    """The arm as matching left it; what was turned belongs to its setting."""
    changes = dict(arm.changes)
    for table, before in (("config", arm.model.config), ("train", arm.model.train)):
        changes |= {f"{table}.{k}": v for k, v in solved[table].items() if before.get(k) != v}
    model = dataclasses.replace(arm.model, config=dict(solved["config"]), train=dict(solved["train"]))
    return dataclasses.replace(arm, model=model, changes=changes)


def value_at(arm: Arm, key: str) -> Any:
    """What an arm has under a dotted key, by default too; None where it has no such thing."""
    head, _, rest = key.partition(".")
    if head == "data":
        return getattr(arm.data, rest, None)
    if head == "train_tokens":
        return next(iter(arm.model.train_tokens), None)
    if head not in TABLES:
        return getattr(arm.model, head) or None
    place: Any = getattr(arm.model, head)
    for step in rest.split("."):
        if not isinstance(place, Mapping) or step not in place:
            return _default(arm, head, rest)
        place = place[step]
    return place


def _default(arm: Arm, head: str, rest: str) -> Any:
    """What the family's Config or the loop's has where nothing is said."""
    if head == "config":
        return to_dict(arm.model.build_config(arm.data.vocab_size)).get(rest)
    if head == "train":
        config = arm.model.build_config(arm.data.vocab_size)
        training = arm.model.build_training(config, 0)
        return None if training is None else to_dict(training).get(rest)
    return None
