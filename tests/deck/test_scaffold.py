"""Deploying a deck: what document 001 asks of its script, and nothing half done.

Oracles: the list of folders and files that the document names; SHA-256 of what was written; the system's listing.
"""

from __future__ import annotations

import hashlib
import json

import pytest
from deck.stub_cards import CARDS, TEXTS, write_texts

from weightless.base.errors import ConfigError, CorruptFileError, NewerFileError, WeightlessError
from weightless.deck import scaffold
from weightless.deck.given import attempts_in, read_given
from weightless.deck.rubric import read_rubric, rubric_file, template
from weightless.deck.scaffold import deploy, guide
from weightless.deck.wording import asked_in_words


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(scaffold, "training_text", lambda: b"text\n")
    return write_texts(tmp_path / "cards")


@pytest.mark.parametrize("variant", ["literal", "clarified"])
def test_one_folder_a_card_and_text_for_one_of_them(tmp_path, root, variant):
    told = []
    folder = deploy("trial", tmp_path / "in" / "to", CARDS, variant, root=root, told=told.append)
    assert folder == tmp_path / "in/to/trial"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "deck.json",
        "easy/INTERFACE.md",
        "easy/PROMPT.md",
        "ternary_training/INTERFACE.md",
        "ternary_training/PROMPT.md",
        "ternary_training/train_data.txt",
    ]
    assert (folder / "easy/PROMPT.md").read_text() == TEXTS[f"{variant}.md"].format(card="easy")
    assert told == ["  [+] easy", "  [data] train_data.txt", "  [+] ternary_training"]
    given = read_given(folder)
    assert (given.variant, given.model, given.name) == (variant, "trial", "trial") and given.changed(folder) == []
    assert given.cards["ternary_training"]["train_data.txt"] == hashlib.sha256(b"text\n").hexdigest()
    (folder / "easy/PROMPT.md").write_text("Say yes.")
    (folder / "ternary_training/train_data.txt").unlink()
    assert given.changed(folder) == ["easy/PROMPT.md", "ternary_training/train_data.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["trial"]


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_what_is_there_is_never_touched(tmp_path, root, what):
    target = tmp_path / "trial"
    if what == "folder":
        target.mkdir()
    elif what == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(WeightlessError, match="exists already"):
        deploy("trial", tmp_path, CARDS, root=root)
    assert sorted(tmp_path.iterdir()) == before


def test_names_do_not_lead_out_and_nothing_is_left_of_what_failed(tmp_path, root, monkeypatch):
    with pytest.raises(ConfigError, match="is a path"):
        deploy("../x", tmp_path / "into", CARDS, root=root)
    (root / "ternary_training/interface.md").unlink()
    with pytest.raises(WeightlessError, match="lacks a part"):
        deploy("trial", tmp_path / "into", CARDS, root=root)
    assert list((tmp_path / "into").iterdir()) == []

    def interrupted():
        raise KeyboardInterrupt

    write_texts(tmp_path / "again")
    monkeypatch.setattr(scaffold, "training_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deploy("trial", tmp_path / "into", CARDS, root=tmp_path / "again")
    assert list((tmp_path / "into").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightlessError, match="nothing was made"):
        deploy("trial", tmp_path / "file", CARDS, root=root)


def test_the_guide_says_difficulty_order_and_who_reads_what(root):
    lines = "\n".join(guide(CARDS, root))
    assert "  medium\n    easy/" in lines and "  open-ended\n    ternary_training/" in lines
    assert "easy → ternary_training" in lines
    assert "1 checks (1 contract); read: 2 questions" in lines and "no checks; read" in lines


def test_deck_json_of_another_kind_is_one_line(tmp_path, root):
    folder = deploy("trial", tmp_path, CARDS, root=root)
    with pytest.raises(WeightlessError, match="no such folder"):
        read_given(tmp_path / "nothing")
    with pytest.raises(WeightlessError, match="was not made by"):
        read_given(tmp_path)
    found = json.loads((folder / "deck.json").read_text())
    for content, error in (
        ("[]", CorruptFileError),
        ("{", CorruptFileError),
        (json.dumps({**found, "deck": 2}), NewerFileError),
        (json.dumps({**found, "variant": "loud"}), CorruptFileError),
        (json.dumps({**found, "more": 1}), CorruptFileError),
    ):
        (folder / "deck.json").write_text(content)
        with pytest.raises(error):
            read_given(folder)


def test_attempts_are_found_in_folders_and_in_folders_of_folders_once(tmp_path, root):
    one, two = (deploy(name, tmp_path / "runs", CARDS, root=root) for name in ("one", "two"))
    assert attempts_in([tmp_path / "runs", one]) == [one, two]
    with pytest.raises(WeightlessError, match="holds no attempt"):
        attempts_in([root])


def test_questions_are_read_from_lists_and_from_tables(tmp_path):
    table = "Words.\n\n| question | 0 1 2 |\n|---|---|\n| Why? | |\n| What of a\\b? | |\n"
    for text, wanted in (
        (table, [("Why?", 2), ("What of a\\b?", 2)]),
        ("1. Why\n   not?\n2. So.\n* A.\n", [("Why not?", 1), ("So.", 1), ("A.", 1)]),
        ("Nothing.\n", []),
    ):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a/rubric.md").write_text(text)
        assert asked_in_words("a", tmp_path) == wanted


def test_a_rubric_is_filled_in_by_hand_and_never_overwritten(tmp_path, root):
    path = template(tmp_path, "easy", asked_in_words("easy", root))
    rubric = read_rubric(tmp_path, "easy")
    assert rubric and [point.asked for point in rubric.points] == [
        "Why does doubling work?",
        "What does it cost, in additions?",
    ]
    assert rubric.told() == "" and path == rubric_file(tmp_path, "easy")
    found = json.loads(path.read_text())
    found["points"][0]["given"] = 1
    path.write_text(json.dumps(found))
    assert template(tmp_path, "easy", []) == path
    assert (read := read_rubric(tmp_path, "easy")) and read.told() == "1 of 2 points read"
    found["points"][1].update(given=2, out_of=3)
    found["reader"] = "A. Reader"
    path.write_text(json.dumps(found))
    assert (read := read_rubric(tmp_path, "easy")) and read.told() == "3 of 4, read by A. Reader"
    for odd in ({"given": 3}, {"given": -1}, {"given": "two"}, {"score": 1}):
        path.write_text(json.dumps({**found, "points": [{**found["points"][0], **odd}]}))
        with pytest.raises(CorruptFileError):
            read_rubric(tmp_path, "easy")
    assert read_rubric(tmp_path, "other") is None
