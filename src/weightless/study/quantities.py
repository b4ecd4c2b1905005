"""Floor 9.  What arms are made equal in, counted from the configuration: parameters, bytes, FLOPs, training.

    parameters   numbers that are trained (`lab.accounting`)
    bytes        touched per next token: mean T of mode S over positions 1..min(512, context), the headline
    stored       the artifact's file without its tokenizer
    flops        forward, per token, over the same positions, at full depth
    tokens       seen in training: steps x batch x accumulation x context
    seconds      of training

The two means over positions are slow to take, so a search reads them off four positions instead (`quickly`), and
takes them in full where it ends.  A counted family has no size before its text was read: it has none of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from weightless.base.config import to_dict
from weightless.lab.accounting import family_model
from weightless.lab.fit import stored_components
from weightless.models.catalog import Trained, family
from weightless.program.cost import HEADLINE_POSITIONS, formula, touched_by_formula
from weightless.program.cost import flops as flops_per_token
from weightless.program.program import Program

SIZES = ("parameters", "bytes", "stored", "flops")
BUDGETS = ("tokens", "seconds")


class Counter:
    """Counts configurations, each once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str, bool], float] = {}

    def exactly(self, family_name: str, config: Any, quantity: str) -> float:
        """One of SIZES, of a family that is trained."""
        return self._kept(family_name, config, quantity, False)

    def quickly(self, family_name: str, config: Any, quantity: str) -> float:
        """The same up to what depends on the position alone; it grows with every dial as the whole does."""
        return self._kept(family_name, config, quantity, quantity in ("bytes", "flops"))

    def all_of(self, family_name: str, config: Any, train: Mapping[str, Any]) -> dict[str, float]:
        """Every quantity that is known before training."""
        if not isinstance(family(family_name), Trained):
            return {}
        return {name: self.exactly(family_name, config, name) for name in SIZES} | budgets(config, train)

    def _kept(self, family_name: str, config: Any, quantity: str, sampled: bool) -> float:
        key = (family_name, json.dumps(to_dict(config)), quantity, sampled)
        if key not in self._known:
            self._known[key] = _counted(family_name, config, quantity, sampled)
        return self._known[key]


def _counted(family_name: str, config: Any, quantity: str, sampled: bool) -> float:
    if quantity == "parameters":
        return sum(weight.parameters for weight in family_model(family_name, config).weights)
    program = family(family_name).decode_program(config)
    if quantity == "stored":
        return sum(stored_components(family_name, config, program).values())
    if quantity == "bytes":
        return _sampled(program, _touched) if sampled else touched_by_formula(program).T.mean
    return _sampled(program, _flops) if sampled else flops_per_token(program)


def _sampled(program: Program, at: Callable[[Program, int], float]) -> float:
    """The mean over four positions, evenly spread; exact for what is linear in the position.

    The first is not among them: nothing precedes it, and some operators do less there.
    """
    last = min(HEADLINE_POSITIONS, program.context)
    second, third = min(2, last), (last + 2) // 3
    positions = {second, third, last + 1 - third, last + 1 - second}
    return sum(at(program, t) for t in positions) / len(positions)


def _touched(program: Program, t: int) -> float:
    return sum(amount.T for amount in formula(program, t).values())


def _flops(program: Program, t: int) -> float:
    return sum(op.flops(program.by_name, t) for op in program.along(0, "score"))


def positions_per_step(config: Any, train: Mapping[str, Any]) -> int:
    """Tokens of one optimizer step."""
    return train.get("batch_size", 1) * train.get("grad_accumulation", 1) * train.get("context", config.context)


def budgets(config: Any, train: Mapping[str, Any]) -> dict[str, float]:
    """Tokens or seconds of training, whichever the recipe gives."""
    if train.get("num_steps"):
        return {"tokens": float(train["num_steps"] * positions_per_step(config, train))}
    return {"seconds": float(train["seconds"])} if train.get("seconds") else {}
