"""Every number of a run as a table: for the page, for Markdown documents, and for the terminal.

All three read the same list of rows; models are gathered over their seeds as mean ± half-width of a 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.base.units import human_seconds
from weightless.lab.report.groups import Group, Model, gather
from weightless.lab.report.headline import evidence, headline, spelled
from weightless.lab.report.interval import Estimate
from weightless.lab.report.palette import Accent
from weightless.lab.report.sections import checks_told, failures, warning
from weightless.lab.report.summary import check_summary
from weightless.lab.report.svg import element, escape, visible

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One figure: its name, where it stands in a model's entry, and how it is written."""

    label: str
    value: Callable[[Model], Any]
    write: Callable[[Estimate], str]
    note: str = ""


def as_loss(value: Estimate) -> str:
    """1.234, or 1.234 ± 0.005."""
    return spelled(value, 3)


def as_bytes(value: Estimate) -> str:
    """118 kB, or 118 ± 2 kB."""
    return _scaled(value, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)), "B")


def as_count(value: Estimate) -> str:
    """1.23 M, 45.6 G."""
    return _scaled(value, (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)), "")


def as_rate(value: Estimate) -> str:
    """8,342 ± 120."""
    return spelled(value, 0, grouped=True)


def as_seconds(value: Estimate) -> str:
    """3 min 20 s, or 200 ± 12 s, 2.5 ± 0.3 s, 0.31 ± 0.02 s."""
    if not value.known:
        return "–"
    digits = 0 if value.mean >= 9.95 else 1 if value.mean >= 0.995 else 2
    return f"{spelled(value, digits, grouped=True)} s" if value.half else human_seconds(value.mean)


def _scaled(value: Estimate, units: Sequence[tuple[str, float]], base: str) -> str:
    if not value.known:
        return "–"
    unit, scale = next(((u, s) for u, s in units if abs(value.mean) >= s), (base, 1.0))
    size = abs(value.mean) / scale
    digits = 0 if scale == 1.0 and size == round(size) or size >= 99.95 else 1 if size >= 9.995 else 2
    written = f"{value.mean / scale:,.{digits}f}"
    if value.half:
        half = f"{value.half / scale:,.{digits}f}"
        written += f" ± {half}" if float(half.replace(",", "")) > 0 else f" ± <{10.0**-digits:g}"
    return f"{written} {unit}".rstrip()


SECTIONS: tuple[tuple[str, tuple[Row, ...]], ...] = (
    (
        "Loss on validation text",
        (
            Row("bits per byte", lambda m: m["bits_per_byte"], as_loss),
            Row("nats per token", lambda m: m["nats_per_token"], as_loss),
        ),
    ),
    (
        "Bytes touched per next token",
        (
            Row(
                "traffic, mean", lambda m: m["touched"]["T"]["mean"], as_bytes, "T, the headline: every read and write"
            ),
            Row("traffic, 99th percentile", lambda m: m["touched"]["T"]["p99"], as_bytes, "T p99"),
            Row("traffic, largest", lambda m: m["touched"]["T"]["max"], as_bytes, "T max"),
            Row("unique bytes, mean", lambda m: m["touched"]["U"]["mean"], as_bytes, "U: re-reads count once"),
            Row("whole 64-byte lines, mean", lambda m: m["touched"]["T64"]["mean"], as_bytes, "T64"),
        ),
    ),
    (
        "Bytes held",
        (
            Row("stored, whole file", lambda m: m["stored"]["file"], as_bytes),
            Row("stored weights", lambda m: m["stored"]["weights"], as_bytes),
            Row("optimizer state", lambda m: m["optimizer_bytes"], as_bytes, "while training"),
            Row("parameters", lambda m: m["n_parameters"], as_count),
        ),
    ),
    (
        "Work and time",
        (
            Row("FLOPs per token", lambda m: m["flops_per_token"], as_count, "decoding"),
            Row("training FLOPs", lambda m: m.get("training_flops"), as_count),
            Row("tokens seen", lambda m: m["tokens_seen"], as_count),
            Row("training time", lambda m: m["train_seconds"], as_seconds),
            Row("tokens decoded per second", lambda m: m["decode_tokens_per_second"], as_rate, "batch 1 on every core"),
        ),
    ),
)


def html_table(groups: Sequence[Group], colours: dict[str, Accent]) -> str:
    """Figures down the side, models across; scrolls sideways inside its frame where they are many."""
    heads = [element("th", escape(g.name), scope="col", style=f"color:{colours[g.name].paint}") for g in groups]
    parts = [element("thead", element("tr", element("td", element("span")), *heads))]
    for title, rows in SECTIONS:
        lines = [element("tr", element("th", escape(title), scope="rowgroup", colspan=len(groups) + 1, class_="part"))]
        lines += [_html_row(row, groups) for row in rows]
        parts.append(element("tbody", *lines))
    parts.append(element("tbody", _seed_row(groups)))
    return element(
        "div",
        element("table", *parts, class_="all"),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label="All numbers, by model",
    )


def _html_row(row: Row, groups: Sequence[Group]) -> str:
    note = element("small", escape(row.note)) if row.note else ""
    cells = [element("td", escape(_cell(row, g))) for g in groups]
    return element("tr", element("th", escape(row.label), note, scope="row"), *cells)


def _cell(row: Row, group: Group) -> str:
    """The figure; of a loss that does not exist, that every seed diverged."""
    if row.write is as_loss and group.n_diverged == len(group.members) and not group.counted:
        return "diverged"
    return row.write(group.over_seeds(row.value))


def _seed_row(groups: Sequence[Group]) -> str:
    cells = [element("td", escape(_seeds(g))) for g in groups]
    return element("tr", element("th", "seeds", scope="row"), *cells)


def _seeds(group: Group) -> str:
    diverged = f", {group.n_diverged} diverged" if group.n_diverged else ""
    return f"{len(group.members)}{diverged}"


def seed_table(groups: Sequence[Group]) -> str:
    """Every seed by itself: what the means were made of."""
    heads = [element("th", h, scope="col") for h in ("model", "seed", "bits per byte", "touched per token")]
    lines = [element("thead", element("tr", *heads))]
    for group in groups:
        for member in group.members:
            one = Group(group.name, group.family, (member,))
            loss = one.divergence or spelled(one.loss, 4)
            cells = (str(member["seed"]), loss, as_bytes(one.touched))
            lines.append(
                element(
                    "tr", element("th", escape(group.name), scope="row"), *(element("td", escape(c)) for c in cells)
                )
            )
    return element("div", element("table", *lines), class_="scroll")


def markdown_table(summary: dict[str, Any]) -> str:
    """The results for README and docs: one line per model, then how sure they are and the command."""
    groups = gather(check_summary(summary))
    columns = _columns()
    lines = ["| model | " + " | ".join(name for name, _ in columns) + " |", "|---|" + "---:|" * len(columns)]
    for group in groups:
        cells = [write(group) for _, write in columns]
        lines.append("| " + " | ".join([flat_markdown(group.name), *cells]) + " |")
    command = visible(summary["command"]).replace("\n", " ").replace("```", "'''")
    state = checks_told(summary)
    state = f"**{state}**" if failures(summary) else state
    told = [f"{flat_markdown(g.name)} {flat_markdown(g.divergence)}." for g in groups if g.divergence]
    lines += ["", *told] if told else []
    lines += ["", f"**{flat_markdown(warning(summary))}**"] if warning(summary) else []
    return "\n".join([*lines, "", f"{flat_markdown(evidence(groups))} {state}", "", "```", command, "```", ""])


def flat_markdown(content: str) -> str:
    """Text of strangers in one line of Markdown, with nothing in it that Markdown would read."""
    flat = visible(content).replace("\n", " ").replace("\\", "\\\\")
    for mark in "|`*_<[":
        flat = flat.replace(mark, "\\" + mark)
    return flat


def _columns() -> list[tuple[str, Callable[[Group], str]]]:
    chosen = {
        "bits per byte": "bits per byte",
        "traffic, mean": "bytes touched / token",
        "traffic, largest": "largest",
        "unique bytes, mean": "unique",
        "stored, whole file": "stored",
        "FLOPs per token": "FLOPs / token",
        "tokens seen": "tokens seen",
        "training time": "trained in",
        "tokens decoded per second": "tokens / s",
    }
    rows = {row.label: row for _, section in SECTIONS for row in section}
    return [(name, _writer(rows[label])) for label, name in chosen.items()]


def _writer(row: Row) -> Callable[[Group], str]:
    return lambda group: _cell(row, group)


def terminal_table(summary: dict[str, Any]) -> Table:
    """The end of a run in a terminal: the claim above, a line per model, the state of the checks beneath."""
    from rich.table import Table
    from rich.text import Text

    groups = gather(check_summary(summary))
    failed = "".join(f" {model}: {check}." for model, _, check, _ in failures(summary))
    state = Text(visible(checks_told(summary) + failed) + " ", "bold red" if failed else "green")
    told = "".join(f"{group.name} {group.divergence}. " for group in groups if group.divergence)
    told += f"{warning(summary)} " if warning(summary) else ""
    caption = Text(visible(told), "bold red") + state + Text(visible(evidence(groups)), "dim")
    table = Table(title=Text(str(headline(groups)).replace("\u00a0", " "), "bold"), caption=caption)
    table.add_column("model")
    columns = [c for c in _columns() if c[0] in _TERMINAL]
    for name, _ in columns:
        table.add_column(name, justify="right")
    for group in groups:
        table.add_row(Text(visible(group.name), "bold"), *(Text(write(group)) for _, write in columns))
    return table


_TERMINAL = {"bits per byte", "bytes touched / token", "stored", "trained in", "tokens / s"}
