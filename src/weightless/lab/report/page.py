"""report.html: one file that opens from disk, prints, and needs nothing else.

The order is the reader's: the claim, the picture, then how the loss fell, where the bytes are, every number, what
the models write, and whether the counters agree.  Style and script are page.css and page.js, copied into the page;
without the script only the hover notes are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightless.base.files import atomic_write
from weightless.lab.report import sections
from weightless.lab.report.breakdown import byte_breakdown_svg
from weightless.lab.report.curves import curve_svg
from weightless.lab.report.frontier import Style, frontier_svg
from weightless.lab.report.groups import Group, gather
from weightless.lab.report.headline import Headline, conditions, evidence, headline
from weightless.lab.report.load import load_tables, slot_tables
from weightless.lab.report.pairs import pairs_table
from weightless.lab.report.palette import Accent, accents, css_variables
from weightless.lab.report.summary import number, read_summary
from weightless.lab.report.svg import element, escape
from weightless.lab.report.table import html_table, seed_table

WIDE, NARROW = Style(880, 500), Style(380, 400, font=13, radius=6.5)
_HERE = Path(__file__).parent
_MEANING = (
    "Bytes touched: everything read or written in memory to predict one more token (weights, tables, KV cache, state, "
    "activations, logits), at batch 1, averaged over positions and over validation text. Bits per byte is "
    "the loss on that text, whatever the tokenizer."
)
_FRONT = " The line is the frontier: the least loss reached within so many bytes; nothing lies in the shaded corner."


def write_report(run_dir: str | Path) -> Path:
    """Read RUN/summary.json and write RUN/report.html; CorruptFileError names a missing key."""
    summary = read_summary(run_dir)
    path = Path(run_dir) / "report.html"
    atomic_write(path, page(summary))
    return path


def page(summary: dict[str, Any]) -> str:
    """The whole page of a checked summary."""
    groups = gather(summary)
    colours = accents([(g.name, g.family) for g in groups])
    claim = headline(groups)
    body = [
        _opening(summary, groups, claim, colours),
        _frontier(summary, groups, colours),
        _curves(summary, groups, colours),
        _breakdown(groups, colours),
        _load(groups, colours),
        _numbers(groups, colours),
        _section(
            "What they write",
            sections.samples(groups, colours),
            sections.commands(sections.commands_of(groups, "generate")),
        ),
        _section(
            "Do the counters agree?",
            sections.verdict(summary),
            sections.checks(summary),
            sections.commands(sections.commands_of(groups, "verify")),
        ),
        _section("Conditions", _models(groups, colours), sections.environment(summary), sections.artifacts(summary)),
    ]
    footer = element(
        "footer",
        f"Written by weightless from {element('a', 'summary.json', href='summary.json')}, "
        "which holds every figure in full precision.",
    )
    return document(f"{summary['name']}: {claim}", element("main", *body, footer), list(colours.values()))


def document(title: str, main: str, used: Sequence[Accent], more_style: str = "") -> str:
    """A page that needs nothing else: the house's style with the colours `used`, then `more_style`, and its script."""
    style = (_HERE / "page.css").read_text(encoding="utf-8") + more_style
    light, dark = (f":root{{{css_variables(used, side)}}}" for side in (0, 1))
    colours = f"{light}\n@media screen and (prefers-color-scheme:dark){{{dark}}}\n"
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        element("title", escape(title)),
        f"<style>\n{colours}{style}</style>",
    ]
    script = f"<script>\n{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>"
    lines = ['<!DOCTYPE html>\n<html lang="en">\n<head>', *head, "</head>\n<body>", main, script, "</body>\n</html>\n"]
    return "\n".join(lines)


def _opening(summary: dict[str, Any], groups: Sequence[Group], claim: Headline, colours: dict[str, Accent]) -> str:
    words = [
        escape(part) if model is None else element("span", escape(part), style=f"color:{colours[model].paint}")
        for part, model in claim.parts
    ]
    return element(
        "header",
        element("p", f"weightless · {escape(summary['name'])}", class_="kicker"),
        sections.alarm(summary),
        element("h1", *words),
        element("p", escape(evidence(groups)) + " " + escape(conditions(summary)), class_="standfirst"),
    )


def _frontier(summary: dict[str, Any], groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    picture = both(
        frontier_svg(groups, colours, WIDE, "frontier"), frontier_svg(groups, colours, NARROW, "frontier-narrow")
    )
    absent = [f"{g.name}: {g.divergence or 'no finite loss'}, not drawn." for g in groups if not g.drawable]
    absent += [
        f"{g.name}: {g.n_diverged} of {len(g.members)} seeds diverged and are left out of its mean."
        for g in groups
        if g.drawable and g.n_diverged
    ]
    notes = [element("p", escape(" ".join(absent)), class_="absent")] if absent else []
    several = sum(g.drawable for g in groups) > 1
    caption = element("figcaption", escape(_MEANING + _FRONT * several), *notes)
    return element(
        "figure",
        picture,
        caption,
        sections.verdict(summary),
        sections.commands([summary["command"]]),
        class_="frontier",
    )


def _curves(summary: dict[str, Any], groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    bytes_per_token = number(summary["corpus"]["bytes_per_token"])
    panels = [
        element("div", curve_svg(groups, colours, by, bytes_per_token, f"curve-{by}")) for by in ("tokens", "seconds")
    ]
    caption = (
        "Validation while training, which may look at fewer tokens than the final evaluation above. One line per seed. "
        "Dashed: counted from the text in one pass, not trained."
    )
    trained = [g for g in groups if not g.counted] or groups
    figure = element(
        "figure",
        element("div", *panels, class_="panels"),
        element("figcaption", caption),
        sections.commands(sections.commands_of(trained, "train")),
    )
    return _section("How the loss fell", figure)


def _breakdown(groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    ledgers = {g.name: [{"name": n, "T": size} for n, size in g.components()] for g in groups}
    wide = byte_breakdown_svg(ledgers, colours, WIDE.width, "bytes", standalone=False)
    narrow = byte_breakdown_svg(ledgers, colours, NARROW.width, "bytes-narrow", standalone=False)
    caption = "Mean bytes touched per token by component."
    if len(groups) > 1:
        caption += " Each bar is stretched to full length, its total at the right; the small bars share one scale."
    figure = element(
        "figure",
        both(wide, narrow),
        element("figcaption", caption),
        sections.commands(sections.commands_of(groups, "count")),
    )
    return _section("Where the bytes are", figure)


def _load(groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    sections = []
    for title, tables in (("Are all experts used?", load_tables), ("Are all slots used?", slot_tables)):
        if shown := tables(groups, colours):
            sections.append(_section(title, shown))
    return "".join(sections)


def _numbers(groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    parts = [html_table(groups, colours), element("p", escape(evidence(groups)), class_="note"), pairs_table(groups)]
    if any(len(g.members) > 1 for g in groups):
        parts.append(element("details", element("summary", "Every seed"), seed_table(groups)))
    parts.append(sections.commands([*sections.commands_of(groups, "eval"), *sections.commands_of(groups, "count")]))
    return _section("All numbers", *parts)


def _models(groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    told = [
        element(
            "div",
            element("dt", escape(g.name), style=f"color:{colours[g.name].paint}"),
            element("dd", escape(g.description)),
        )
        for g in groups
        if g.description
    ]
    return element("dl", *told, class_="models") if told else ""


def both(wide: str, narrow: str) -> str:
    """Two drawings of one figure; the style sheet shows the one that fits the screen."""
    return element("div", wide, class_="wide") + element("div", narrow, class_="narrow")


def _section(title: str, *parts: str) -> str:
    return element("section", element("h2", escape(title)), *parts)
