"""`weightless deck deploy`: a folder of challenges for one model under test, whole or not at all (floor 9).

    NAME/deck.json                         what was given (given.py)
    NAME/CARD/PROMPT.md  INTERFACE.md      for every card, in one wording
    NAME/ternary_training/train_data.txt   the text to train on: fables of a fixed seed, so that every deck has the same
                                           one, hidden text of the same source can be drawn, and no loss can be below
                                           their entropy

Everything is written into a hidden folder beside and renamed at the end; a folder that is there is never touched.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from weightless import __version__
from weightless.base.errors import WeightlessError
from weightless.base.files import atomic_write, sha256_file
from weightless.deck.card import Card, Difficulty
from weightless.deck.file_names import checked_name
from weightless.deck.given import Given, Variant
from weightless.deck.outcome import LEVELS
from weightless.deck.wording import CARDS, asked_in_words, interface_of, prompt_of

PROMPT, INTERFACE, TRAINING_TEXT = "PROMPT.md", "INTERFACE.md", "train_data.txt"
TRAINED_CARD = "ternary_training"
DIFFICULTIES: tuple[Difficulty, ...] = ("medium", "hard", "extra hard", "open-ended")


def deploy(
    name: str,
    into: Path,
    cards: Sequence[Card],
    variant: Variant = "clarified",
    *,
    model: str = "",
    commit: str = "unknown",
    root: Path = CARDS,
    told: Callable[[str], None] = lambda line: None,
) -> Path:
    """Make INTO/NAME with one folder a card; `told` hears a line about each.  `model` is who answers ('': the name).

    Raises ConfigError for a name that is no folder's, WeightlessError when the folder exists or cannot be written.
    """
    target = into / checked_name(name)
    if os.path.lexists(target):
        raise WeightlessError(f"{target} exists already: remove it, or choose another name with -n")
    hidden = into / f".{name}.{secrets.token_hex(4)}.deploying"
    try:
        hidden.mkdir(parents=True)
        files = {card.name: _folder(card, hidden / card.name, variant, root, told) for card in cards}
        made = datetime.now().astimezone().isoformat(timespec="seconds")
        Given(name, model or name, variant, made, __version__, commit, files).write(hidden)
        _moved(hidden, target)
    except OSError as error:
        raise WeightlessError(f"cannot write {target}: {error.strerror}; nothing was made") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(hidden)
    return target


def _moved(hidden: Path, target: Path) -> None:
    """Rename, which of two that deploy one name at a time lets the first win: no full folder is replaced."""
    try:
        os.rename(hidden, target)
    except OSError as error:
        if os.path.lexists(target):
            raise WeightlessError(f"{target} exists already: remove it, or choose another name with -n") from error
        raise


def _folder(card: Card, folder: Path, variant: Variant, root: Path, told: Callable[[str], None]) -> dict[str, str]:
    """Write one card's folder; {file: SHA-256}."""
    folder.mkdir()
    atomic_write(folder / PROMPT, prompt_of(card.name, variant, root))
    atomic_write(folder / INTERFACE, interface_of(card.name, root))
    if card.name == TRAINED_CARD:
        atomic_write(folder / TRAINING_TEXT, training_text())
        told(f"  [data] {TRAINING_TEXT}")
    told(f"  [+] {card.name}")
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir())}


def training_text() -> bytes:
    """The text that the ternary card trains on: the same bytes on every machine, as its checks know them."""
    from weightless.deck.cards.ternary_training import text

    return text.training_text()


def guide(cards: Sequence[Card], root: Path = CARDS) -> list[str]:
    """Lines: the difficulties, who grades what, how to go about it, the suggested order."""
    lines = ["Difficulty"]
    for difficulty in DIFFICULTIES:
        lines += [f"  {difficulty}"] * any(card.difficulty == difficulty for card in cards)
        lines += [f"    {card.name + '/':<22} {card.title}" for card in cards if card.difficulty == difficulty]
    lines += ["", "What a machine grades, and what a person (or a model) reads"]
    for card in cards:
        lines.append(f"  {card.name:<20} {_machine(card)}; read: {_read(card, root)}")
    lines.append("  Each check and each question by name: weightless deck show CARD (not for the model under test)")
    order = [card.name for card in sorted(cards, key=lambda card: card.order)]
    lines += [
        "",
        "How to use it",
        "  1. Give the model PROMPT.md and INTERFACE.md of one folder, as they are, and nothing else.",
        "  2. Its files go into the same folder; INTERFACE.md says what they are called.",
        "  3. Grade the folder: weightless deck grade NAME. What is missing is NO_SUBMISSION.",
        "  4. What is read, not measured, goes into results/CARD.rubric.json; it never changes a grade.",
        "",
        "Suggested order, easiest first",
        *(f"  {line}" for line in _wrapped(order)),
    ]
    return lines


def _machine(card: Card) -> str:
    counts = {level: sum(check.level == level for check in card.checks) for level in LEVELS}
    parts = ", ".join(f"{n} {level}" for level, n in counts.items() if n)
    return f"{len(card.checks)} checks ({parts})" if parts else "no checks"


def _read(card: Card, root: Path) -> str:
    n = len(asked_in_words(card.name, root))
    return f"{n} question{'' if n == 1 else 's'} of the write-up"


def _wrapped(names: Sequence[str], width: int = 88) -> list[str]:
    lines = [""]
    for i, name in enumerate(names):
        word = name + (" →" if i < len(names) - 1 else "")
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] += f"{' ' * bool(lines[-1])}{word}"
    return lines
