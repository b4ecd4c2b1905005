"""Help: every flag of every verb is described with its default, fractions say so, and arguments have names.

The oracle of the text is the dataclass itself: a field without a docstring is a flag that help cannot describe.
"""

from __future__ import annotations

import re

import pytest

from weightless.cli import data, deck, golf, tokenizer
from weightless.cli.main import VERBS

SUB_VERBS = {
    "tokenizer": "train encode decode convert compare sweep study",
    "data": "prepare import inspect verify",
    "deck": "deploy grade run board show",
    "golf": "build check compare logs",
}
COMMANDS = [
    *(verb.split() for verb in VERBS if verb not in SUB_VERBS),
    *([verb, sub] for verb, subs in SUB_VERBS.items() for sub in subs.split()),
    ["train", "feather"],
    ["count", "--training"],
]


def entries(text):
    """{a flag or argument, as help heads it: what help says of it}; a box (or blanks, in ASCII) stands around all."""
    found, name = {}, ""
    for line in text.splitlines():
        if not re.match(r"[│|] |  (?! *$)|   +--", line) or "[-h]" in line:
            continue
        line = line[2:].rstrip(" │|")
        if not line.startswith(" "):  # what goes on with an entry is indented
            name, _, line = line.partition("  ")
            found[name] = ""
        found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return found


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_flag_is_described_with_its_default(words, command):
    code, out, _ = command(*words, "--help")
    assert code == 0
    found = entries(out)
    assert len(found) > 1, out
    for name, text in found.items():
        if name.startswith("-h"):
            continue
        described = re.sub(r"\((default: .*|required)\)$", "", text).strip()
        assert len(described.split()) > 1, f"{' '.join(words)}: {name} is not described: {text!r}"
        assert described != text, f"{' '.join(words)}: {name} shows no default: {text!r}"
        assert not re.match(r"\[*(STR|INT|FLOAT)", name), f"{' '.join(words)}: an argument is called {name}"
        assert "--no-no-" not in name


@pytest.mark.parametrize("flag", ["warmup", "warmdown", "min-lr-ratio", "qat-start", "beta1", "beta2"])
def test_fractions_say_that_they_are_fractions(flag, command):
    text = next(text for name, text in entries(command("train", "--help")[1]).items() if name.startswith(f"--{flag} "))
    assert "0 to 1" in text


@pytest.mark.parametrize("verb, subs", SUB_VERBS.items())
def test_sub_verbs_have_a_line_each(verb, subs, command):
    code, out, _ = command(verb, "--help")
    assert code == 0
    for sub in subs.split():
        assert re.search(rf"^  {sub} +\w+ \w+", out, re.MULTILINE), out


def test_the_list_of_sub_verbs_is_whole(monkeypatch):
    known = {}
    for verb, room in (("tokenizer", tokenizer), ("data", data), ("deck", deck), ("golf", golf)):
        monkeypatch.setattr(room, "pick", lambda verb, _, found: (known.update({verb: found}), (lambda rest: 0, []))[1])
        room.main(verb, [])
    assert {verb: " ".join(found) for verb, found in known.items()} == SUB_VERBS


@pytest.mark.parametrize("spelling", ["--no_wandb", "--no-wandb"])
def test_both_spellings_of_no_wandb_are_taken(spelling, command):
    code, _, err = command("train", spelling, "--data", "nowhere", "--text", "nowhere.txt")
    assert code == 2 and "nowhere.txt" in err and "wandb" not in err


def test_help_of_train_names_the_family_that_was_asked_for(command, monkeypatch):
    found = entries(command("train", "feather", "--help")[1])
    assert "(default: feather)" in found["--family STR"]
    assert len(found) > 50  # the reading above misses none
