"""A card's checks asked of a folder, in this process: what the tests of all cards have in common."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from deck.in_process import Here, HereBench

from weightless.deck.card import Card, Mutant
from weightless.deck.outcome import LEVELS, Checked, Failed, Status
from weightless.deck.submission import CARDS, own_solution

WORDINGS = ("literal.md", "clarified.md", "interface.md")


def card_of(name: str) -> Card:
    return importlib.import_module(f"weightless.deck.cards.{name}.card").CARD


def mutants_of(name: str) -> tuple[Mutant, ...]:
    return importlib.import_module(f"weightless.deck.cards.{name}.mutants").MUTANTS


def own(name: str, folder: Path) -> Path:
    own_solution(name, folder)
    return folder


def mutated(reference: Path, mutant: Mutant, folder: Path) -> Path:
    """Our solution, which lies in `reference`, with one replacement that must fit exactly once."""
    shutil.copytree(reference, folder)
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


def own_tests_see(tests: Path, folder: Path) -> str | None:
    """The first of the functions test_*() in the file `tests` that fails with the solution of `folder`; None: none."""
    before = sys.modules.get("solution")
    sys.modules["solution"] = Here(folder).module
    try:
        spec = importlib.util.spec_from_file_location("test_solution", tests)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for name, function in vars(module).items():
            if name.startswith("test_"):
                try:
                    with np.errstate(all="ignore"):
                        function()
                except Exception as error:  # whatever a mutant makes of it
                    return f"{name}: {type(error).__name__}"
        return None
    finally:
        del sys.modules["solution"]
        if before is not None:
            sys.modules["solution"] = before


class CardTests:
    """What every card is held to; a test file names the card, what a lazy solution is, and which mutants only a
    measurement sees.
    """

    name: str
    zeros: str
    fails_with_zeros: Status = "WRONG_NUMERIC"
    not_by_own_tests: frozenset[str] = frozenset()

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, tmp_path_factory):
        return own(cls.name, tmp_path_factory.mktemp("reference") / cls.name)

    def test_our_solution_passes_every_check(self, reference):
        found = outcomes(card_of(self.name), reference, reference, seed=3, to_the_end=True)
        assert [one for one in found if one.status != "PASS"] == []

    def test_a_solution_with_nothing_in_it_breaks_the_contract(self, reference, tmp_path):
        found = verdict(card_of(self.name), written(tmp_path / "empty", '"""Nothing."""\n'), reference)
        assert (found.level, found.status) == ("contract", "CONTRACT")

    def test_zeros_of_the_right_shape_do_not_pass(self, reference, tmp_path):
        found = verdict(card_of(self.name), written(tmp_path / "zeros", self.zeros), reference)
        assert (found.level, found.status) == ("prompt", self.fails_with_zeros), found

    @pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
    def test_every_mutant_gets_its_status(self, reference, tmp_path):
        """What only a clock sees may hide on a busy machine, but not three times running."""
        card, told = card_of(self.name), []
        for number, mutant in enumerate(mutants_of(self.name)):
            folder = mutated(reference, mutant, tmp_path / str(number))
            for _ in range(3 if "SLOW" in mutant.fails else 1):
                found = verdict(card, folder, reference)
                if found.status in mutant.fails:
                    break
            else:
                told.append(f"{mutant.name}: {found}")
        assert not told, told

    @pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
    def test_its_own_tests_pass_and_see_the_mutants(self, reference, tmp_path):
        tests = CARDS / self.name / "test_solution.py"
        assert own_tests_see(tests, reference) is None
        unseen = {
            mutant.name
            for number, mutant in enumerate(mutants_of(self.name))
            if own_tests_see(tests, mutated(reference, mutant, tmp_path / str(number))) is None
        }
        assert unseen == self.not_by_own_tests

    def test_both_wordings_pin_what_the_interface_pins(self):
        texts = {name: (CARDS / self.name / name).read_text() for name in WORDINGS}
        for pinned in card_of(self.name).pinned:
            for file, text in texts.items():
                needed = [name for name in pinned.parameters if name not in pinned.optional]
                words = [pinned.name.split(".")[-1], *needed]
                missing = [word for word in words if not re.search(rf"\b{re.escape(word)}\b", text)]
                assert not missing, f"{file} does not name {missing} of {pinned.name}"

    def test_names_and_levels_are_in_order(self):
        checks = card_of(self.name).checks
        assert len({check.name for check in checks}) == len(checks)
        assert [check.level for check in checks] == sorted((check.level for check in checks), key=LEVELS.index)
        assert {mutant.name for mutant in mutants_of(self.name)} >= self.not_by_own_tests
