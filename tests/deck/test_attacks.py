"""Attacks on the grader: each ends with its status, learns no secret, changes nothing, and leaves nothing behind.

Every file of attacks/ says in its first line what it tries, and in the last line of its docstring the statuses that it
may get (PASS where the answer is right and the attack is on something else).  A secret lies in the grader's
environment, in a file beside the submission and in the grader's memory; an attack that finds something raises it, so
that it would stand in the result.  Oracle: the statuses in the files, and what /proc lists afterwards.
"""

from __future__ import annotations

import ast
import json
import os
import time
from pathlib import Path

import pytest
from deck.toy_card import CARD, SOLUTION, ours, submit

from weightless.base.errors import ConfigError
from weightless.deck import catalog
from weightless.deck.grade import grade_card
from weightless.deck.interpreter import worker_interpreter
from weightless.deck.sandbox import Backend, strongest
from weightless.deck.watching import children

ATTACKS = sorted((Path(__file__).parent / "attacks").glob("*.py"))
ON_A_REAL_CARD = {
    "answers_twice",
    "children_with_memory",
    "connects",
    "equals_everything",
    "exits_with_zero",
    "fork_bomb",
    "hostile_text",
    "huge_integer",
    "huge_map",
    "kills_everybody",
    "leaves_a_daemon",
    "user_namespace",
    "nested_message",
    "patches_numpy",
    "patches_the_worker",
    "pickled_array",
    "reads_environments",
    "reads_files",
    "reads_memory",
    "removes_its_folder",
    "sleeps",
    "writes_to_the_pipe",
    "zeros",
}
"""Tried behind the pinned names of a real card, too."""
SECRET = "PLANTED-4f1d7c"
PINNED = """

def layer_norm_forward(x, gamma, beta, eps=1e-5):
    return row_energy(x), x


def layer_norm_backward(dy, cache):
    return row_energy(dy), row_energy(dy), row_energy(dy)


def gradient_check(x, gamma, beta, dy, eps=1e-5, forward=None, backward=None):
    return row_energy(x)
"""
LONGEST_SECONDS = 60.0


@pytest.fixture(scope="module")
def backend():
    return strongest()


def graded(folder, backend, tmp_path):
    return grade_card(CARD, folder, backend, seed=3, ours=ours(tmp_path / "ours"))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda path: path.stem)
def test_attack_gets_its_status_and_nothing_else(tmp_path, monkeypatch, backend, attack):
    held(tmp_path, monkeypatch, backend, attack)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda path: path.stem)
def test_attack_in_the_next_backend(tmp_path, monkeypatch, attack):
    try:
        backend = strongest(only="unshare")
    except ConfigError as error:
        pytest.skip(str(error))
    held(tmp_path, monkeypatch, backend, attack)


@pytest.mark.parametrize("name", ["leaves_a_daemon", pytest.param("answers_twice", marks=pytest.mark.slow)])
def test_attack_without_walls(tmp_path, monkeypatch, name):
    """What needs no wall holds without one: messages are checked, and nothing is left behind."""
    backend = Backend("plain", worker_interpreter(), ("UNSANDBOXED",))
    held(tmp_path, monkeypatch, backend, next(path for path in ATTACKS if path.stem == name))


def held(tmp_path, monkeypatch, backend, attack):
    """One attack, and all that must be so afterwards."""
    wanted = ast.get_docstring(ast.parse(attack.read_text())).splitlines()[-1].split()
    monkeypatch.setenv("PLANTED_SECRET", SECRET)
    (tmp_path / "planted-secret.txt").write_text(SECRET)
    folder = submit(tmp_path / "toy", attack.read_text())
    before, orphans, began = set(children(os.getpid())), orphaned_workers(), time.monotonic()
    result = graded(folder, backend, tmp_path)
    assert result["status"] in wanted, (result["status"], result["told"])
    assert "PLANTED" not in json.dumps(result), result["told"]
    assert set(children(os.getpid())) == before and orphaned_workers() == orphans
    assert time.monotonic() - began < LONGEST_SECONDS
    assert result["told"].isprintable() and len(result["told"]) < 700
    assert not result["grader_errors"], result["grader_errors"]
    assert (folder / "solution.py").read_text() == attack.read_text()


def test_verdict_on_the_next_solution_is_what_it_was(tmp_path, backend):
    names = ("patches_numpy", "removes_its_folder", "leaves_a_daemon", "changes_numpy_state")
    for name in names:
        text = next(path.read_text() for path in ATTACKS if path.stem == name)
        grade_card(CARD, submit(tmp_path / name, text), backend, seed=1, ours=ours(tmp_path / f"ours-{name}"))
    result = graded(submit(tmp_path / "toy", SOLUTION), backend, tmp_path)
    assert result["status"] == "PASS", result["told"]


def orphaned_workers():
    """Processes of the machine that were workers and hang under its first process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line, parent = (path / "cmdline").read_bytes(), (path / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"worker.py" in line and parent == "1":
            found.add(path.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ON_A_REAL_CARD))
def test_attack_on_a_real_card(tmp_path, monkeypatch, backend, name):
    """The same code behind the pinned names of `backwards`: never PASS, no secret, nothing left."""
    if "backwards" not in [card.name for card in catalog.cards()]:
        pytest.skip("the card is not there yet")
    text = next(path.read_text() for path in ATTACKS if path.stem == name) + PINNED
    monkeypatch.setenv("PLANTED_SECRET", SECRET)
    (tmp_path / "planted-secret.txt").write_text(SECRET)
    before = set(children(os.getpid()))
    result = grade_card(catalog.card("backwards"), submit(tmp_path / "card", text), backend, seed=3)
    assert result["status"] != "PASS" and "PLANTED" not in json.dumps(result), result["told"]
    assert set(children(os.getpid())) == before and not result["grader_errors"], result["grader_errors"]


def test_every_attack_says_what_it_tries():
    assert len(ATTACKS) >= 40
    for path in ATTACKS:
        lines = ast.get_docstring(ast.parse(path.read_text())).splitlines()
        assert lines[0].endswith(".") and len(lines) == 3, path.name
    assert {path.stem for path in ATTACKS} >= ON_A_REAL_CARD
