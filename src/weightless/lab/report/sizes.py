"""Loss against training tokens, bytes touched and bytes stored, for models made from several amounts of text.

A recipe's `train_tokens` makes one model per size ("ngram-0.3M", "ngram-1M", …); here they are series again.  Table and
picture (PNG, three panels with one loss axis) come from the run's summary alone; seeds are averaged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import WeightlessError
from weightless.base.files import atomic_writer
from weightless.base.units import human_bytes
from weightless.lab.report.canvas import agg_canvas
from weightless.lab.report.groups import Group, gather
from weightless.lab.report.palette import INK, MUTED, PAPER, RULE, accents
from weightless.lab.report.summary import check_summary, number, read_summary

_SIZE = re.compile(r"-[0-9.e+]+M$")
_MARKS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^"}


@dataclass(frozen=True)
class Point:
    """One size of one series: training tokens, bits per byte, T and stored bytes."""

    tokens: float
    loss: float
    touched: float
    stored: float


@dataclass(frozen=True)
class Series:
    """One model over its sizes, smallest first."""

    name: str
    family: str
    points: tuple[Point, ...]


def series_of(summary: dict[str, Any]) -> list[Series]:
    """The series of a checked summary that have more than one size, in the order of the recipe."""
    found: dict[tuple[str, str], list[Point]] = {}
    for group in sorted(gather(summary), key=lambda g: _first(summary, g)):
        point = _point(group)
        if point is not None:
            found.setdefault((_SIZE.sub("", group.name), group.family), []).append(point)
    return [
        Series(name, family, tuple(sorted(points, key=lambda p: p.tokens)))
        for (name, family), points in found.items()
        if len(points) > 1
    ]


def _first(summary: dict[str, Any], group: Group) -> int:
    return next(i for i, model in enumerate(summary["models"]) if model is group.members[0])


def _point(group: Group) -> Point | None:
    tokens = number(group.members[0].get("train_tokens"))
    if not (tokens > 0 and group.drawable):
        return None
    stored = group.over_seeds(lambda m: m["stored"]["weights"]).mean
    return Point(tokens, group.loss.mean, group.touched.mean, stored)


def sizes_table(summary: dict[str, Any]) -> str:
    """Markdown: bits per byte of every series at every size, the least in bold; then bytes at the largest size."""
    series = series_of(summary)
    sizes = sorted({p.tokens for s in series for p in s.points})
    best = {n: min(p.loss for s in series for p in s.points if p.tokens == n) for n in sizes}
    head = ["training tokens", *(f"{n / 1e6:g} M" for n in sizes), "bytes touched", "stored"]
    lines = [head, [":--", *("--:" for _ in head[1:])]]
    for s in series:
        losses = {p.tokens: p.loss for p in s.points}
        cells = [f"{losses[n]:.3f}" if n in losses else "–" for n in sizes]
        cells = [f"**{c}**" if losses.get(n) == best[n] else c for n, c in zip(sizes, cells, strict=True)]
        last = s.points[-1]
        lines.append([s.name, *cells, human_bytes(last.touched), human_bytes(last.stored)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sizes_png(source: str | Path | dict[str, Any], path: str | Path) -> Path:
    """Draw the three panels of a run folder, or of a summary, into `path`; returns the path."""
    summary = check_summary(source) if isinstance(source, dict) else read_summary(source)
    series = series_of(summary)
    if not series:
        raise WeightlessError(f"{summary['name']}: no model was made at several sizes (train_tokens of the recipe)")
    canvas = agg_canvas(16, 6.4, 100, facecolor=PAPER[0], layout="constrained")
    panels = canvas.figure.subplots(1, 3, sharey=True)
    keys = {"tokens": "training tokens, millions", "touched": "bytes touched per next token", "stored": "bytes stored"}
    for axes, (key, title) in zip(panels, keys.items(), strict=True):
        _panel(axes, series, key, f"{title} (log scale)")
    panels[0].set_ylabel("bits per byte of held-out text (lower is better)", color=MUTED[0])
    panels[0].legend(frameon=False, labelcolor=INK[0])
    with atomic_writer(Path(path)) as file:
        canvas.print_png(file, metadata={"Software": "weightless"})
    return Path(path)


def locator(values: Sequence[float]) -> Any:
    """Where a logarithmic axis over these values is labelled: round numbers, where powers of ten are too few."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    ratio = max(values) / min(values)
    return MaxNLocator(5, steps=[1, 2, 5, 10]) if ratio < 10 else LogLocator(subs=(1.0, 3.0) if ratio < 100 else (1.0,))


def _panel(axes: Any, series: list[Series], key: str, title: str) -> None:
    looks = accents([(s.name, s.family) for s in series])
    for s in series:
        look = looks[s.name]
        axes.plot(
            [getattr(p, key) for p in s.points],
            [p.loss for p in s.points],
            color=look.light,
            lw=2,
            marker=_MARKS[look.shape],
            markersize=8,
            markeredgecolor=PAPER[0],
            label=s.name,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(locator([getattr(p, key) for s in series for p in s.points]))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g}" if key == "tokens" else human_bytes(x))
    axes.xaxis.set_minor_formatter(lambda x, _: "")
    if key == "tokens":
        axes.set_xticks(sorted({p.tokens for s in series for p in s.points}))
    axes.set_xlabel(title, color=MUTED[0])
    axes.set_facecolor(PAPER[0])
    axes.grid(color=RULE[0], lw=0.8)
    axes.tick_params(colors=MUTED[0])
    for side in axes.spines.values():
        side.set_visible(False)
