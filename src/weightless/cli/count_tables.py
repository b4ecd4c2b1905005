"""The tables that `weightless count` prints: one ledger, two side by side, all counters of a verification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weightless.base.units import human_bytes
from weightless.cli.tables import print_table

if TYPE_CHECKING:
    from weightless.audit.counters.verify import Verification

QUANTITIES = {"T": "T, traffic", "U": "U, distinct bytes", "T64": "64-byte lines", "stored": "stored"}
MOST_TOLD = 3  # components in a sentence
_COLOURS = {"agrees": "green", "differs": "bold red", "skipped": "yellow"}


def print_ledger(name: str, ledger: dict[str, Any]) -> None:
    """T, U, lines and stored bytes per component, then the distribution over steps."""
    title = f"{name}: bytes touched per next token, {ledger['n_steps']} {_steps(ledger)}"
    table = Table(title=escape(title), title_justify="left")
    most, at_most = ("at most " if bound else "" for bound in (ledger["stored"]["is_bound"], not ledger["exact"]))
    for column in ("component", "T", "U", "64-byte lines", "share of T", "stored, at most" if most else "stored"):
        table.add_column(column, justify="left" if column == "component" else "right")
    T = ledger["touched"]["T"]
    for part in sorted(ledger["components"], key=lambda part: -part["T"]):
        stored = ledger["stored"]["components"].get(part["name"], 0)
        cells = [f"{part[key]:,.1f}" for key in ("T", "U", "T64")]
        table.add_row(
            escape(part["name"]), *cells, f"{100 * part['T'] / T['mean']:.1f} %", f"{stored:,}" if stored else ""
        )
    means = [f"{ledger['touched'][key]['mean']:,.1f}" for key in ("T", "U", "T64")]
    table.add_section()
    table.add_row("mean", *means, "100 %", f"{ledger['stored']['weights']:,}", style="bold")
    for row in ("p50", "p99", "max"):
        table.add_row(row, *(f"{ledger['touched'][key][row]:,.0f}" for key in ("T", "U", "T64")), "", "")
    print_table(table)
    told = f"{most}{ledger['parameters']:,} parameters, {ledger['flops_per_token']:,.0f} FLOPs per token"
    size = f"{at_most}{human_bytes(T['mean'])} per token (MB = 10^6 bytes)"
    distinct = f"{at_most}{distinct_told(ledger)}"
    print(f"{size}, {told}, mode {_mode(ledger)}{_held(ledger)}", distinct, *ledger.get("notes", ()), "", sep="\n")


def distinct_told(ledger: dict[str, Any]) -> str:
    """One sentence about U beside T: how many bytes are distinct, and where the others are counted again."""
    again = sorted(((part["T"] - part["U"], part["name"]) for part in ledger["components"]), reverse=True)
    parts = [f"{human_bytes(n)} more in {name}" for n, name in again[:MOST_TOLD] if n >= 0.5]
    why = f", and T counts every operator's reading and writing of them: {', '.join(parts)}" if parts else ""
    return f"{human_bytes(ledger['touched']['U']['mean'])} of them are distinct (U){why}"


def _held(ledger: dict[str, Any]) -> str:
    """What the file holds, or why nobody knows yet."""
    if ledger["stored"]["is_bound"]:
        most = human_bytes(ledger["stored"]["weights"])
        return f"\nat most {most} stored: how much follows from the text, up to max_tokens; a run counts it"
    return f", {human_bytes(ledger['file']['file'])} in the file" if "file" in ledger else ""


def _mode(ledger: dict[str, Any]) -> str:
    return {"score": "S (scoring)", "sample": "S (sampling)", "full": "F (all probabilities)"}[ledger["head"]]


def _steps(ledger: dict[str, Any]) -> str:
    if ledger["measured_on"]:
        return f"steps on {ledger['measured_on']}"
    if ledger["exact"]:
        return "positions"
    return "positions, at most (structural maximum: what the text decides is measured with --text, from an artifact)"


def lines_of_two(a: dict[str, Any], b: dict[str, Any]) -> list[dict[str, Any]]:
    """[{"quantity", "line", "a", "b", "ratio"}]: every component and the total of T, U, lines and stored bytes.

    `ratio` is a / b; None where b has no such line.
    """
    out = []
    for quantity in QUANTITIES:
        sides = [_components(ledger, quantity) for ledger in (a, b)]
        names = sorted({*sides[0], *sides[1]}, key=lambda n: -max(sides[0].get(n, 0), sides[1].get(n, 0)))
        rows = [(name, sides[0].get(name, 0), sides[1].get(name, 0)) for name in names]
        rows.append(("total", sum(sides[0].values()), sum(sides[1].values())))
        out += [
            {"quantity": quantity, "line": name, "a": x, "b": y, "ratio": x / y if y else None}
            for name, x, y in rows
            if x or y
        ]
    others = [(key, a[key], b[key]) for key in ("parameters", "flops_per_token")]
    return [
        *out,
        *({"quantity": key, "line": "total", "a": x, "b": y, "ratio": x / y if y else None} for key, x, y in others),
    ]


def _components(ledger: dict[str, Any], quantity: str) -> dict[str, float]:
    if quantity == "stored":
        return ledger["stored"]["components"]
    return {part["name"]: part[quantity] for part in ledger["components"]}


def print_two(a: tuple[str, dict[str, Any]], b: tuple[str, dict[str, Any]]) -> None:
    """Both ledgers line by line."""
    table = Table(title=escape(f"{a[0]} (A) beside {b[0]} (B), mode {_mode(a[1])}"), title_justify="left")
    for column in ("bytes per token", "A", "B", "A / B"):
        table.add_column(column, justify="left" if column == "bytes per token" else "right")
    section = ""
    for line in lines_of_two(a[1], b[1]):
        if line["quantity"] != section and line["quantity"] in QUANTITIES:
            section = line["quantity"]
            table.add_section()
            table.add_row(QUANTITIES[section], "", "", "", style="bold")
        elif line["quantity"] not in QUANTITIES and section:
            section = ""
            table.add_section()
        label = line["line"] if section else line["quantity"].replace("_", " ")
        ratio = "" if line["ratio"] is None else f"{line['ratio']:,.3g}"
        table.add_row(
            escape(f"  {label}" if section else label),
            f"{line['a']:,.0f}",
            f"{line['b']:,.0f}",
            ratio,
            style="bold" if label == "total" else None,
        )
    print_table(table)
    for name, ledger in (a, b):
        if not ledger["exact"]:
            print(f"{name}: at most (structural maximum); what the text decides is measured with --text")
        if ledger["stored"]["is_bound"]:
            print(f"{name}: stored bytes are a bound; they follow from the text, which a run counts")


def print_verification(found: Verification) -> None:
    """Mean T per component by every counter that counts components, then the verdicts."""
    counters = [counter for counter in found.counters if counter.components]
    table = Table(
        title=escape(
            f"{found.subject['name']}: bytes touched, mean of {len(found.positions)} positions ({found.subject['fed']})"
        ),
        title_justify="left",
    )
    table.add_column("component")
    for counter in counters:
        table.add_column(counter.name, justify="right")
    names = dict.fromkeys(name for counter in counters for name in counter.components)
    for name in sorted(names, key=lambda n: -max(c.components.get(n, 0) for c in counters)):
        cells = [counter.components.get(name, 0) for counter in counters]
        table.add_row(escape(name), *(f"{n:,.1f}" for n in cells), style="red" if len(set(cells)) > 1 else None)
    table.add_section()
    table.add_row("sum", *(f"{sum(c.components.values()):,.1f}" for c in counters), style="bold")
    print_table(table)
    console = Console()
    for counter in found.counters:
        if counter.verdict in _COLOURS:
            verdict = f"[{_COLOURS[counter.verdict]}]{counter.verdict:<8}[/]"
            console.print(f"  {counter.name:<16} {verdict} {escape(counter.detail)}", highlight=False, soft_wrap=True)
    if found.poison and found.poison.excluded:
        spared = ", ".join(f"{n:,} bytes of {reason}" for reason, n in found.poison.excluded.items())
        console.print(f"  not damaged: {spared} (they may change without effect)", highlight=False, soft_wrap=True)
    console.print()
