"""The deck on the command line: deploy, grade, run, board, show, as a user types them.

Oracles: what document 001 asks of a scaffold; a loopback server that counts what it is asked; the status that an empty
folder has to get; the files that are there afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from deck.stub_endpoint import raw, says, serving

from weightless.deck import scaffold
from weightless.deck.catalog import cards

NAMES = [card.name for card in cards()]
ASKED = [name for name in NAMES if name != scaffold.TRAINED_CARD]
ANSWER = "```python solution.py\ndef nothing():\n    return None\n```\n"


@pytest.fixture(autouse=True)
def small_text(monkeypatch):
    monkeypatch.setattr(scaffold, "training_text", lambda: b"text\n")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_deploy_grade_and_board_of_an_empty_folder(command, here):
    code, out, err = command("deck", "deploy", "-n", "trial")
    assert code == 0 and err == ""
    assert all(f"[+] {name}" in out and f"{name}/" in out for name in NAMES) and f"{len(NAMES)} challenges" in out
    assert " → ".join(NAMES[:2]) in out and "read: " in out
    assert sorted(path.name for path in (here / "trial").iterdir()) == sorted([*NAMES, "deck.json"])

    code, out, err = command("deck", "deploy", "-n", "trial")
    assert code == 2 and "exists already" in err and out == ""

    code, out, err = command("deck", "grade", "trial", "--json")
    if code == 2 and "--unsandboxed" in err:
        pytest.skip("nothing here can lock a solution in")
    results = json.loads(out)
    assert code == 1 and [r["status"] for r in results] == ["NO_SUBMISSION"] * len(NAMES)
    assert sorted(path.name for path in (here / "trial/results").iterdir()) == sorted(f"{name}.json" for name in NAMES)

    code, out, _ = command("deck", "board", ".", "--out", "b")
    assert code == 0 and f"0/{len(NAMES)}  trial (clarified)" in out
    assert "no answer" in (here / "b/board.html").read_text() and "trial" in (here / "b/board.md").read_text()


def test_a_card_that_passes_gives_zero_and_one_that_does_not_gives_one(command, here, monkeypatch):
    """The grader is replaced by one that writes what it would: what is looked at here is the command line."""
    from deck.stub_results import write_attempt, write_result

    from weightless.deck import grade

    def written(attempt, chosen, **more):
        for number, card in enumerate(chosen):
            write_result(attempt, card.name, "hidden" if number else "")
        return []

    monkeypatch.setattr(grade, "grade_all", written)
    write_attempt(here, "trial", NAMES)
    code, out, _ = command("deck", "grade", "trial", "--card", NAMES[0])
    assert code == 0 and "1 of 1 passed" in out and "✓✓✓✓✓" in out
    assert json.loads((here / f"trial/results/{NAMES[0]}.rubric.json").read_text())["points"]
    code, out, _ = command("deck", "grade", "trial", "--card", *NAMES[:2])
    assert code == 1 and "1 of 2 passed" in out and "✓✓✗✓✓" in out and "WRONG_NUMERIC" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("deploy", "-n", "../x"), "is a path"),
        (("deploy", "--name", "/x"), "is a path"),
        (("deploy", "-n", ""), "empty"),
        (("deploy", "-n", "x" * 5000), "5000 characters"),
        (("deploy", "-n", "nul"), "device"),
        (("grade", "nowhere"), "deck deploy -n nowhere"),
        (("grade", "."), "no folder of any card"),
        (("grade", ".", "--card", "backward"), "did you mean 'backwards'"),
        (("board",), "no folder given"),
        (("board", "nowhere"), "no such folder"),
        (("board", "."), "holds no attempt"),
        (("show", "backward"), "did you mean 'backwards'"),
        (("run", "m", "--endpoint", "localhost"), "--endpoint 'localhost' is no address"),
        (("run", "m", "--endpoint", "http://h/v1", "--key_variable", "NO_SUCH_KEY_HERE"), "NO_SUCH_KEY_HERE"),
        (("run", "m", "--endpoint", "http://h/v1", "--price_in", "1"), "give both or none"),
        (("run", "m", "--endpoint", "http://h/v1", "--attempts", "0"), "at least 1"),
        (("run", "m", "--endpoint", "http://h/v1", "-n", "../x"), "is a path"),
        (("run", "m", "--endpoint", "http://h/v1", "--retries", "-1"), "negative"),
        (("run", "m", "--endpoint", "http://h/v1", "--timeout", "0"), "--timeout"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_made(command, here, words, told):
    code, out, err = command("deck", *words)
    assert code == 2 and told in err and err.count("\n") == 1 and out == "", err
    assert list(here.iterdir()) == []


def test_run_asks_all_cards_and_goes_on_where_it_stopped(command, here, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    words = [
        "deck",
        "run",
        "org/m:1",
        "--key_variable",
        "MY_KEY",
        "--temperature",
        "0",
        "--seed",
        "7",
        "--attempts",
        "2",
    ]
    words += ["--price_in", "1", "--price_out", "2", "--retries", "0"]
    bad = raw(b'{"error": "too long"}', 413)
    with serving(says(ANSWER), bad, says(ANSWER)) as (url, asked):
        code, out, err = command(*words, "--endpoint", url)
        assert code == 1 and "too long" in err and len(asked) == 2 * len(ASKED)
        n, made = len(asked), sorted(path.name for path in here.iterdir())
        code, out, err = command(*words, "--endpoint", url)
        assert len(asked) == n + 1 and code == 1  # the one without an answer again; all miss the pinned names
        assert f"org-m-1: {len(ASKED)} answers" in out and "not asked: ternary_training" in out
        code, _, err = command(*words, "--endpoint", url, "--top_p", "0.5")
        assert code == 2 and "sampling" in err and "choose another name" in err
    assert made == ["org-m-1", "org-m-1.2"] and {a["body"]["seed"] for a in asked} == {7, 8}
    assert asked[0]["key"] == "Bearer s3cret" and asked[0]["body"]["temperature"] == 0
    for name in ASKED:
        assert (here / "org-m-1.2" / name / "solution.py").read_text() == "def nothing():\n    return None\n"
    assert "s3cret" not in "".join(p.read_text() for p in here.rglob("*") if p.is_file() and p.suffix != ".txt")
    code, _, err = command("deck", "run", "other", "-n", "org-m-1", "--endpoint", "http://h/v1")
    assert code == 2 and "is for 'org/m:1'" in err


def test_run_leaves_the_solution_of_somebody_else_alone(command, here):
    assert command("deck", "deploy", "-n", "mine")[0] == 0
    (here / "mine" / NAMES[0] / "solution.py").write_text("x = 1\n")
    code, _, err = command("deck", "run", "mine", "--endpoint", "http://h/v1")
    assert code == 2 and "a solution of somebody else" in err


def test_run_stops_at_an_endpoint_that_takes_no_questions(command, here):
    with serving(raw(b'{"error": {"message": "bad key"}}', 401)) as (url, asked):
        code, _, err = command("deck", "run", "m", "--endpoint", url)
    assert code == 2 and "401: bad key" in err and len(asked) == 1


def test_show_lists_cards_and_shows_one_and_writes_our_solution(command, here):
    code, out, _ = command("deck", "show")
    assert code == 0 and all(name in out for name in NAMES)
    code, out, _ = command("deck", "show", NAMES[0], "--variant", "literal")
    assert code == 0 and all(
        part in out for part in ("The prompt, literal wording", "The interface", "Traps", "checks")
    )
    code, out, _ = command("deck", "show", NAMES[0], "--solution", "ours")
    assert code == 0 and (here / "ours/solution.py").exists()
    environment = {**os.environ, "PYTHONPATH": ""}
    words = [sys.executable, "-c", "import solution, sys; print('torch' in sys.modules)"]
    done = subprocess.run(words, cwd=here / "ours", env=environment, capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
    code, _, err = command("deck", "show", NAMES[0], "--solution", "ours")
    assert code == 2 and "not empty" in err
