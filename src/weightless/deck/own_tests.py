"""A solution's own tests on our solution and on our mutants: does its gradient check see a missing mean?  Floor 9.

A solution may bring test_*.py with functions test_*() that import the pinned names from `solution`.  Each is run, in
the sandbox, beside our solution; what passes there is then run beside each mutant of the card, and should fail.  The
number stands beside the score and decides nothing.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError
from weightless.deck.bench import Limits
from weightless.deck.card import Mutant
from weightless.deck.copying import readable_by_all
from weightless.deck.defined import defined
from weightless.deck.outcome import Failed
from weightless.deck.sandbox import Backend, opened

LIMITS = Limits(seconds=20.0, cpu_seconds=40)
MOST_FILES, MOST_TESTS = 4, 60
_ENDED = ("TIMEOUT", "OOM", "TAMPER")


@dataclass(frozen=True)
class OwnTests:
    """Tests that were brought; those that our solution passes; mutants that at least one of these caught, or none."""

    brought: int
    sound: int
    caught: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    told: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def mutate(folder: Path, mutant: Mutant) -> None:
    """Make one known mistake in our solution.  Raises ConfigError unless the old text stands there exactly once."""
    path = folder / mutant.file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(mutant.old) != 1:
        raise ConfigError(
            f"mutant {mutant.name!r}: its text stands {text.count(mutant.old)} times in {mutant.file}, not once"
        )
    path.chmod(0o644)
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")


def judge_tests(submission: Path, ours: Path, mutants: tuple[Mutant, ...], backend: Backend) -> OwnTests:
    """Run the tests that a submission brings on our solution in `ours` and on its mutants.

    `submission` is a copy that `copying.copy_submission` made.
    """
    found = _tests(submission)
    brought = sum(len(names) for names in found.values())
    if not brought:
        return OwnTests(0, 0, told="no functions test_*() were handed in")
    sound, why = _sound(submission, ours, found, backend)
    n_sound = sum(len(names) for names in sound.values())
    if not n_sound:
        return OwnTests(brought, 0, told=f"not judged: {why}")
    caught, missed = [], []
    for mutant in mutants:
        with tempfile.TemporaryDirectory(prefix="deck-") as name:
            folder = _beside(submission, ours, found, Path(name) / "card")
            mutate(folder, mutant)
            seen = any(_first_failure(folder, file, names, backend) for file, names in sound.items())
            (caught if seen else missed).append(mutant.name)
    told = f"{brought - n_sound} of {brought} tests fail on our solution: {why}" if why else ""
    return OwnTests(brought, n_sound, tuple(caught), tuple(missed), told)


def _tests(folder: Path) -> dict[str, list[str]]:
    """Functions to call, by file: those at the top of test_*.py that need no argument."""
    found = {}
    for path in sorted(folder.glob("test_*.py"))[:MOST_FILES]:
        try:
            names = defined(path.read_text(encoding="utf-8-sig")).names
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        tests = [one for name, one in names.items() if name.startswith("test") and "." not in name]
        found[path.name] = [one.name for one in tests if one.parameters is not None and not one.required][:MOST_TESTS]
    return {file: names for file, names in found.items() if names}


def _beside(submission: Path, ours: Path, files: dict[str, list[str]], into: Path) -> Path:
    """Our solution with the tests of a submission."""
    shutil.copytree(ours, into, ignore=shutil.ignore_patterns("test_*.py"))
    for file in files:
        shutil.copyfile(submission / file, into / file)
    readable_by_all(into)
    return into


def _sound(
    submission: Path, ours: Path, found: dict[str, list[str]], backend: Backend
) -> tuple[dict[str, list[str]], str]:
    """The tests that our solution passes, and why the first other one does not."""
    why, sound = "", {}
    with tempfile.TemporaryDirectory(prefix="deck-") as name:
        folder = _beside(submission, ours, found, Path(name) / "card")
        for file, names in found.items():
            kept = list(names)
            while kept and (failure := _first_failure(folder, file, kept, backend)):
                test, told = failure
                why = why or f"{file}: {told}"
                kept = [one for one in kept if one != test] if test else []
            sound[file] = kept
    return {file: names for file, names in sound.items() if names}, why


def _first_failure(folder: Path, file: str, names: list[str], backend: Backend) -> tuple[str, str] | None:
    """(the first test that fails, what it said); ('', …) when the file cannot be loaded; None when all pass."""
    running = ""
    try:
        with opened(folder, backend, LIMITS, file) as worker:
            for running in names:
                if raised := worker.raises(running):
                    return running, f"{running} raises {raised}"
    except Failed as error:
        return running, f"{running or 'loading'}: {error.told}"
    return None
