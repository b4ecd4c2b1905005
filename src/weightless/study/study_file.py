"""Floor 9.  A study file: a question, what is varied, what is held equal.  Strict TOML, checked whole when it is read.

    name, kind, seeds
    [question]   text, hypothesis, prediction (one or several), does_not_show, next
    [data] [eval] [sample]            as in a recipe
    [base]       family, [base.config], [base.train], train_tokens, init_from, [base.distil]
    [grid]       "train.max_lr" = [1e-3, 3e-3], "config.norm" = […], "family" = […], "data.source" = […]: the product
    [[arm]]      name, description, and what is otherwise than in [base]: dotted keys, or tables config, train, data
                 unset = ["train.muon_lr"]      keys of [base] that this arm goes without
                 free = ["d_ff"]                dials that matching may turn
                 [arm.tune] "train.max_lr" = […]      the best of these counts, the others stay on record
    [controls]   match = "none" | "parameters" | "bytes" | "flops" | "tokens" | "seconds", tolerance
    [search]     trials, [search.parameters] "train.max_lr" = { low, high, log } or { choices }      instead of a grid

With [[arm]] and [grid] every arm is run at every point of the grid; with neither there is one arm, "base".
Errors: ConfigError naming the key, and the nearest known one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightless.base.config import from_dict, load_toml
from weightless.base.errors import ConfigError, nearest
from weightless.lab.recipe import DataRecipe, EvalRecipe, SampleRecipe

SCALED = ("parameters", "tokens")
KINDS = ("", "lr", "batch", "ablations", "vocabulary", "corpora", "scaling", "frontier", "golf")
TABLES = ("config", "train", "data", "distil")
WORDS = ("family", "train_tokens", "init_from")
"""What can be varied: keys of these tables, and these keys of the model."""
OF_ARM = ("name", "description", "tune", "unset", "free")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]*")
LONGEST_NAME = 120


@dataclass(frozen=True)
class Question:
    """What is asked; texts but for `prediction`, which is checked by the machine."""

    text: str = ""
    hypothesis: str = ""
    prediction: tuple[str, ...] | str = ()
    does_not_show: tuple[str, ...] | str = ""
    next: tuple[str, ...] | str = ""

    @property
    def predictions(self) -> tuple[str, ...]:
        """All of them."""
        return (self.prediction,) if isinstance(self.prediction, str) else self.prediction

    def __post_init__(self) -> None:
        for i, text in enumerate(self.predictions):
            if not text.strip():
                raise ConfigError(f"question.prediction[{i}] is empty: write it, as A - B < 0.02 nats, or leave it out")


@dataclass(frozen=True)
class Base:
    """What every arm has where it says nothing else."""

    family: str
    config: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    distil: dict[str, Any] = field(default_factory=dict)
    init_from: str = ""
    train_tokens: int = 0


@dataclass(frozen=True)
class ArmTable:
    """One [[arm]]: dotted keys and their values, in `changes`; several values under each key of `tune`."""

    name: str
    description: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    tune: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    free: tuple[str, ...] = ()


@dataclass(frozen=True)
class Controls:
    """What is held equal between the arms: the first one's, by turning dials of the others."""

    match: str = "none"
    tolerance: float = 0.01


@dataclass(frozen=True)
class Point:
    """What a fitted law is asked for: the law of one family or of all; parameters where sizes differ."""

    tokens: float
    parameters: float | None = None
    family: str = ""

    def __post_init__(self) -> None:
        for axis in SCALED:
            size = getattr(self, axis)
            if size is not None and not 0 < size < math.inf:
                raise ConfigError(f"scaling.at: {axis} = {size} should be above 0")


@dataclass(frozen=True)
class Scaling:
    """Points that the fitted laws are asked for: at = [{ family = "dense", parameters = 1e8, tokens = 1e10 }]."""

    at: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """A dimension of a search: a range of numbers, or choices."""

    low: int | float | None = None  # whole numbers at both ends: only whole numbers between them
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Search:
    """So many trials by TPE, of which those that are worse than the median on their way are stopped (`prune`)."""

    trials: int
    parameters: dict[str, Parameter]
    prune: bool = True
    prune_after: int = 5
    """Trials that run to their end before any is stopped."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1 or not self.parameters or self.prune_after < 1:
            raise ConfigError("search: trials and prune_after are at least 1, and [search.parameters] names something")
        for key, p in self.parameters.items():
            check_key(key, f"search.parameters.{key}")
            is_range = p.low is not None and p.high is not None
            if is_range == bool(p.choices) or (not is_range and (p.low is not None or p.high is not None or p.log)):
                raise ConfigError(f"search.parameters.{key}: give low and high (and log), or choices")
            if is_range and (not p.low < p.high or (p.log and p.low <= 0)):  # type: ignore[operator]
                raise ConfigError(
                    f"search.parameters.{key}: low = {p.low} should be below high = {p.high}, above 0 by log"
                )


@dataclass(frozen=True)
class Study:
    """A study as its file says it; `values` are its plain values, for its copy and its record."""

    name: str
    base: Base
    kind: str = ""
    seeds: tuple[int, ...] = (0,)
    question: Question = field(default_factory=Question)
    data: DataRecipe = field(default_factory=DataRecipe)
    eval: EvalRecipe = field(default_factory=EvalRecipe)
    sample: SampleRecipe = field(default_factory=SampleRecipe)
    grid: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    arm: tuple[ArmTable, ...] = ()
    controls: Controls = field(default_factory=Controls)
    scaling: Scaling = field(default_factory=Scaling)
    search: Search | None = None
    values: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise ConfigError(f"name = {self.name!r}: use letters, digits, - and _")
        if self.kind not in KINDS:
            raise ConfigError(f"kind = {self.kind!r}: {nearest(self.kind, [kind for kind in KINDS if kind])}")
        if self.data.rule["method"] == "none":
            raise ConfigError("a study scores held-out text: data.val_fraction = 0 leaves none")
        self._check_lists("seeds", self.seeds)
        self._check_lists("arm names", [arm.name for arm in self.arm], least=0)
        for key, values in self.grid.items():
            check_key(key, f"grid.{key}")
            self._check_lists(f"grid.{key}", values)
        if self.scaling.at and self.kind != "scaling":
            raise ConfigError(f'scaling.at asks laws that only kind = "scaling" fits, and kind = {self.kind!r}')
        if self.search is not None and self.controls.match != "none":
            raise ConfigError(
                f"controls.match = {self.controls.match!r} beside [search]: trials are not matched, so leave it out"
            )
        if self.search is not None and (self.grid or self.arm):
            raise ConfigError("[search] stands instead of [grid] and [[arm]]: keep one of them")

    @staticmethod
    def _check_lists(what: str, values: Any, least: int = 1) -> None:
        if len(values) < least:
            raise ConfigError(f"{what} is empty: name at least one value")
        twice = next((value for i, value in enumerate(values) if repr(value) in map(repr, values[:i])), None)
        if twice is not None:
            raise ConfigError(f"{what} holds {twice!r} twice: each makes runs of its own")


def load_study(path: str | Path) -> Study:
    """Read a study file; every mistake is one line with the file's name."""
    values = load_toml(path)
    try:
        return study_of(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def study_of(values: dict[str, Any]) -> Study:
    """A study from the plain values of its file."""
    if "sizes" in values and "kinds" in values:
        raise ConfigError("it is a study of vocabularies: weightless tokenizer study runs it")
    whole = dict(values)
    arms = values.get("arm", [])
    if not isinstance(arms, list) or not all(isinstance(arm, dict) for arm in arms):
        raise ConfigError("arm should be written as [[arm]], one table each")
    whole["arm"] = [_arm(arm, i) for i, arm in enumerate(arms)]
    for table in ("grid",):
        whole |= {table: _flat(values[table], table)} if isinstance(values.get(table), dict) else {}
    if isinstance(values.get("search"), dict) and isinstance(values["search"].get("parameters"), dict):
        whole["search"] = {**values["search"], "parameters": _ranges(values["search"]["parameters"])}
    study = from_dict(Study, whole)
    object.__setattr__(study, "values", values)
    return study


def check_key(key: str, where: str) -> None:
    """ConfigError unless `key` can be varied: family, config.KEY, train.KEY, data.KEY …"""
    table, dot, rest = key.partition(".")
    if not (key in WORDS or (dot and rest and table in TABLES)):
        known = [f"{name}.{rest or 'KEY'}" for name in TABLES] + list(WORDS)
        raise ConfigError(f"unknown key {where!r}: {nearest(key, known)}")
    if key == "train.seed":
        raise ConfigError(f"{where}: seeds = [0, 1, 2] stands at the head of a study")


def _arm(values: dict[str, Any], i: int) -> dict[str, Any]:
    """An [[arm]] with what it changes under dotted keys."""
    name = values.get("name")
    where = f"arm[{i}]" + (f" ({name!r})" if isinstance(name, str) else "")
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ConfigError(f"{where}: name = {name!r}: use letters, digits, - _ . and =")
    out: dict[str, Any] = {key: values[key] for key in OF_ARM if key in values}
    changes = {key: value for key, value in values.items() if key not in OF_ARM}
    for key in changes:
        if key.partition(".")[0] not in (*TABLES, *WORDS):
            raise ConfigError(f"unknown key {f'{where}.{key}'!r}: {nearest(key, (*OF_ARM, *TABLES, *WORDS))}")
    out["changes"] = _flat(changes, where)
    if "tune" in out and not isinstance(out["tune"], dict):
        raise ConfigError(f"{where}.tune should be a table of lists of values, not {out['tune']!r}")
    if "tune" in out:
        out["tune"] = _flat(out["tune"], f"{where}.tune")
    for key in [*out["changes"], *(out["tune"] if isinstance(out.get("tune"), dict) else ())]:
        check_key(key, f"{where}.{key}")
    for key, several in (out.get("tune") or {}).items():
        if not isinstance(several, list) or not several:
            raise ConfigError(f"{where}.tune.{key} should be a list of values to try, not {several!r}")
    return out


def _flat(table: dict[str, Any], where: str) -> dict[str, Any]:
    """{"config": {"norm": …}} as {"config.norm": …}; what lies deeper stays a table."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        inner = value.items() if key in TABLES and isinstance(value, dict) else [("", value)]
        if key in TABLES and not isinstance(value, dict):
            raise ConfigError(f"{where}.{key} should be a table, not {value!r}")
        for rest, item in inner:
            name = f"{key}.{rest}" if rest else key
            if name in out:
                raise ConfigError(f"{where} gives {name} twice: give it once")
            out[name] = item
    return out


def _ranges(parameters: dict[str, Any]) -> dict[str, Any]:
    return _flat(parameters, "search.parameters")
