"""Grade folders by a card in this process: our solution, its mutants, and what is no solution."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deck.in_process import Here, HereBench

from weightless.deck.bench import Limits
from weightless.deck.card import Card, Check, Mutant
from weightless.deck.outcome import Checked, Failed
from weightless.deck.submission import own_solution

INTERPRETER_BYTES = 40_000_000


class Traced(Here):
    """A worker whose memory is counted by tracemalloc, as if each had an interpreter of its own."""

    @property
    def peak_bytes(self) -> int:
        return INTERPRETER_BYTES + tracemalloc.get_traced_memory()[1]

    @peak_bytes.setter
    def peak_bytes(self, value: int) -> None:
        pass


class TracedBench(HereBench):
    @contextmanager
    def solution(self, limits: Limits | None = None) -> Iterator[Here]:
        tracemalloc.start()
        try:
            yield Traced(self.folders[0])
        finally:
            tracemalloc.stop()


def ask(check: Check, bench: HereBench) -> Checked:
    """The check's outcome; anything but Failed is an error of the check."""
    try:
        check.ask(bench)
    except Failed as failed:
        return Checked(check.level, check.name, failed.status, failed.told, 0.0)
    return Checked(check.level, check.name, "PASS", "", 0.0)


def bench_for(check: Check, solution: Path, reference: Path, seed: int = 0, variant: str = "clarified") -> HereBench:
    """Memory is traced where a check is about memory, and only there: it makes everything slower."""
    kind = TracedBench if check.name.startswith("memory") else HereBench
    return kind(solution, reference, seed, variant)


def first_failure(card: Card, solution: Path, reference: Path, **bench: Any) -> Checked | None:
    """What a grading would report: the first check that does not pass."""
    for check in card.checks:
        found = ask(check, bench_for(check, solution, reference, **bench))
        if found.status != "PASS":
            return found
    return None


def ours(card: Card, folder: Path) -> Path:
    own_solution(card.name, folder)
    return folder


def mutated(card: Card, mutant: Mutant, folder: Path) -> Path:
    """Our solution with the mistake in it; `old` has to occur exactly once."""
    path = ours(card, folder) / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.old!r} occurs {text.count(mutant.old)} times"
    path.write_text(text.replace(mutant.old, mutant.new))
    return folder


def failing_tests(folder: Path) -> list[str]:
    """Names of the tests in the folder's test_solution.py that fail on its solution.py."""
    worker = Here(folder, "test_solution")
    names = [name for name in vars(worker.module) if name.startswith("test_")]
    assert names, "no tests"
    return [name for name in names if worker.raises(name) is not None]
