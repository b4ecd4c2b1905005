"""Losses side by side: every model against the best, seed by seed where they share seeds.

For a model and the best of all, d_s = loss of the model minus loss of the best, both with seed s; told are the mean of
d_s and its 95 % Student t interval.  Without two shared seeds it is the difference of the means with Welch's interval,
which takes two seeds of each; with fewer there is only the difference, which says nothing about chance, and that is
said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weightless.lab.report.groups import Difference, Group, difference
from weightless.lab.report.headline import spelled
from weightless.lab.report.svg import element, escape


@dataclass(frozen=True)
class Pair:
    """One model beside the best: difference in bits per byte."""

    name: str
    best: str
    difference: Difference

    @property
    def evidence(self) -> str:
        """How the difference is known."""
        apart, n_seeds = self.difference.apart, self.difference.n_seeds
        if apart.half is None:
            return "no interval: the models share fewer than two seeds, and one of them has a single one"
        sure = "apart" if abs(apart.mean) > apart.half else "not told apart"
        if self.difference.pairs:
            return f"paired over {self.difference.pairs} seeds: {sure}"
        return f"unpaired, Welch's interval over {n_seeds[0]} and {n_seeds[1]} seeds: {sure}"

    @property
    def written(self) -> str:
        """+0.012 ± 0.004."""
        apart = self.difference.apart
        return f"{'+' if apart.mean >= 0 else ''}{spelled(apart, 4)}"


def against_best(groups: Sequence[Group]) -> list[Pair]:
    """The other models in the order of their loss; empty for one model alone."""
    known = sorted((g for g in groups if g.loss.known), key=lambda g: g.loss.mean)
    return [Pair(g.name, known[0].name, difference(g, known[0])) for g in known[1:]]


def pairs_table(groups: Sequence[Group]) -> str:
    """The pairs as HTML; nothing for one model alone."""
    pairs = against_best(groups)
    if not pairs:
        return ""
    heads = [element("th", h, scope="col") for h in ("model", f"bits per byte above {escape(pairs[0].best)}", "")]
    lines = [
        element(
            "tr",
            element("th", escape(p.name), scope="row"),
            element("td", escape(p.written)),
            element("td", escape(p.evidence)),
        )
        for p in pairs
    ]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *lines), class_="pairs")
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label="Losses, side by side")


def pairs_lines(groups: Sequence[Group]) -> list[str]:
    """The pairs as lines for a terminal."""
    return [f"{p.name}: {p.written} bits per byte against {p.best} ({p.evidence})" for p in against_best(groups)]
