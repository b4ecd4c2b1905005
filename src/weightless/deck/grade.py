"""Grade submissions: every check of a card, each in a fresh worker, on inputs drawn from a secret seed.  Floor 9.

    grade_card(card, folder, backend)            one result, as plain data
    grade_all(attempt, cards, told=print)        NAME/CARD for each card; writes NAME/results/CARD.json, each whole

The seed is drawn when a grading begins and written into its result, so that a grading can be done again; two gradings
of one solution agree in all but seeds, times and draws.  A solution is called by nothing that it could know before.
Nothing of a submission is run before `finding.py` has found the pinned names, and an empty folder costs milliseconds.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.base.files import read_json, sha256_file, write_json
from weightless.base.progress import progress
from weightless.base.random import rng_for
from weightless.deck import catalog
from weightless.deck.bench import Limits
from weightless.deck.card import Card, Check, Mutant
from weightless.deck.copying import copy_submission, hash_folder, hash_of, readable_by_all, shown, submitted
from weightless.deck.finding import find
from weightless.deck.labels import labels
from weightless.deck.outcome import LEVELS, Checked, Failed, Level, Status
from weightless.deck.own_tests import judge_tests
from weightless.deck.remote import Remote
from weightless.deck.sandbox import Backend, opened, strongest, with_packages
from weightless.deck.submission import CARDS, closure, own_solution
from weightless.lab.environment import commit, machine

RESULT_VERSION = 1
RESULTS = "results"
ENOUGH_ENDED = 3
"""After so many checks that ran out of time or memory, the rest of a card is not asked."""
_DECK = Path(__file__).parent
_LONGEST_TOLD = 600
_SANDBOX = ("worker.py", "remote.py", "isolation.py", "stage.py", "sandbox.py", "syscall_filter.py", "watching.py")


@dataclass(frozen=True)
class Ours:
    """Our own solution of a card as a folder, and its mutants."""

    solution: Path
    mutants: tuple[Mutant, ...]


@dataclass
class SandboxBench:
    """The Bench of `bench.py`: both solutions in workers of one backend."""

    rng: np.random.Generator
    variant: str
    backend: Backend
    submission: Path
    file: str
    ours: Path

    @contextmanager
    def solution(self, limits: Limits | None = None) -> Iterator[Remote]:
        with self._opened(self.submission, self.file, limits) as worker:
            yield worker

    @contextmanager
    def reference(self, limits: Limits | None = None) -> Iterator[Remote]:
        with self._opened(self.ours, "solution.py", limits) as worker:
            yield worker

    @contextmanager
    def _opened(self, folder: Path, file: str, limits: Limits | None) -> Iterator[Remote]:
        """A worker; where nothing keeps it from writing into its folder, each has a copy of its own."""
        if self.backend.isolates:
            with opened(folder, self.backend, limits, file) as worker:
                yield worker
            return
        with tempfile.TemporaryDirectory(prefix="deck-") as name:
            shutil.copytree(folder, Path(name) / "card")
            with opened(Path(name) / "card", self.backend, limits, file) as worker:
                yield worker


def grade_card(
    card: Card,
    folder: Path,
    backend: Backend,
    *,
    variant: str = "clarified",
    seed: int | None = None,
    ours: Ours | None = None,
    asked: Callable[[Checked], None] = lambda one: None,
) -> dict[str, Any]:
    """The result of one submission in `folder`, plain data for JSON.  `asked` hears of each check.

    `ours` is for cards outside the deck.  Raises ConfigError when no grading can be made, never for what a solution
    does.
    """
    began, seed = time.monotonic(), secrets.randbits(62) if seed is None else seed
    graded = datetime.now().astimezone().isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="deck-") as name:
        copy = Path(name) / "card"
        copy.mkdir(mode=0o755)
        made = _Grading(card, copy, backend, variant, seed, asked)
        try:
            if not submitted(folder):
                raise Failed("NO_SUBMISSION", "nothing was handed in")
            made.files = copy_submission(folder, copy)
            made.prepare(Path(name) / "prepared")
            made.run(ours or _ours(card, Path(name) / "ours"))
        except Failed as error:
            made.refused = error
        return {
            "result": RESULT_VERSION,
            "card": card.name,
            "variant": variant,
            **made.outcome(),
            "labels": labels(copy),
            "seed": seed,
            "seconds": round(time.monotonic() - began, 3),
            "graded": graded,
            "commit": _own_commit(),
            "sandbox": sandbox_told(made.given),
            "hashes": {**_hashes(card, variant), "submission": hash_of(made.files) if made.files else None},
            "machine": _machine(),
        }


def grade_all(
    attempt: Path,
    cards: Sequence[Card] | None = None,
    *,
    unsandboxed: bool = False,
    sandbox: str | None = None,
    seed: int | None = None,
    told: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Grade ATTEMPT/CARD for all cards and write ATTEMPT/results/CARD.json.  `told` hears one line for each.

    Raises ConfigError when the folder is not there, or when nothing isolates and `unsandboxed` was not asked for.
    """
    if not attempt.is_dir():
        raise ConfigError(f"no such folder: {attempt}; make it with: weightless deck deploy -n {attempt.name}")
    (attempt / RESULTS).mkdir(exist_ok=True)
    if not os.access(attempt / RESULTS, os.W_OK):
        raise ConfigError(f"{attempt / RESULTS} cannot be written; grading would be lost")
    backend, variant = strongest(unsandboxed, sandbox), variant_of(attempt)
    for stamp in backend.stamps:
        told(f"  {stamp}")
    chosen, results = tuple(catalog.cards() if cards is None else cards), []
    with progress("grade", sum(len(card.checks) for card in chosen), "checks") as tick:
        for card in chosen:
            result = grade_card(
                card, attempt / card.name, backend, variant=variant, seed=seed, asked=lambda one: tick(1, one.status)
            )
            tick(len(card.checks) - len(result["checks"]), card.name)
            write_json(attempt / RESULTS / f"{card.name}.json", result)
            results.append(result)
            told(f"  {card.name:20} {result['status']:14} {result['told']}".rstrip())
    return results


def variant_of(attempt: Path) -> str:
    """The wording that a folder was made with: its deck.json says; a folder without one counts as clarified."""
    path = attempt / "deck.json"
    if not path.is_file():
        return "clarified"
    found = read_json(path)
    variant = found.get("variant") if isinstance(found, dict) else None
    if variant not in ("literal", "clarified"):
        raise CorruptFileError(
            f"{path}: no variant, literal or clarified; it says what was given, make the folder anew"
        )
    return variant


def sandbox_told(backend: Backend) -> dict[str, Any]:
    """What a result says of the sandbox."""
    interpreter = backend.interpreter
    return {
        "backend": backend.name,
        "sandboxed": backend.isolates,
        "stamp": "; ".join(backend.stamps),
        "python": interpreter.python,
        "numpy": interpreter.numpy,
    }


class _Grading:
    """One card's grading under way: what was asked so far, and what it comes to."""

    def __init__(
        self, card: Card, copy: Path, backend: Backend, variant: str, seed: int, asked: Callable[[Checked], None]
    ) -> None:
        self.card, self.copy, self.backend, self.variant, self.seed = card, copy, backend, variant, seed
        self.asked, self.folder, self.to_ask, self.given = asked, copy, card.checks, backend
        self.files: dict[str, str] = {}
        self.file: str | None = None
        self.checks: list[Checked] = []
        self.refused: Failed | None = None
        self.tests: dict[str, Any] | None = None
        self.grader_errors: list[str] = []

    def prepare(self, into: Path) -> None:
        """Find the file that is called; where a card takes other languages, the folder made of them is what runs."""
        other = self.card.prepare(self.copy, into, self._opened) if self.card.prepare else None
        if other is None:
            self.file = find(self.copy, self.card.pinned).file
            return
        readable_by_all(into)
        self.folder, self.to_ask, self.file = into, other.checks, "solution.py"
        self.given = with_packages(self.backend, other.packages)

    def _opened(self, folder: Path) -> AbstractContextManager[Remote]:
        readable_by_all(folder)
        return opened(folder, self.backend)

    def run(self, ours: Ours) -> None:
        """Ask the checks in order; stop behind a contract that is not met, and when too many ran out."""
        for level in LEVELS:
            for check in (one for one in self.to_ask if one.level == level):
                if sum(one.status in ("TIMEOUT", "OOM") for one in self.checks) >= ENOUGH_ENDED:
                    return
                self.checks.append(self._ask(check, ours))
                self.asked(self.checks[-1])
            if level == "contract" and any(one.status != "PASS" for one in self.checks):
                return
        self.tests = judge_tests(self.copy, ours.solution, ours.mutants, self.backend).as_dict()

    def _ask(self, check: Check, ours: Ours) -> Checked:
        rng = rng_for(self.seed, self.card.name, check.level, check.name)
        bench = SandboxBench(rng, self.variant, self.given, self.folder, self.file or "solution.py", ours.solution)
        began = time.monotonic()
        status: Status = "PASS"
        told = ""
        try:
            check.ask(bench)
        except Failed as error:
            status, told = error.status, shown(error.told, _LONGEST_TOLD)
        except Exception as error:  # whatever a check trips over is a wrong answer, and a check to be mended
            status, told = "WRONG_SHAPE", f"the answer could not be read ({type(error).__name__})"
            self.grader_errors.append(f"{check.name}: {''.join(traceback.format_exception(error))[-1500:]}")
        return Checked(check.level, check.name, status, told, round(time.monotonic() - began, 3))

    def outcome(self) -> dict[str, Any]:
        """Status, levels and checks.  A check that was not asked leaves its level without a status."""
        failed = next((one for one in self.checks if one.status != "PASS"), None)
        status, told = ("PASS", "") if failed is None else (failed.status, f"{failed.name}: {failed.told}")
        if self.refused:
            status, told = self.refused.status, shown(self.refused.told, _LONGEST_TOLD)
        levels: dict[Level, Status | None] = {level: self._level(level) for level in LEVELS}
        return {
            "status": status,
            "told": told,
            "levels": levels,
            "reached": _reached(levels),
            "checks": [asdict(one) for one in self.checks],
            "n_checks": len(self.to_ask),
            "file": self.file,
            "files": self.files,
            "tests": self.tests,
            "grader_errors": self.grader_errors,
        }

    def _level(self, level: Level) -> Status | None:
        asked = [one for one in self.checks if one.level == level]
        if failed := next((one for one in asked if one.status != "PASS"), None):
            return failed.status
        whole = len(asked) == sum(one.level == level for one in self.to_ask)
        return "PASS" if whole and not self.refused else None


def _reached(levels: dict[Level, Status | None]) -> Level | None:
    """The last level that passed with all before it; a level without checks passes."""
    reached = None
    for level in LEVELS:
        if levels[level] != "PASS":
            break
        reached = level
    return reached


def _ours(card: Card, into: Path) -> Ours:
    own_solution(card.name, into)
    readable_by_all(into)
    return Ours(into, catalog.mutants(card.name))


def _hashes(card: Card, variant: str) -> dict[str, str | None]:
    """What was asked, by what it was judged, and what it ran in."""
    folder, deck = CARDS / card.name, _deck_files(card.name)
    return {
        "prompt": hash_folder(folder, f"{variant}.md"),
        "interface": hash_folder(folder, "interface.md"),
        "grader": hash_of({**deck, "card": hash_folder(folder, "*.py")}),
        "sandbox": hash_of({name: deck[name] for name in _SANDBOX}),
    }


@functools.cache
def _deck_files(card: str) -> dict[str, str]:
    """SHA-256 of the deck's own files that grading a card runs; what draws the board, say, is none of them."""
    first = [Path(__file__), _DECK / "worker.py", _DECK / "stage.py", *(CARDS / card).glob("*.py")]
    used = {*first[:3], *closure([path.read_text() for path in first])}
    return {path.name: sha256_file(path) for path in used if path.parent == _DECK}


@functools.cache
def _own_commit() -> str:
    return commit()


@functools.cache
def _machine() -> dict[str, Any]:
    return machine()
