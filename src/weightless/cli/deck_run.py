"""weightless deck run: the prompts to a model behind an endpoint, the answers into files."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from weightless.base.errors import ConfigError
from weightless.base.folder_lock import folder_lock
from weightless.base.progress import progress
from weightless.base.units import human_seconds
from weightless.cli.flags import Alias
from weightless.cli.parse import parse

if TYPE_CHECKING:
    from weightless.deck.card import Card
    from weightless.deck.endpoint import Endpoint
    from weightless.deck.interview import Asked


@dataclass(frozen=True)
class Run:
    """Ask a model all challenges over an OpenAI-compatible endpoint; every exchange is kept, and the same command
    goes on where it stopped. Grading is a command of its own."""

    model: Annotated[str, tyro.conf.Positional]
    """The model as the endpoint calls it."""
    endpoint: str
    """Base address of the interface, for example http://127.0.0.1:8000/v1."""
    name: Annotated[str, Alias("-n")] = ""
    """Name of the folder; empty: made of the model's name. Attempt k > 1 goes into NAME.k."""
    into: str = "."
    """Where the folder is made."""
    variant: Literal["clarified", "literal"] = "clarified"
    """clarified says what is right; literal keeps the known defects of the original wording."""
    card: tuple[str, ...] = ()
    """Only these cards; without it all but ternary_training, since a chat cannot train."""
    attempts: int = 1
    """Independent attempts, each in a folder of its own."""
    tries: int = 1
    """Answers per card: above 1, the model is shown what is wrong with the form of its own answer, never a result."""
    key_variable: str = ""
    """Environment variable that holds the API key; empty: no key is sent."""
    temperature: float | None = None
    """Sent if given; else the endpoint's own."""
    top_p: float | None = None
    """Sent if given; else the endpoint's own."""
    max_tokens: int | None = None
    """Longest answer in tokens, sent if given; else the endpoint's own."""
    seed: int | None = None
    """Sent if given; attempt k sends seed + k - 1."""
    timeout: float = 600.0
    """Seconds for one whole answer."""
    retries: int = 5
    """How often a question is asked again when it got no answer."""
    price_in: float | None = None
    """Price of a million tokens sent, in any currency."""
    price_out: float | None = None
    """Price of a million tokens answered."""


def run_main(arguments: list[str]) -> int:
    from weightless.cli.deck import cards_named
    from weightless.deck.file_names import checked_name, name_of
    from weightless.deck.scaffold import TRAINED_CARD

    options = parse(Run, "deck run", arguments)
    if options.attempts < 1 or options.tries < 1:
        raise ConfigError("--attempts and --tries are at least 1")
    if (options.price_in is None) != (options.price_out is None):
        raise ConfigError("--price_in and --price_out belong together: give both or none")
    cards = [card for card in cards_named(options.card) if options.card or card.name != TRAINED_CARD]
    name = checked_name(options.name) if options.name else name_of(options.model)
    endpoints = [_endpoint(options, k) for k in range(options.attempts)]
    folders = [Path(options.into) / checked_name(name if not k else f"{name}.{k + 1}") for k in range(options.attempts)]
    for folder in folders:
        _check(folder, options)
    outcomes: list[Asked] = []
    with progress("questions", len(cards) * options.attempts, "answers") as tick:
        for folder, endpoint in zip(folders, endpoints, strict=True):
            outcomes += _attempt(folder, endpoint, cards, options, tick)
    for folder in folders:
        _tell(folder)
    if not options.card:
        print(
            f"not asked: {TRAINED_CARD}, which wants a trained checkpoint; hand it in by hand, or it is NO_SUBMISSION"
        )
    return 0 if all(not outcome.wrong for outcome in outcomes) else 1


def _endpoint(options: Run, k: int) -> Endpoint:
    from weightless.deck.endpoint import Endpoint

    key = os.environ.get(options.key_variable, "") if options.key_variable else ""
    if options.key_variable and not key:
        raise ConfigError(f"the environment variable {options.key_variable} (--key_variable) is not set or empty")
    seed = None if options.seed is None else options.seed + k
    given = {"temperature": options.temperature, "top_p": options.top_p, "max_tokens": options.max_tokens, "seed": seed}
    sampling = tuple((name, value) for name, value in given.items() if value is not None)
    return Endpoint(options.endpoint, options.model, key, sampling, options.timeout, options.retries)


def _check(folder: Path, options: Run) -> None:
    """ConfigError unless a folder is new, or is this model's and nobody's else."""
    from weightless.deck.copying import submitted
    from weightless.deck.given import read_given
    from weightless.deck.interview import ASKED

    if not os.path.lexists(folder):
        return
    given = read_given(folder)
    other = "choose another name with -n"
    if given.model != options.model:
        raise ConfigError(f"{folder} is for {given.model!r}, not for {options.model!r}: {other}")
    if given.variant != options.variant:
        raise ConfigError(f"{folder} has the {given.variant} wording, not the {options.variant} one: {other}")
    if changed := given.changed(folder):
        raise ConfigError(f"{folder / changed[0]} is not what was given any more: {other}")
    if not (folder / ASKED).exists():
        held = [card for card, files in given.cards.items() if {str(p) for p in submitted(folder / card)} - set(files)]
        if held:
            raise ConfigError(f"{folder / held[0]} holds a solution of somebody else: {other}")


def _attempt(folder: Path, endpoint: Endpoint, cards: list[Card], options: Run, tick: Any) -> list[Asked]:
    from weightless.deck.catalog import cards as all_cards
    from weightless.deck.finding import contract_of
    from weightless.deck.interview import ask_card, begin
    from weightless.deck.scaffold import deploy
    from weightless.lab.environment import commit

    def say(line: str) -> None:
        print(f"{folder.name}: {line}", file=sys.stderr, flush=True)

    if not folder.exists():
        deploy(folder.name, folder.parent, all_cards(), options.variant, model=options.model, commit=commit(), told=say)
    outcomes = []
    with folder_lock(folder):
        begin(folder, endpoint, options.price_in, options.price_out)
        for card in cards:
            outcome = ask_card(card, folder, endpoint, options.tries, contract_of, say)
            state = ", ".join(outcome.files) or "no files"
            say(f"{card.name}: {state}{f' ({outcome.wrong})' if outcome.wrong else ''}")
            outcomes.append(outcome)
            tick(1, card.name)
    return outcomes


def _tell(folder: Path) -> None:
    from weightless.deck.interview import spent

    took = spent(folder)
    if took is None:
        return
    told = [f"{took.questions} answers", human_seconds(took.seconds)]
    if took.tokens_in is not None and took.tokens_out is not None:
        told.append(f"{took.tokens_in:,} tokens in, {took.tokens_out:,} out")
    told += [f"cost {took.cost:,.4f}"] if took.cost is not None else []
    print(f"{folder}: {', '.join(told)}; grade it: weightless deck grade {folder}")
