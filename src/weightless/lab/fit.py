"""From a budget to a configuration: the largest member of a family that stays within it.

What is varied, in this order, each as far as the budgets allow (`ledger.budget`):

    size      the family's own dial, Config.at(size), from 1 on
    d_model   in steps of 8 (of a multiple that splits into the heads), up to the next size's
    n_layers  one by one, up to the next size's
    d_ff      in steps of 8; up to the next size's where tables can use what is left of a budget of stored bytes
    rows      of all hashed tables together, in steps of 1,024

What --set names is fixed, and everything else is as the dial gives it.  A dial that moves none of the budgets stays.

Amounts: `touched` is the headline (mean T of mode S by the formula; where the data decides, its structural maximum),
`stored` the artifact's file without its tokenizer, header and tables included, `optimizer` the bytes of state.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weightless.artifact.header import HEADER_BYTES
from weightless.artifact.sections import Entry, align_up, dump_table
from weightless.artifact.strict_json import dump_strict
from weightless.base.config import to_dict
from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.units import human_bytes
from weightless.lab.accounting import family_model
from weightless.ledger.budget import Costs, Dial, Impossible, Turned, largest
from weightless.ledger.memory import optimizer_bytes
from weightless.models.catalog import Trained, family
from weightless.program.cost import HEADLINE_POSITIONS, touched_by_formula
from weightless.program.program import Program

STEP, ROW_STEP = 8, 1024
AROUND = "file header and tables"
SATURATED = 64
"""A dial that no longer changes anything here has an end."""

ADVICE = {
    "head": "use a class head (family feather) or a smaller vocabulary",
    "logits": "use a class head (family feather) or a smaller vocabulary",
    "kv cache": "use a shorter context, fewer key/value heads or an int8 cache",
    "recurrent state": "use a smaller d_state, more n_scan_heads or a state in bf16",
    "lookup rows": "use fewer rows (--set rows_2=0 rows_3=0) or a smaller vocabulary",
    "embedding": "use a smaller vocabulary, or an optimizer with less state",
    "table": "use fewer rows (--set rows_2=0 rows_3=0)",
}


@dataclass(frozen=True)
class Coded:
    """What a squeezed artifact is expected to take, for the budget golf."""

    bits: Callable[[str], float]
    """Per number of a tensor stored in a format, its scales and the filling of its rows included."""
    described: float
    """Bytes per byte of the artifact's description and table."""
    tokenizer: float = 0.0
    """Bytes per token of the vocabulary."""
    code: int = 0
    """Bytes of the script."""


@dataclass(frozen=True)
class Request:
    """What to fit: `limits` in bytes by budget (touched, stored, optimizer, golf), `fixed` fields of the Config."""

    family: str
    limits: Mapping[str, float]
    vocab_size: int = 4096
    optimizer: str = "adamw"
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    positions: int = HEADLINE_POSITIONS
    coded: Coded | None = None


@dataclass(frozen=True)
class Fitted:
    """The result: the configuration, every dial with the configuration it led to, and all costs."""

    request: Request
    config: Any
    turned: tuple[tuple[Turned, Any], ...]
    costs: Costs

    @property
    def margins(self) -> dict[str, float]:
        """Bytes left of each budget."""
        return {name: limit - sum(self.costs[name].values()) for name, limit in self.request.limits.items()}

    @property
    def components(self) -> list[str]:
        """Every line of the ledger, whatever it costs."""
        return list(dict.fromkeys(name for parts in self.costs.values() for name in parts))


def fit(request: Request) -> Fitted:
    """The largest configuration within the budgets; ConfigError naming the component that does not fit."""
    space = _Space(request)
    try:
        turned = largest([Dial(name, space.bound(name)) for name in space.dials], space.costs, request.limits)
    except Impossible as error:
        raise ConfigError(_refusal(error, request, space.config(()))) from None
    point = tuple(dial.value for dial in turned)
    steps = tuple((dial, space.config(point[: i + 1])) for i, dial in enumerate(turned))
    config = space.config(point)
    budgets = ("touched", "stored", "optimizer", *(("golf",) if request.coded else ()))
    return Fitted(request, config, steps, costs_of(request, config, budgets))


class _Space:
    """Points of the search as configurations; missing dials stand at 0."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._known: dict[tuple[int, ...], Costs] = {}
        base = self.config(())
        names = [name for name in ("d_model", "n_layers", "d_ff") if name in vars(base)]
        self.dials = ["size", *(name for name in names if name not in request.fixed)]
        if self._tables(base):
            self.dials.append("rows")

    @cached_property
    def room(self) -> Any:
        return family(self.request.family)

    def _at(self, size: int) -> Any:
        config = self.room.Config.at(size, vocab_size=self.request.vocab_size)
        return dataclasses.replace(config, **self.request.fixed)

    def config(self, point: tuple[int, ...]) -> Any:
        """The Config of a point; ConfigError where its shapes do not go together."""
        config = self._at(1 + (point[0] if point else 0))
        if len(point) > 1:
            for name, value in zip(self.dials[1:], point[1:], strict=False):
                config = _turn(config, name, value, self._tables(config)) if value else config
        return config

    def _tables(self, config: Any) -> list[str]:
        """The fields that hold rows of tables in use, unless one of them is fixed."""
        fields = [f.name for f in dataclasses.fields(config) if f.name.startswith("rows_")]
        return [name for name in fields if name not in self.request.fixed and getattr(config, name)]

    def bound(self, name: str) -> Any:
        """How far a dial goes, given those before it."""

        def of(point: tuple[int, ...]) -> int | None:
            if name == "size":
                return self._last_size()
            tables_take_the_rest = "rows" in self.dials and "touched" not in self.request.limits
            if name == "rows" or (name == "d_ff" and not tables_take_the_rest):
                return None
            here, following = self.config(point), self._at(2 + point[0])
            room_left = width_of(following, name) - width_of(here, name)
            step = _step(here, name)
            return max(0, -(-room_left // step) - 1 if name == "d_model" else room_left // step)

        return of

    def _last_size(self) -> int | None:
        if self._at(SATURATED) != self._at(SATURATED + 1):
            return None
        return next(size - 1 for size in range(1, SATURATED + 1) if self._at(size) == self._at(size + 1))

    def costs(self, point: tuple[int, ...]) -> Costs:
        """Amounts of the budgets asked for; without end where there is no such configuration."""
        if point not in self._known:
            try:
                self._known[point] = self._priced(point)
            except WeightlessError as error:
                if not any(point):
                    raise
                self._known[point] = {name: {str(error): math.inf} for name in self.request.limits}
        return self._known[point]

    def _priced(self, point: tuple[int, ...]) -> Costs:
        """A point whose first position alone is too dear is not averaged over all: caches only grow."""
        limits, config = self.request.limits, self.config(point)
        if "touched" in limits and any(point):
            first = costs_of(dataclasses.replace(self.request, positions=1), config, tuple(limits))
            if sum(first["touched"].values()) > limits["touched"]:
                return first
        return costs_of(self.request, config, tuple(limits))


def _turn(config: Any, name: str, value: int, tables: list[str]) -> Any:
    if name == "rows":
        return dataclasses.replace(config, **{table: getattr(config, table) + ROW_STEP * value for table in tables})
    return dataclasses.replace(config, **{name: width_of(config, name) + _step(config, name) * value})


def width_of(config: Any, name: str) -> int:
    """The field itself, or what 0 stands for: the width of a block, before a block without a gate is widened."""
    value = getattr(config, name)
    if value or name != "d_ff":
        return value
    hidden = getattr(config, "hidden", 0)
    widened = getattr(config, "match_d_ff", False) and config.activation != "swiglu"
    return hidden * 2 // 3 if widened else hidden


def _step(config: Any, name: str) -> int:
    """d_model stays divisible into heads of even width where their width follows from it."""
    if name == "n_layers":
        return 1
    has_own_width = any(field.name == "d_head" for field in dataclasses.fields(config))
    if name != "d_model" or has_own_width:
        return STEP
    return math.lcm(STEP, 2 * max(1, getattr(config, "heads", 0) or getattr(config, "n_heads", 1)))


def costs_of(request: Request, config: Any, budgets: tuple[str, ...]) -> Costs:
    """{budget: {component: bytes}} of one configuration."""
    program = family(request.family).decode_program(config)
    out: dict[str, dict[str, float]] = {}
    if "touched" in budgets:
        touched = touched_by_formula(program, "score", request.positions)
        out["touched"] = {name: amounts[0] for name, amounts in touched.components.items()}
    if "stored" in budgets:
        out["stored"] = stored_components(request.family, config, program)
    if "golf" in budgets and request.coded:
        out["golf"] = coded_components(request.coded, stored_components(request.family, config, program), program)
    if "optimizer" in budgets:
        trained = isinstance(family(request.family), Trained)
        weights = family_model(request.family, config).weights if trained else ()
        out["optimizer"] = dict(optimizer_bytes(weights, request.optimizer)) or {"nothing is trained": 0.0}
    return out


def stored_components(family_name: str, config: Any, program: Program) -> dict[str, float]:
    """Bytes of the artifact by component, and what stands around them: padding, header, description, tables.

    Without tokenizer and notes this is the size of the file that `pack` writes, to the byte.
    """
    out: dict[str, float] = {}
    entries, offset = [], 0
    for tensor in program.stored():
        out[tensor.component] = out.get(tensor.component, 0) + tensor.nbytes
        entries.append(
            Entry(
                tensor.name,
                tensor.format,
                tensor.shape,
                tensor.row_bytes,
                tensor.row_stride,
                offset,
                tensor.nbytes,
                "0" * 64,
            )
        )
        offset += align_up(tensor.nbytes)
    meta = {
        "kind": "weightless model",
        "family": family_name,
        "config": to_dict(config),
        "program": program.to_plain(),
        "notes": {},
    }
    file_bytes = HEADER_BYTES + offset + len(dump_strict(meta)) + len(dump_table(entries))
    out[AROUND] = file_bytes - sum(out.values())
    return out


def coded_components(coded: Coded, stored: Mapping[str, float], program: Program) -> dict[str, float]:
    """Expected bytes of code and squeezed artifact by component."""
    out = dict.fromkeys(stored, 0.0)
    for tensor in program.stored():
        out[tensor.component] += tensor.shape[0] * tensor.shape[1] * coded.bits(tensor.format) / 8
    out[AROUND] = coded.described * stored[AROUND]
    return {**out, "tokenizer": coded.tokenizer * program.vocab_size, "code": float(coded.code)}


def _refusal(error: Impossible, request: Request, config: Any) -> str:
    """One line: what is impossible, the component at fault, and what to do."""
    kind = {
        "touched": "touched per token",
        "stored": "stored",
        "optimizer": f"of {request.optimizer} state",
        "golf": "of code and coded weights",
    }
    total, part = sum(error.parts.values()), error.parts[error.component]
    shape = ", ".join(f"{name} {getattr(config, name)}" for name in ("d_model", "n_layers") if name in vars(config))
    alone = f"the {error.component} alone takes" if part > error.limit else f"most of it the {error.component},"
    advice = ADVICE.get(error.component, "set a smaller width, fewer layers or a narrower format with --set")
    if error.component == "head" and getattr(config, "head", "") == "class":
        advice = "use a smaller vocabulary"
    return (
        f"{request.family} cannot keep to {human_bytes(error.limit)} {kind[error.budget]} with a vocabulary of "
        f"{request.vocab_size:,}: its smallest size ({shape}) takes {human_bytes(total)}, "
        f"{alone} {human_bytes(part)}; {advice}"
    )
