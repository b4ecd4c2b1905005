"""A grading of the toy card: every status, levels, hashes, seeds, own tests, and results that lie whole in a folder.

Oracle: the toy card's own solution, and changes to it whose status is known by hand.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest
from deck.toy_card import CARD, LIMITS, MUTANTS, SOLUTION, TESTS, ours, submit

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.deck import catalog, grade
from weightless.deck.card import Check
from weightless.deck.copying import copy_submission
from weightless.deck.grade import ENOUGH_ENDED, grade_all, grade_card, variant_of
from weightless.deck.outcome import Failed
from weightless.deck.sandbox import strongest


@pytest.fixture(scope="module")
def backend():
    return strongest()


def graded(folder, backend, tmp_path, card=CARD, seed=5):
    if not (tmp_path / "ours").exists():
        ours(tmp_path / "ours")
    return grade_card(card, folder, backend, seed=seed, ours=replace(ours_in(tmp_path)))


def ours_in(tmp_path):
    from weightless.deck.grade import Ours

    return Ours(tmp_path / "ours", MUTANTS)


def test_our_own_solution_passes_every_level_and_its_tests_are_judged(tmp_path, backend):
    folder = submit(tmp_path / "toy", SOLUTION, test_solution=TESTS)
    result = graded(folder, backend, tmp_path)
    assert (result["status"], result["told"], result["reached"]) == ("PASS", "", "efficiency")
    assert [one["status"] for one in result["checks"]] == ["PASS"] * 3
    tests = result["tests"]
    assert (tests["brought"], tests["sound"]) == (3, 2) and "test_that_is_wrong" in tests["told"]
    assert tests["caught"] == ("sum in place of mean", "walks one step less")
    assert tests["missed"] == ("absolute values wrong above 100",)
    assert result["seed"] == 5 and result["file"] == "solution.py" and result["sandbox"]["sandboxed"]
    assert set(result["files"]) == {"solution.py", "test_solution.py"}
    assert json.loads(json.dumps(result))["hashes"]["submission"] == result["hashes"]["submission"]
    again = graded(folder, backend, tmp_path, seed=None)
    told = ("status", "told", "levels", "files", "hashes", "tests", "labels")
    assert [again[name] for name in told] == [result[name] for name in told] and again["seed"] != 5


@pytest.mark.parametrize(
    ("old", "new", "status", "reached"),
    [
        ("np.square(x).mean(-1)", "np.square(x).mean(-1).astype('f4')", "WRONG_DTYPE", None),
        ("np.square(x).mean(-1)", "np.square(x)", "WRONG_SHAPE", None),
        ("np.square(x)", "np.square(np.minimum(x, 100))", "WRONG_NUMERIC", "prompt"),
        ("import numpy as np", "import numpy as np, scipy", "IMPORT", None),
        ("def row_energy(x)", "def row_energy(y)", "CONTRACT", None),
        ("start = step(start)", "start = step(start, start)", "CRASH", "contract"),
    ],
)
def test_a_change_gets_its_status(tmp_path, backend, old, new, status, reached):
    assert old in SOLUTION
    result = graded(submit(tmp_path / "toy", SOLUTION.replace(old, new)), backend, tmp_path)
    assert (result["status"], result["reached"]) == (status, reached), result["told"]
    if reached is None and status not in ("CONTRACT",):
        assert len(result["checks"]) == 1


def test_nothing_handed_in_takes_milliseconds(tmp_path, backend):
    for folder in (tmp_path / "none", tmp_path / "empty"):
        assert graded(folder, backend, tmp_path)["status"] == "NO_SUBMISSION"
        folder.mkdir(exist_ok=True)
    (tmp_path / "empty" / "PROMPT.md").write_text("?")
    (tmp_path / "empty" / ".hidden.py").write_text(SOLUTION)
    began = time.process_time()
    result = graded(tmp_path / "empty", backend, tmp_path)
    assert time.process_time() - began < 0.1
    assert result["status"] == "NO_SUBMISSION" and result["checks"] == [] and result["hashes"]["submission"] is None


def test_what_cannot_be_copied_is_named(tmp_path, backend):
    secret = tmp_path / "secret.py"
    secret.write_text("SECRET = 'PLANTED'")
    made = {
        "link": lambda path: (path / "solution.py").symlink_to(secret),
        "linked folder": lambda path: (path / "inner").symlink_to(tmp_path),
        "pipe": lambda path: os.mkfifo(path / "solution.py"),
        "large": lambda path: ((path / "solution.py").touch(), os.truncate(path / "solution.py", 100 << 20)),
        "much Python": lambda path: (path / "solution.py").write_text("x = 1\n" * 500_000),
        "many": lambda path: [(path / f"{i}.py").touch() for i in range(600)],
    }
    for name, make in made.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder)
        result = graded(folder, backend, tmp_path)
        assert result["status"] == "CONTRACT" and result["checks"] == [], (name, result["told"])
        assert "PLANTED" not in json.dumps(result)
    (tmp_path / "whole").symlink_to(tmp_path / "many")
    assert "symbolic link" in graded(tmp_path / "whole", backend, tmp_path)["told"]


def test_names_that_would_leave_a_folder_stay_in_it(tmp_path):
    folder, into = submit(tmp_path / "card"), tmp_path / "into"
    into.mkdir()
    names = ["..\\outside.py", "...", "a\nb.py", "\x1b[2J.py", "C:evil.py", "\udcff.py", "..%2foutside.py"]
    for name in names:
        (folder / name).write_text("pass")
    files = copy_submission(folder, into)
    assert len(files) == 1 + sum(not name.startswith(".") for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card", "into"]
    assert (into / "..%2foutside.py").exists() is False and (into / "a\nb.py").is_file()
    json.dumps(files, ensure_ascii=False).encode()  # a name that is no text must not spoil the result


def test_too_many_that_run_out_end_a_card(tmp_path, backend):
    def waits(bench):
        with bench.solution(replace(LIMITS, seconds=0.2)) as worker:
            worker.call("walk", 1, 1, lambda value: value)

    card = replace(CARD, checks=tuple(Check("hidden", f"waits {number}", waits) for number in range(6)))
    text = SOLUTION.replace("    found = []", "    import time\n    time.sleep(60)\n    found = []")
    result = graded(submit(tmp_path / "toy", text), backend, tmp_path, card=card)
    assert [one["status"] for one in result["checks"]] == ["TIMEOUT"] * ENOUGH_ENDED
    assert result["n_checks"] == 6 and result["tests"] is None and result["reached"] == "prompt"


def test_a_check_that_trips_is_told_as_the_graders_own(tmp_path, backend):
    def trips(bench):
        raise KeyError("what")

    card = replace(CARD, checks=(Check("hidden", "trips", trips),))
    result = graded(submit(tmp_path / "toy"), backend, tmp_path, card=card)
    assert result["status"] == "WRONG_SHAPE" and "KeyError" in result["grader_errors"][0]


def test_what_a_check_tells_is_one_line_of_text(tmp_path, backend):
    def tells(bench):
        with bench.solution(LIMITS) as worker:
            raise Failed("WRONG_NUMERIC", f"found {worker.call('walk', 'x', 1, lambda value: value)[0]}")

    card = replace(CARD, checks=(Check("hidden", "tells", tells),))
    text = SOLUTION.replace("found.append(start)", "found.append('\\ud800\\x1b[2J\\n' * 1000)")
    result = graded(submit(tmp_path / "toy", text), backend, tmp_path, card=card)
    assert result["status"] == "WRONG_NUMERIC" and result["told"].isprintable() and len(result["told"]) < 650
    json.dumps(result, ensure_ascii=False).encode()


def test_results_lie_in_the_attempt(tmp_path, monkeypatch, backend):
    lines = []
    with pytest.raises(ConfigError, match="weightless deck deploy -n trial"):
        grade_all(tmp_path / "trial", (CARD,))
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "deck.json").write_text('{"variant": "literal"}')
    (result,) = grade_all(tmp_path / "trial", (CARD,), told=lines.append)
    assert result["status"] == "NO_SUBMISSION" and result["variant"] == "literal"
    assert json.loads((tmp_path / "trial/results/toy.json").read_text()) == result
    assert any("toy" in line and "NO_SUBMISSION" in line for line in lines)
    (tmp_path / "trial" / "deck.json").write_text('{"variant": "other"}')
    with pytest.raises(CorruptFileError, match="no variant"):
        variant_of(tmp_path / "trial")


def test_cards_are_found_by_their_folders():
    names = [card.name for card in catalog.cards()]
    assert len(names) == len(set(names))
    with pytest.raises(ConfigError, match="no card 'backwrds'"):
        catalog.card("backwrds")
    with pytest.raises(ConfigError, match="no card"):
        catalog.card("../cards")


def test_failed_refuses_what_is_no_failure():
    with pytest.raises(ValueError, match="no way to fail"):
        Failed("PASS", "well")


def test_the_grader_of_a_card_is_what_grading_it_runs():
    """What starts in a worker, and what a card imports, belong to it; what draws the board or asks a model does not."""
    used = set(grade._deck_files("flash_attention"))
    assert used >= {"grade.py", "worker.py", "stage.py", "sandbox.py", "comparing.py", "asking.py", *grade._SANDBOX}
    assert not used & {"board.py", "endpoint.py", "interview.py", "scaffold.py", "inspect_task.py"}
    assert "attention_truth.py" in used and "attention_truth.py" not in grade._deck_files("kv")
