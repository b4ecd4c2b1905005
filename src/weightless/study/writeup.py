"""The write-up of a study, one or two pages: question, verdicts, result, failures, method, what it does not show.

`write` leaves writeup.html (opens from disk, prints, needs nothing else), writeup.md with its drawings beside it
(figure-*.svg), and all.md, which holds every arm and every cell.  What is too long for two pages is shortened with its
count, and stands in all.md.  Nothing is typed in by hand: texts are the study file's, numbers are the cells'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightless.base.files import atomic_write
from weightless.lab.report import sections
from weightless.lab.report.page import both, document
from weightless.lab.report.palette import css_variables
from weightless.lab.report.svg import element, escape, shorten
from weightless.lab.report.table import flat_markdown
from weightless.study import tables, texts
from weightless.study.cells import Evidence
from weightless.study.figures import Figure, figures
from weightless.study.gathered import Gathered, gathered
from weightless.study.scaling import laws, laws_told
from weightless.study.verdicts import Verdict, verdicts

MOST_VERDICTS, LONGEST_REASON, LONGEST_TEXT = 8, 280, 900
_HERE = Path(__file__).parent
HOW = (
    "Mean ± half-width of a 95 % t interval over seeds; differences are paired by seed where arms share two seeds, "
    "else Welch's; p adjusted by Holm over all arms."
)


def write(evidence: Evidence, folder: str | Path) -> Path:
    """Write the page, its Markdown, its drawings and all.md into `folder`; returns the path of the page.

    ConfigError where a prediction names what the study does not have; ArgumentError for a done cell without a number.
    """
    folder = Path(folder)
    whole = Content(evidence)
    drawn = [figure for figure in whole.figures if figure.is_drawn]
    for figure in drawn:
        atomic_write(folder / f"figure-{figure.name}.svg", standalone(whole.g, figure))
    atomic_write(folder / "all.md", everything(whole))
    atomic_write(folder / "writeup.md", markdown(whole))
    atomic_write(folder / "writeup.html", page(whole))
    return folder / "writeup.html"


class Content:
    """Everything a write-up says, worked out once for the page and for Markdown."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.g: Gathered = gathered(evidence)
        fitted = laws(self.g) if evidence.study.get("kind") == "scaling" else []
        self.verdicts: list[Verdict] = verdicts(evidence)
        self.result = texts.result(self.g, laws_told(self.g, fitted) if fitted else [])
        self.figures: list[Figure] = figures(self.g, fitted)
        self.failures = texts.failures(self.g)
        self.method = texts.method(self.g)
        names = tables.shown(self.g)
        self.table = tables.arms_table(self.g, names)
        n = len(self.g.arms)
        self.cut = f"{len(names)} of {n} arms: the base and the lowest; all.md holds all. " if len(names) < n else ""
        self.note = self.cut + tables.same_told(self.g) + HOW

    def asked(self, name: str) -> str:
        """A text of the question, shortened to what a page can hold."""
        question = self.evidence.study.get("question")
        told = question.get(name) if isinstance(question, Mapping) else None
        written = "\n".join(map(str, told)) if isinstance(told, list | tuple) else str(told or "")
        return shorten(written.strip(), LONGEST_TEXT)

    @property
    def title(self) -> str:
        return shorten(self.asked("text") or self.evidence.name, 240)

    @property
    def made(self) -> str:
        """Machine and commit in one line."""
        machine = texts.flat({key.replace("_", " "): value for key, value in self.evidence.machine.items()})
        return f"Commit {self.evidence.commit or 'not recorded'}. Machine: {machine or 'not recorded'}."


def page(whole: Content) -> str:
    """writeup.html."""
    g = whole.g
    kind = str(whole.evidence.study.get("kind") or "generic")
    header = element(
        "header",
        element("p", f"weightless · study {escape(whole.evidence.name)} · {escape(kind)}", class_="kicker"),
        element("h1", escape(whole.title)),
        _standfirst(whole),
        _verdicts(whole),
    )
    found = element("ul", *(element("li", escape(line)) for line in whole.result), class_="found")
    numbers = [
        tables.html_table(g, whole.table, "All arms"),
        element("p", escape(whole.note), class_="note"),
        _rest(whole),
    ]
    body = [
        header,
        _section("Result", found, *_figures(whole.figures)),
        _section("Arms", *numbers),
        element("div", _failures(whole), _method(whole), class_="pair"),
        element(
            "div", _prose(whole, "What it does not show", "does_not_show"), _prose(whole, "Next", "next"), class_="pair"
        ),
        element("footer", sections.commands([whole.evidence.command]), element("p", escape(whole.made))),
    ]
    css = (_HERE / "writeup.css").read_text(encoding="utf-8")
    main = element("main", *body, class_="study")
    return document(f"{whole.evidence.name}: {whole.title}", main, list(g.colours.values()), css)


def _standfirst(whole: Content) -> str:
    told = whole.asked("hypothesis")
    return element("p", escape(f"Hypothesis: {told}"), class_="standfirst") if told else ""


def _verdicts(whole: Content) -> str:
    if not whole.verdicts:
        return element("p", "The study predicted nothing that could be checked.", class_="note")
    lines = [
        element(
            "li",
            element("span", v.word, class_=f"word {v.word}"),
            element("code", escape(v.text)),
            element("small", escape(shorten(v.reason, LONGEST_REASON))),
        )
        for v in whole.verdicts[:MOST_VERDICTS]
    ]
    if (more := len(whole.verdicts) - MOST_VERDICTS) > 0:
        lines.append(element("li", element("span", f"{more} more"), element("small", "in all.md")))
    return element("ul", *lines, class_="verdicts")


def _figures(shown: Sequence[Figure]) -> list[str]:
    """A wide drawing alone; the others side by side."""
    parts, beside = [], []
    for figure in shown:
        caption = element("figcaption", escape(figure.caption))
        if figure.narrow:
            parts.append(element("figure", both(figure.markup, figure.narrow), caption, class_="lone"))
        else:
            beside.append(element("figure", figure.markup, caption))
    return [*parts, element("div", *beside, class_="panels")] if beside else parts


def _rest(whole: Content) -> str:
    """All arms, folded away; they are not printed."""
    if not whole.cut:
        return ""
    table = tables.arms_table(whole.g, [arm.name for arm in whole.g.arms])
    return element(
        "details",
        element("summary", f"All {len(whole.g.arms)} arms"),
        tables.html_table(whole.g, table, "All arms, none left out"),
    )


def _failures(whole: Content) -> str:
    parts = []
    for heading, lines in whole.failures:
        items = [element("li", escape(shorten(line, LONGEST_REASON))) for line in lines]
        parts += [element("h3", escape(heading)), element("ul", *items)]
    return _section("Failures", element("div", *(parts or [element("p", "None: every run ended.")]), class_="failures"))


def _method(whole: Content) -> str:
    terms = [
        element("div", element("dt", escape(term)), element("dd", escape(shorten(told, 400))))
        for term, told in whole.method
    ]
    return _section("Method", element("dl", *terms))


def _prose(whole: Content, title: str, name: str) -> str:
    told = whole.asked(name) or "The study file says nothing."
    return _section(title, element("p", escape(told), class_="prose"))


def _section(title: str, *parts: str) -> str:
    return element("section", element("h2", escape(title)), *parts)


def standalone(g: Gathered, figure: Figure) -> str:
    """A drawing of the page as a file of its own, which follows the reader's light or dark scheme."""
    rules = [
        line
        for line in (Path(sections.__file__).parent / "page.css").read_text(encoding="utf-8").splitlines()
        if line.startswith(_DRAWING)
    ]
    light, dark = (css_variables(list(g.colours.values()), side) for side in (0, 1))
    face = "svg{background:var(--paper);font-family:system-ui,sans-serif}"
    style = f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{face}" + "".join(rules)
    start, rest = figure.markup.split(">", 1)
    start = start.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{start}>{element('style', style)}{rest}\n"


_DRAWING = tuple(
    ".grid .axis .tick .name .halo .front .unreached .error .gain .leader .mark .curve .seed .counted .tie".split()
)


def markdown(whole: Content) -> str:
    """writeup.md."""
    lines = [f"# {flat_markdown(whole.title)}", ""]
    if told := whole.asked("hypothesis"):
        lines += [f"Hypothesis: {flat_markdown(told)}", ""]
    lines += _verdict_lines(whole.verdicts) or ["The study predicted nothing that could be checked."]
    lines += ["", "## Result", "", *(f"- {flat_markdown(line)}" for line in whole.result), ""]
    for figure in whole.figures:
        if figure.is_drawn:
            lines += [f"![{flat_markdown(figure.caption)}](figure-{figure.name}.svg)", ""]
        lines += [flat_markdown(figure.caption), ""]
    lines += ["## Arms", "", *tables.markdown_table(whole.table), "", flat_markdown(whole.note), ""]
    lines += ["Every cell is in [all.md](all.md).", "", "## Failures", ""]
    for heading, cells in whole.failures:
        lines += [f"{flat_markdown(heading)}:", "", *(f"- {flat_markdown(cell)}" for cell in cells), ""]
    lines += [] if whole.failures else ["None: every run ended.", ""]
    lines += ["## Method", "", *(f"- {flat_markdown(f'{term}: {told}')}" for term, told in whole.method), ""]
    for title, name in (("What it does not show", "does_not_show"), ("Next", "next")):
        lines += [f"## {title}", "", flat_markdown(whole.asked(name) or "The study file says nothing."), ""]
    return "\n".join([*lines, *_reproduce(whole)])


def _verdict_lines(found: Sequence[Verdict]) -> list[str]:
    return [f"- **{v.word}**: {flat_markdown(v.text)} ({flat_markdown(v.reason)})" for v in found]


def _reproduce(whole: Content) -> list[str]:
    command = whole.evidence.command.replace("\n", " ").replace("```", "'''")
    return ["## Reproduce", "", "```", command, "```", "", flat_markdown(whole.made), ""]


def everything(whole: Content) -> str:
    """all.md: all predictions, all arms, all failures and all cells."""
    g: Any = whole.g
    lines = [f"# {flat_markdown(whole.evidence.name)}: everything", "", "## Predictions", ""]
    lines += _verdict_lines(whole.verdicts) or ["None."]
    every = tables.arms_table(g, [arm.name for arm in g.arms], mismatch=bool(whole.evidence.mismatch))
    lines += ["", "## Arms", "", *tables.markdown_table(every), "", HOW, "", "## Failures", ""]
    for heading, cells in texts.failures(g, most=10**9):
        lines += [f"{flat_markdown(heading)}:", "", *(f"- {flat_markdown(cell)}" for cell in cells), ""]
    return "\n".join([*lines, "## Cells", "", *tables.markdown_table(tables.cells_table(g)), ""])
