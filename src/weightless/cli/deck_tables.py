"""What deck grade and deck show print: a line per card, and a card's texts laid out for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightless.cli.tables import print_table
from weightless.deck.outcome import LEVELS

if TYPE_CHECKING:
    from weightless.deck.card import Card
    from weightless.deck.results import Result

_COLOURS = {"PASS": "bold green", "NO_SUBMISSION": "dim", "TAMPER": "bold white on red"}


def print_results(results: Sequence[Result]) -> None:
    """A line per card: status, levels, checks passed; then what decided each failure, and the stamps of the sandbox."""
    from rich.table import Table
    from rich.text import Text

    from weightless.lab.report.svg import visible

    table = Table()
    for name in ("card", "status", "levels", "checks", "own tests"):
        table.add_column(name, justify="right" if name in ("checks", "own tests") else "left")
    for result in results:
        passed = sum(check.status == "PASS" for check in result.checks)
        table.add_row(
            Text(result.card, "bold"),
            Text(result.status, _COLOURS.get(result.status, "red")),
            Text(_levels(result)),
            Text(f"{passed}/{len(result.checks)}" if result.checks else ""),
            Text(result.own_tests),
        )
    print_table(table)
    for result in results:
        if result.status not in ("PASS", "NO_SUBMISSION"):
            print(visible(f"{result.card}: {result.status}, {result.told}"))
    passes = sum(result.status == "PASS" for result in results)
    backends = sorted({result.backend for result in results})
    print(f"levels: {', '.join(LEVELS)}")
    if any(result.own_tests for result in results):
        print("own tests: how many of our mistakes the solution's own tests caught; no part of the grade")
    print(f"{passes} of {len(results)} passed; sandbox: {', '.join(backends) or 'none was needed'}")
    for stamp in sorted({stamp for result in results for stamp in result.stamps}):
        print(f"  {visible(stamp)}")


def _levels(result: Result) -> str:
    """A mark for each level: passed, failed, not asked."""
    return "".join({True: "✓", False: "✗", None: "·"}[result.level(level)] for level in LEVELS)


def print_cards(cards: Sequence[Card]) -> None:
    """All cards with difficulty, title and how many checks and mutants each has."""
    from rich.table import Table

    from weightless.deck.catalog import mutants

    table = Table()
    for name in ("card", "difficulty", "about"):
        table.add_column(name)
    for name in ("checks", "mutants"):
        table.add_column(name, justify="right")
    for card in cards:
        table.add_row(card.name, card.difficulty, card.title, str(len(card.checks)), str(len(mutants(card.name))))
    print_table(table)
    print("weightless deck show CARD shows one with its traps")


def print_card(card: Card, variant: str) -> None:
    """Prompt, interface, traps, how it is checked, which mistakes the grader is known to find, what is read."""
    from rich.console import Console
    from rich.markdown import Markdown

    from weightless.deck.catalog import mutants
    from weightless.deck.wording import asked_in_words, interface_of, prompt_of, traps_of

    checks = "\n".join(f"- **{check.level}**: {check.name}" for check in card.checks)
    known = "\n".join(f"- {mutant.name}: {' or '.join(mutant.fails)}" for mutant in mutants(card.name))
    read = "\n".join(f"- {question} ({n})" for question, n in asked_in_words(card.name))
    parts = {
        f"{card.title} ({card.name}, {card.difficulty})": "",
        f"The prompt, {variant} wording": prompt_of(card.name, variant),
        "The interface": interface_of(card.name),
        "Traps": traps_of(card.name),
        "What the machine checks": checks,
        "Mistakes that it is known to find": known,
        "What a person or a model reads": read,
    }
    console = Console()
    for heading, text in parts.items():
        console.rule(heading, align="left")
        console.print(Markdown(text, hyperlinks=False))
