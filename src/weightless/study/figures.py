"""Which figures a study is shown by: its kind chooses them, and everything in them comes from its cells.

    lr         loss against the rate, crosses where runs diverged       batch      loss, tokens per second and memory
    vocabulary loss against its size
    ablations, corpora, golf, generic: arms with intervals              frontier   loss against bytes touched, the front
    scaling    loss against tokens with the fitted laws

Learning curves, against steps and against the clock, stand behind every figure where a study has any.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weightless.base.units import human_bytes, human_seconds
from weightless.lab.report.curves import curve_svg
from weightless.lab.report.frontier import Style, frontier_svg
from weightless.lab.report.palette import Accent, accents
from weightless.study.dots import Dot, dots_svg
from weightless.study.gathered import Arm, Gathered
from weightless.study.panel import Panel, Point, Series, Size, panel_svg
from weightless.study.scaling import Fitted
from weightless.study.verdicts import amount

MOST_CURVES, MOST_DOTS, MOST_LINES = 6, 14, 8
MAIN, SMALL = Size(880, 330), Size(430, 300)
WIDE, NARROW = Style(880, 420), Style(380, 400, font=13, radius=6.5)
PRIMARY = {"lr": ("max_lr", "lr", "rate"), "batch": ("batch",), "vocabulary": ("vocab_size", "vocabulary")}
BY_AXIS = ("lr", "batch", "vocabulary")


@dataclass(frozen=True)
class Figure:
    """One drawing with what is said below it; one with a `narrow` form, for small screens, stands by itself."""

    name: str
    markup: str
    caption: str
    narrow: str = ""

    @property
    def is_drawn(self) -> bool:
        return self.markup.startswith("<svg")


def figures(g: Gathered, laws: Sequence[Fitted]) -> list[Figure]:
    """The figures of a study in the order of the page."""
    kind = str(g.evidence.study.get("kind") or "generic")
    key = varied_number(g, PRIMARY.get(kind, ()))
    if kind in BY_AXIS and key:
        shown = by_axis(g, key, kind)
    elif kind == "frontier":
        shown = [_frontier(g)]
    elif kind == "scaling":
        shown = [_scaling(g, laws)]
    else:
        shown = [_arms(g)]
    return [*shown, *_curves(g)]


def varied(g: Gathered) -> dict[str, list[Any]]:
    """{key: its distinct values} of what differs between arms, in the order of the study."""
    keys = dict.fromkeys(key for arm in g.arms for key in arm.setting)
    found = {key: list({repr(a.setting.get(key)): a.setting.get(key) for a in g.arms}.values()) for key in keys}
    return {key: values for key, values in found.items() if len(values) > 1}


def varied_number(g: Gathered, endings: Sequence[str]) -> str | None:
    """The varied key of positive numbers that a study is drawn against: by its ending, else the first."""
    numeric = [key for key, values in varied(g).items() if all(_positive(v) for v in values if v is not None)]
    return next((key for ending in endings for key in numeric if key.endswith(ending)), next(iter(numeric), None))


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def by_axis(g: Gathered, key: str, kind: str) -> list[Figure]:
    """Loss against a key, one line for every other setting; for batches also speed and memory."""
    panels = [_axis_figure(g, key, g.loss, f"validation loss, {g.unit}", "loss", True)]
    if kind == "batch":
        panels += [
            _axis_figure(g, key, "tokens_per_second", "tokens per second", "speed"),
            _axis_figure(g, key, "memory", "peak memory", "memory"),
        ]
    return panels


def _axis_figure(g: Gathered, key: str, figure: str, y_title: str, name: str, main: bool = False) -> Figure:
    lines: dict[str, list[Arm]] = {}
    for arm in g.arms:
        if key in arm.setting:
            lines.setdefault(_rest(g, arm, key), []).append(arm)
    shown = list(itertools.islice(lines.items(), MOST_LINES))
    colours = accents([(label, arms[0].family) for label, arms in shown])
    series = [_line(arms, label, key, figure, colours[label], g) for label, arms in shown]
    write = _write_y([p.y for s in series for p in s.points], figure)
    panel = Panel(f"{y_title} against {key}", key, y_title, lambda v: f"{v:g}", write, log_y=figure == "memory")
    lost = " A cross on the top edge: a run that diverged there." if any(s.diverged for s in series) else ""
    cut = f" {len(lines) - MOST_LINES} more lines are not drawn." if len(lines) > MOST_LINES else ""
    caption = f"{y_title[:1].upper()}{y_title[1:]} against {key}; {_bars_told(g)}{lost}{cut}"
    return _in_sizes(name, panel, series, caption, main)


def _in_sizes(name: str, panel: Panel, series: Sequence[Series], caption: str, main: bool) -> Figure:
    """The main figure of a page in two sizes, any other in the smaller one."""
    if not main:
        return Figure(name, panel_svg(panel, series, name, SMALL), caption)
    narrow = panel_svg(panel, series, f"{name}-narrow", SMALL)
    return Figure(name, panel_svg(panel, series, name, MAIN), caption, narrow)


def _rest(g: Gathered, arm: Arm, key: str) -> str:
    """What else an arm has set, as the name of its line."""
    told = [f"{v}" for k, v in arm.setting.items() if k != key and k in varied(g) and not _follows(g, k, key)]
    return ", ".join([arm.family, *told] if len({a.family for a in g.arms}) > 1 else told) or arm.family or "all"


def _follows(g: Gathered, other: str, key: str) -> bool:
    """Whether `other` is tuned along with `key`: each value of the key has one of it."""
    pairs = {(repr(a.setting.get(key)), repr(a.setting.get(other))) for a in g.arms}
    return len(pairs) == len({k for k, _ in pairs}) and len({o for _, o in pairs}) > 1


def _line(arms: Sequence[Arm], label: str, key: str, figure: str, accent: Accent, g: Gathered) -> Series:
    points, lost = [], []
    for arm in arms:
        x, known = float(arm.setting[key]), arm.figure(figure)
        if math.isfinite(known.value):
            points.append(Point(x, known.value, known.half(), f"{arm.name}: {told(known.value, known.half(), figure)}"))
        if arm.states["diverged"] and figure == g.loss:
            lost.append(x)
    return Series(label, tuple(sorted(points, key=lambda p: p.x)), accent, tuple(lost))


def told(value: float, half: float | None, figure: str) -> str:
    """A figure as a reader sees it."""
    if figure in ("touched", "stored", "memory"):
        return amount(value, "bytes", half)
    if figure == "train_seconds":
        return amount(value, "seconds", half)
    return amount(value, "", half) if half else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def _write_y(values: Sequence[float], figure: str) -> Any:
    if figure in ("touched", "stored", "memory"):
        return human_bytes
    if figure == "train_seconds":
        return human_seconds
    span = (max(values) - min(values)) if values else 0
    if values and max(values) >= 1000:
        return lambda v: f"{v / 1000:,.3g} k"
    return (lambda v: f"{v:.3f}") if span < 0.1 else (lambda v: f"{v:.2f}") if span < 2 else (lambda v: f"{v:g}")


def _bars_told(g: Gathered) -> str:
    most = max((len(arm.cells) for arm in g.arms), default=0)
    return "bars are 95 % intervals over seeds." if most > 1 else "single seed."


def _arms(g: Gathered) -> Figure:
    """Arms with intervals; of many, the base and the lowest."""
    names = chosen(g, MOST_DOTS)
    arms = [arm for arm in g.arms if arm.name in names]
    lost = [arm.name for arm in arms if not arm.has_loss and not arm.states["diverged"]]
    dots = []
    for arm in arms:
        if arm.name in lost:
            continue
        value = arm.loss.value if arm.has_loss else None
        tip = f"{arm.name}: {told(value, arm.loss.half(), g.loss) if value is not None else 'diverged'}"
        dots.append(Dot(arm.name, value, arm.loss.half(), g.colours[arm.name], tip))
    bases = {arm.name: arm.loss.value for arm in g.arms if arm.name in g.bases.values() and arm.has_loss}
    base = next(iter(bases.values())) if len(bases) == 1 else None
    wide, narrow = (
        dots_svg("validation loss, lower is better", g.unit, dots, base, key, size.width)
        for size, key in ((MAIN, "arms"), (SMALL, "arms-narrow"))
    )
    cut = f" {len(names)} of {len(g.arms)} arms are drawn." if len(names) < len(g.arms) else ""
    absent = f" Without a loss yet: {', '.join(lost)}." if lost else ""
    dotted = f" Dotted: {next(iter(bases))}." if base is not None else ""
    return Figure("arms", wide, f"Loss of each arm; {_bars_told(g)}{dotted}{cut}{absent}", narrow)


def chosen(g: Gathered, most: int) -> list[str]:
    """At most so many arms: all of them, else bases and lowest losses, text by text; in the order of the study."""
    if len(g.arms) <= most:
        return [arm.name for arm in g.arms]
    rest = [arm.name for arm in g.arms if not arm.has_loss]
    in_turn = [arm for rank in itertools.zip_longest(*(ranks.order for ranks in g.ranks.values())) for arm in rank]
    kept = list(dict.fromkeys([*g.bases.values(), *(arm for arm in in_turn if arm), *rest]))[:most]
    return [arm.name for arm in g.arms if arm.name in kept]


def _frontier(g: Gathered) -> Figure:
    groups = g.groups({arm.name: arm.name for arm in g.arms})
    wide, narrow = (
        frontier_svg(groups, g.colours, style, key) for style, key in ((WIDE, "front"), (NARROW, "front-n"))
    )
    caption = (
        f"Bits per byte against bytes touched per next token; {_bars_told(g)} The line is the front: the least loss "
        "reached within so many bytes."
    )
    return Figure("frontier", wide, caption, narrow)


def _scaling(g: Gathered, laws: Sequence[Fitted]) -> Figure:
    by_line: dict[tuple[str, float], list[Arm]] = {}
    for arm in g.arms:
        if arm.has_loss and math.isfinite(arm.figure("tokens_seen").value):
            by_line.setdefault((arm.family, arm.figure("parameters").value), []).append(arm)
    shown = list(itertools.islice(by_line.items(), MOST_LINES))
    named = {key: f"{key[0]} {_count(key[1])}" for key, _ in shown}
    colours = accents([(named[key], key[0]) for key, _ in shown])
    law_of = {fitted.family: fitted.law for fitted in laws if fitted.law is not None}
    series = [_size_line(arms, named[key], colours[named[key]], law_of.get(key[0]), key[1]) for key, arms in shown]
    write = _write_y([p.y for s in series for p in s.points], g.loss)
    panel = Panel("loss against tokens", "training tokens", f"validation loss, {g.unit}", _count, write)
    cut = f" {len(by_line) - MOST_LINES} more lines are not drawn." if len(by_line) > MOST_LINES else ""
    caption = f"Loss against tokens, one line per size (parameters); dashed: the fitted law; {_bars_told(g)}{cut}"
    return _in_sizes("scaling", panel, series, caption, True)


def _size_line(arms: Sequence[Arm], label: str, accent: Accent, law: Any, parameters: float) -> Series:
    points = [
        Point(arm.figure("tokens_seen").value, arm.loss.value, arm.loss.half(), f"{arm.name}: {arm.loss.value:.3f}")
        for arm in arms
    ]
    line: list[tuple[float, float]] = []
    if law is not None and len(points) > 1:
        low, high = min(p.x for p in points), max(p.x for p in points)
        xs = [low * (high / low) ** (k / 24) for k in range(25)]
        where: list[Mapping[str, float]] = [{"parameters": parameters, "tokens": x} for x in xs]
        line = [(x, law.at(**{axis: at[axis] for axis in law.axes}).value) for x, at in zip(xs, where)]
    return Series(label, tuple(points), accent, (), tuple(line))


def _count(value: float) -> str:
    if not math.isfinite(value):
        return ""
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:g}"


def _curves(g: Gathered) -> list[Figure]:
    """Learning curves against steps and against seconds, of few arms."""
    with_curve = {arm.name for arm in g.arms if any(cell.curve for cell in arm.cells)}
    names = {name: told for name, told in _short(g, chosen(g, MOST_CURVES)).items() if name in with_curve}
    groups = [group for group in g.groups(names) if group.members]
    if not groups:
        return []
    colours = accents([(group.name, group.family) for group in groups]) if _is_by_axis(g) else g.colours
    known = math.isfinite(g.bytes_per_token)
    per_token = g.bytes_per_token if known else 1.0
    cut = f" The base and the lowest of {len(g.arms)} arms." if len(groups) < len(g.arms) else ""
    said = {"step": "Learning curves against steps", "seconds": "The same against seconds of training"}
    return [
        Figure(
            f"curves-{by}",
            curve_svg(groups, colours, by, per_token, f"curves-{by}", known),
            f"{words}; one line per seed.{cut}",
        )
        for by, words in said.items()
    ]


def _is_by_axis(g: Gathered) -> bool:
    return g.evidence.study.get("kind") in BY_AXIS


def _short(g: Gathered, names: Sequence[str]) -> dict[str, str]:
    """{arm: name in a crowded drawing}: of a study along one axis the value there, with what else it has set."""
    kind = str(g.evidence.study.get("kind"))
    key = varied_number(g, PRIMARY[kind]) if kind in PRIMARY else None
    told = {}
    for arm in (arm for arm in g.arms if arm.name in names):
        rest = _rest(g, arm, key) if key and len({_rest(g, a, key) for a in g.arms}) > 1 else ""
        told[arm.name] = f"{rest} {_short_number(arm.setting[key])}".strip() if key and key in arm.setting else arm.name
    return told if len(set(told.values())) == len(told) else {name: name for name in told}


def _short_number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
