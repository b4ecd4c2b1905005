"""A card's checks asked of a folder, in this process: what the tests of all cards have in common."""

from __future__ import annotations

import importlib
import time
import zlib
from pathlib import Path

import numpy as np
from deck.in_process import HereBench

from weightless.deck.card import Card, Mutant
from weightless.deck.outcome import Checked, Failed
from weightless.deck.submission import own_solution


def card_of(name: str) -> Card:
    return importlib.import_module(f"weightless.deck.cards.{name}.card").CARD


def mutants_of(name: str) -> tuple[Mutant, ...]:
    return importlib.import_module(f"weightless.deck.cards.{name}.mutants").MUTANTS


def own(name: str, folder: Path) -> Path:
    own_solution(name, folder)
    return folder


def mutated(name: str, mutant: Mutant, folder: Path) -> Path:
    """Our solution with one replacement, which must fit exactly once."""
    own_solution(name, folder)
    text = (folder / mutant.file).read_text()
    assert text.count(mutant.old) == 1, f"{mutant.old!r} occurs {text.count(mutant.old)} times in {mutant.file}"
    (folder / mutant.file).write_text(text.replace(mutant.old, mutant.new))
    return folder


def written(folder: Path, text: str) -> Path:
    """A folder with this solution.py."""
    folder.mkdir()
    (folder / "solution.py").write_text(text)
    return folder


def outcomes(card: Card, solution: Path, reference: Path, seed: int = 0, to_the_end: bool = False) -> list[Checked]:
    """What each check said, up to the first that did not pass unless `to_the_end`."""
    found = []
    for check in card.checks:
        bench = HereBench(solution, reference)
        bench.rng = np.random.default_rng([seed, zlib.crc32(check.name.encode())])
        began, failed = time.perf_counter(), None
        try:
            check.ask(bench)
        except Failed as error:
            failed = error
        status, told = (failed.status, failed.told) if failed else ("PASS", "")
        found.append(Checked(check.level, check.name, status, told, time.perf_counter() - began))
        if failed and not to_the_end:
            break
    return found


def verdict(card: Card, solution: Path, reference: Path, seed: int = 0) -> Checked:
    """The first check that did not pass, else the last."""
    return outcomes(card, solution, reference, seed)[-1]
