"""weightless deck deploy | grade | run | board | show: challenges for coding models, and what became of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from weightless.base.errors import ConfigError
from weightless.cli.deck_run import run_main
from weightless.cli.flags import Alias
from weightless.cli.parse import parse, pick

if TYPE_CHECKING:
    from weightless.deck.card import Card


@dataclass(frozen=True)
class Deploy:
    """Make a folder of eight challenges for one model under test; a folder that exists is never touched."""

    name: Annotated[str, Alias("-n")]
    """Name of the folder: letters, digits, '.', '_' and '-'."""
    into: str = "."
    """Where the folder is made."""
    model: str = ""
    """Who answers; attempts of one model share a row of the board. Empty: the name."""
    variant: Literal["clarified", "literal"] = "clarified"
    """clarified says what is right; literal keeps the known defects of the original wording."""


@dataclass(frozen=True)
class Grade:
    """Grade the solutions in a deployed folder, each in a sandbox, and write results/CARD.json into it."""

    attempt: Annotated[str, tyro.conf.Positional]
    """The folder that deck deploy or deck run made."""
    card: tuple[str, ...] = ()
    """Only these cards; the others keep the results that they have."""
    unsandboxed: bool = False
    """Grade where nothing isolates, with the rights of this user; every result is stamped so."""
    json: bool = False
    """Print the results as JSON."""


@dataclass(frozen=True)
class Board:
    """Models x challenges as one page and as Markdown: levels reached, shares with intervals, what failed, evidence."""

    folders: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Folders of attempts, or folders that hold such folders."""
    out: str = "board"
    """A folder for board.html and board.md."""
    title: str = "eight challenges"
    """What the page is called."""


@dataclass(frozen=True)
class Show:
    """A card with its traps, for those who teach: prompt, interface, what goes wrong, how it is checked."""

    card: Annotated[str, tyro.conf.Positional] = ""
    """Name of a card; without it all cards are listed."""
    variant: Literal["clarified", "literal"] = "clarified"
    """Wording of the prompt that is shown."""
    solution: str = ""
    """An empty or new folder, into which our own solution of the card is written."""


def main(verb: str, arguments: list[str]) -> int:
    actions = {
        "deploy": (_deploy, "a folder of eight challenges for one model under test"),
        "grade": (_grade, "grade the solutions in a folder, in a sandbox"),
        "run": (run_main, "ask a model behind an OpenAI-compatible endpoint, and keep every exchange"),
        "board": (_board, "models x challenges as a page and as Markdown"),
        "show": (_show, "a card with its traps, for those who teach"),
    }
    action, rest = pick(verb, arguments, actions)
    return action(rest)


def _deploy(arguments: list[str]) -> int:
    from weightless.deck.catalog import cards
    from weightless.deck.scaffold import deploy, guide
    from weightless.lab.environment import commit

    options = parse(Deploy, "deck deploy", arguments)
    folder = deploy(
        options.name,
        Path(options.into),
        cards(),
        options.variant,
        model=options.model,
        commit=commit(),
        told=lambda line: print(line, flush=True),
    )
    print(f"\n{len(cards())} challenges in {folder} ({options.variant} wording)\n")
    print(*guide(cards()), sep="\n")
    return 0


def _grade(arguments: list[str]) -> int:
    from weightless.cli.deck_tables import print_results
    from weightless.deck.given import is_attempt
    from weightless.deck.grade import grade_all
    from weightless.deck.results import read_result
    from weightless.deck.rubric import template
    from weightless.deck.wording import asked_in_words

    options = parse(Grade, "deck grade", arguments)
    folder, chosen = Path(options.attempt), cards_named(options.card)
    if (
        folder.is_dir()
        and not is_attempt(folder)
        and not any((folder / card.name).is_dir() for card in cards_named(()))
    ):
        raise ConfigError(f"{folder} has no folder of any card; name the one that deck deploy or deck run made")
    found = grade_all(folder, chosen, unsandboxed=options.unsandboxed, told=lambda line: print(line, file=sys.stderr))
    results = [result for card in chosen if (result := read_result(folder, card.name))]
    for result in results:
        if result.status != "NO_SUBMISSION":
            template(folder, result.card, asked_in_words(result.card))
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_results(results)
        print(f"results: {folder / 'results'}")
    return 0 if all(result.status == "PASS" for result in results) else 1


def cards_named(names: Sequence[str]) -> list[Card]:
    """The cards of these names in the suggested order, all without any.  Raises ConfigError."""
    from weightless.deck.catalog import card, cards

    wanted = {card(name).name for name in names}
    return [one for one in cards() if not wanted or one.name in wanted]


def _board(arguments: list[str]) -> int:
    from weightless.base.files import atomic_write
    from weightless.deck.board import page
    from weightless.deck.board_markdown import markdown
    from weightless.deck.catalog import cards
    from weightless.deck.given import attempts_in
    from weightless.deck.standing import doubts, read_attempt, standings

    options = parse(Board, "deck board", arguments)
    if not options.folders:
        raise ConfigError("no folder given: weightless deck board FOLDER … (made by deck deploy or deck run)")
    known, out = cards(), Path(options.out)
    names = [card.name for card in known]
    rows = standings([read_attempt(folder, names) for folder in attempts_in(options.folders)], names)
    atomic_write(out / "board.html", page(rows, known, options.title, out))
    atomic_write(out / "board.md", markdown(rows, known, options.title, out))
    for doubt in doubts(rows):
        print(doubt, file=sys.stderr)
    for row in rows:
        print(f"{row.rank if row.n else '-':>3}  {row.passes}/{row.n}  {row.model} ({row.variant})")
    print(f"page: {out / 'board.html'} (and board.md)")
    return 0


def _show(arguments: list[str]) -> int:
    from weightless.cli.deck_tables import print_card, print_cards
    from weightless.deck.catalog import card, cards
    from weightless.deck.submission import own_solution

    options = parse(Show, "deck show", arguments)
    if not options.card:
        print_cards(cards())
        return 0
    chosen = card(options.card)
    if options.solution:
        written = own_solution(chosen.name, Path(options.solution))
        print(f"{options.solution}: {len(written)} files; {chosen.files[0]} is the one that is called")
        return 0
    print_card(chosen, options.variant)
    return 0
