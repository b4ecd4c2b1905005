"""A study's cells gathered by arm: what tables and figures show of each."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weightless.base.units import LN2
from weightless.lab.report.groups import Group
from weightless.lab.report.palette import Accent, accents
from weightless.study.cells import Cell, Evidence
from weightless.study.statistics import Beside, Known, Ranking, beside, loss_figure, mean, ranking
from weightless.study.token_cuts import CUTS, same_tokens

LOWEST_IS_BASE = ("lr", "batch", "frontier", "scaling")
"""Kinds of studies whose arms are compared with the lowest loss; in others with the first arm."""
OF_THE_TEXT = ("data", "corpus", "text", "source")
KINDS_TOLD = {"bits_per_byte": "bits per byte", "nats_per_token": "nats per token", "val_loss": "nats per token"}


@dataclass(frozen=True)
class Arm:
    """An arm with its cells, and how it stands beside the base (None for the base, and where nothing can be said)."""

    name: str
    cells: tuple[Cell, ...]
    loss: Known
    beside: Beside | None

    @property
    def family(self) -> str:
        return self.cells[0].family

    @property
    def setting(self) -> Mapping[str, Any]:
        return self.cells[0].setting

    @cached_property
    def states(self) -> Counter[str]:
        """How many cells ended in which way."""
        return Counter(cell.status for cell in self.cells)

    def figure(self, name: str) -> Known:
        """Its mean over the finished seeds; NaN where none has it."""
        return mean({c.seed: c.figures[name] for c in self.cells if c.is_done and name in c.figures})

    @property
    def has_loss(self) -> bool:
        return math.isfinite(self.loss.value)


@dataclass(frozen=True)
class Gathered:
    """The arms of a study in its order, the loss they are compared by, the base of each, and ranks.

    Losses on different texts are not compared, unless that is the question (kind corpora): arms of one text are a
    group, with a base and a rank of its own; `ranks` is by the name of the text, "" where there is only one.  An arm of
    which some seeds diverged has neither rank nor comparison: the mean of those left over would flatter it.
    """

    evidence: Evidence
    loss: str
    bases: Mapping[str, str]
    arms: tuple[Arm, ...]
    ranks: Mapping[str, Ranking]

    @property
    def unit(self) -> str:
        return KINDS_TOLD[self.loss]

    def have_same_tokens(self, one: str, other: str) -> bool:
        """Whether a loss per token means the same of two arms."""
        settings = {arm.name: arm.setting for arm in self.arms}
        return same_tokens(settings[one], settings[other])

    @cached_property
    def by_loss(self) -> list[Arm]:
        """Lowest mean first, those without a loss last, in the order of the study."""
        return sorted(self.arms, key=lambda arm: arm.loss.value if arm.has_loss else math.inf)

    @cached_property
    def colours(self) -> dict[str, Accent]:
        return accents([(arm.name, arm.family) for arm in self.arms])

    @cached_property
    def bytes_per_token(self) -> float:
        """The median over cells that tell both losses; NaN where none does."""
        found = [
            cell.figures["nats_per_token"] / cell.figures["bits_per_byte"] / LN2
            for cell in self.evidence.cells
            if cell.figures.get("nats_per_token", 0) > 0 and cell.figures.get("bits_per_byte", 0) > 0
        ]
        return statistics.median(found) if found else math.nan

    def groups(self, names: Mapping[str, str]) -> list[Group]:
        """Arms as the drawings of a report take them; {arm: the name it is drawn with}."""
        chosen = {arm.name: arm for arm in self.arms}
        return [
            Group(told, chosen[name].family, tuple(_model(cell, told) for cell in chosen[name].cells if _drawn(cell)))
            for name, told in names.items()
        ]


def gathered(evidence: Evidence) -> Gathered:
    """Gather a study; a base is the lowest loss or the first arm, by the kind of study."""
    loss = loss_figure(evidence)
    samples = {arm: evidence.values(arm, loss) for arm in evidence.arms()}
    texts: dict[str, list[str]] = {}
    for cell in {cell.arm: cell for cell in evidence.cells}.values():
        texts.setdefault(_text(cell, evidence), []).append(cell.arm)
    if len(texts) == 1:
        texts = {"": next(iter(texts.values()))}
    whole = {arm for arm in samples if not any(c.status == "diverged" for c in evidence.cells if c.arm == arm)}
    ranks = {text: ranking({arm: samples[arm] for arm in names if arm in whole}) for text, names in texts.items()}
    bases = {arm: _base(evidence, names, ranks[text]) for text, names in texts.items() for arm in names}
    apart = beside(evidence, {arm: base for arm, base in bases.items() if {arm, base} <= whole}, loss)
    arms = tuple(
        Arm(arm, tuple(c for c in evidence.cells if c.arm == arm), mean(samples[arm]), apart.get(arm))
        for arm in evidence.arms()
    )
    return Gathered(evidence, loss, bases, arms, ranks)


def _text(cell: Cell, evidence: Evidence) -> str:
    """What an arm has set about its text, in words."""
    if evidence.study.get("kind") == "corpora":
        return ""
    told = {key: v for key, v in cell.setting.items() if key.split(".")[0] in OF_THE_TEXT and key not in CUTS}
    return ", ".join(str(value) for value in told.values())


def _base(evidence: Evidence, names: Sequence[str], ranks: Ranking) -> str:
    if evidence.study.get("kind") in LOWEST_IS_BASE and ranks.order:
        return ranks.order[0]
    return names[0]


def _drawn(cell: Cell) -> bool:
    return cell.status in ("done", "diverged")


def _model(cell: Cell, name: str) -> dict[str, Any]:
    """A cell as an entry of a run's summary, with what the drawings ask of one."""
    done = cell.is_done
    last = cell.curve[-1] if cell.curve else None
    detail = cell.reason or "diverged"
    lost = {**{k: last.get(k) for k in ("step", "tokens", "seconds")}, "detail": detail} if last else None
    return {
        "name": name,
        "family": cell.family,
        "seed": cell.seed,
        "description": "",
        "bits_per_byte": cell.figures.get("bits_per_byte") if done else None,
        "nats_per_token": cell.figures.get("nats_per_token") if done else None,
        "touched": {"T": {"mean": cell.figures.get("touched")}},
        "components": [],
        "curve": [{"val_loss": None, **line} for line in cell.curve],
        "diverged": lost if cell.status == "diverged" else None,
    }
