"""One accent and one mark per model, the same in every figure, table and sample.

Eight hues, chosen to differ in lightness as well as in hue (for colour-blind readers), each in a version for
paper and one for a dark page; beyond eight models the hues repeat with the next mark.  Every drawing names its
model in words as well, so that colour is never the only carrier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HUES = (
    ("#c2410c", "#ff9466"),  # vermilion
    ("#1d5fa8", "#77b5ff"),  # blue
    ("#0b7a5b", "#42d3a2"),  # green
    ("#7a4ba8", "#c8a8f5"),  # violet
    ("#8a6100", "#e6bb55"),  # ochre
    ("#b0326f", "#f794c0"),  # magenta
    ("#0e7490", "#55cfe6"),  # teal
    ("#4b5563", "#b9c1cd"),  # slate
)
SHAPES = ("circle", "square", "diamond", "triangle")
INK, MUTED, RULE, PAPER = ("#1c1b19", "#f0ede6"), ("#6b6862", "#a29e95"), ("#dedad2", "#3a3834"), ("#fdfcfa", "#171614")
_FIRST_CHOICE = {"feather": 0, "dense": 1, "ngram": 2}


@dataclass(frozen=True)
class Accent:
    """Colour on paper, colour on a dark page, mark, the CSS variable that switches, and the dash of a repeated hue."""

    light: str
    dark: str
    shape: str
    variable: str
    dash: str | None

    @property
    def paint(self) -> str:
        """A CSS colour: the page's variable, or the paper colour where no page defines it."""
        return f"var({self.variable},{self.light})"


def accents(models: Sequence[tuple[str, str]]) -> dict[str, Accent]:
    """{model name: Accent} for (name, family) pairs; a family keeps its colour from run to run."""
    slots: dict[str, int] = {}
    for name, family in sorted(models, key=lambda model: model[0] != model[1]):
        slot = _FIRST_CHOICE.get(family)
        if slot is not None and slot not in slots.values():
            slots[name] = slot
    order = (*range(3, len(HUES)), 0, 1, 2, *range(len(HUES), len(HUES) + len(models)))
    free = iter([slot for slot in order if slot not in slots.values()])
    for name, _ in models:
        if name not in slots:
            slots[name] = next(free)
    return {name: _accent(slots[name]) for name, _ in models}


def _accent(slot: int) -> Accent:
    light, dark = HUES[slot % len(HUES)]
    shape = SHAPES[(slot + slot // len(HUES)) % len(SHAPES)]
    return Accent(light, dark, shape, f"--m{slot}", None if slot < len(HUES) else "7 3")


def css_variables(used: Sequence[Accent], side: int) -> str:
    """Declarations of the page's colours, side 0 for paper and 1 for dark."""
    base = {"ink": INK, "muted": MUTED, "rule": RULE, "paper": PAPER, "on-accent": ("#ffffff", "#171614")}
    lines = [f"--{name}:{pair[side]}" for name, pair in base.items()]
    return ";".join(lines + [f"{a.variable}:{(a.light, a.dark)[side]}" for a in used])
