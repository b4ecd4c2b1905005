"""Floor 9.  What arms may be held to each other by where they cut a text into different tokens.

A loss per token is one of that arm's tokens: 3 nats over tokens of four bytes are no worse than 1.5 over tokens of
two.  So between arms that differ in `data.*` only bits per byte are compared.  And `eval.tokens` takes windows of
tokens, spread evenly: another vocabulary's windows hold other text, and two samples of a text soon differ by more than
what is asked for (six megabytes of books: 0.02 bits per byte between eight windows of 8,192 tokens and all of it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from weightless.base.errors import ConfigError
from weightless.lab.recipe import DataRecipe
from weightless.study.arms import Arm
from weightless.study.claims import Comparison, Order, Ref
from weightless.study.prediction import check, refs
from weightless.study.reading import error
from weightless.study.study_file import Study

CUTS = ("data.vocab_size", "data.pattern")
"""What decides the tokens of a text, and not which text it is."""
PER_TOKEN = ("nats_per_token", "val_loss")


def same_tokens(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two arms of these settings have the same tokens, so that a loss per token means the same."""
    keys = {key for key in (*one, *other) if key.startswith("data.")}
    return all(one.get(key) == other.get(key) for key in keys)


def check_tokens(study: Study, arms: Sequence[Arm]) -> None:
    """ConfigError where losses of unlike tokens would be compared: by a sample, a choice, or a prediction in nats."""
    _check_choices(study)
    _check_sample(study, arms)
    cut = {arm.of or arm.name: arm.data for arm in arms}
    for text in study.question.predictions:
        _check_prediction(text, cut)


def _check_choices(study: Study) -> None:
    asked = [(f"arm[{table.name!r}].tune", key) for table in study.arm for key in table.tune]
    asked += [("search.parameters", key) for key in (study.search.parameters if study.search else ())]
    for where, key in asked:
        if key.startswith("data."):
            raise ConfigError(
                f"{where}: the lowest loss per token is chosen, and {key} decides what a token is: make arms or a "
                "[grid] of it"
            )


def _check_sample(study: Study, arms: Sequence[Arm]) -> None:
    first: dict[DataRecipe, Arm] = {}
    for arm in arms if study.eval.tokens else ():
        other = first.setdefault(replace(arm.data, vocab_size=DataRecipe.vocab_size, pattern=DataRecipe.pattern), arm)
        if other.data != arm.data:
            raise ConfigError(
                f"arms {other.name!r} and {arm.name!r} cut one text into different tokens, and eval.tokens = "
                f"{study.eval.tokens} takes a sample, which is other text for each: eval.tokens = 0 scores all of it "
                "(data.validation can name a shorter text)"
            )


def _check_prediction(text: str, cut: Mapping[str, DataRecipe]) -> None:
    prediction = check(text, list(cut))
    claim = prediction.claim
    if not isinstance(claim, Comparison | Order):
        return
    sides = claim.arms if isinstance(claim, Order) else [r for side in (claim.left, claim.right) for r in refs(side)]
    named = [ref for ref in sides if _per_token(ref, prediction.unit)]
    for ref in named[1:]:
        if cut[ref.name] != cut[named[0].name]:
            raise error(
                text,
                ref.at,
                f"{named[0].name} and {ref.name} have different tokens, so that nats per token are two units: "
                "compare bits per byte",
            )


def _per_token(ref: Ref, unit: str) -> bool:
    return unit == "nats" if ref.figure is None else ref.figure in PER_TOKEN
