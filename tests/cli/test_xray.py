"""`weightless xray`: a page or the records are written, and bad input is told in one line before anything is.

Oracle: `record` of the same model and text.
"""

from __future__ import annotations

import json
import re

import pytest
from xray.models import TEXT, counted

from weightless.xray.record import record


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return counted(tmp_path_factory.mktemp("xrayed"), "ngram")


def test_records_and_pages_hold_what_the_model_touched(model, command, tmp_path):
    want = record(model, TEXT, top=2, limit=9)
    code, out, _ = command("xray", model, "--prompt", TEXT, "--top", "2", "--limit", "9", "--out", tmp_path / "x.json")
    assert code == 0 and json.loads((tmp_path / "x.json").read_text()) == [want] and "left off" in out
    (tmp_path / "text.txt").write_text(TEXT)
    places = ("--text", tmp_path / "text.txt", "--out", tmp_path / "x.html", "--top", "2", "--limit", "9")
    code, out, _ = command("xray", model, model, *places)
    page = (tmp_path / "x.html").read_text()
    assert code == 0 and json.loads(re.search(r'id="records">(.*?)</script>', page, re.S)[1]) == [want, want]


def test_a_folder_stands_for_its_model(model, command, tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "model.wl").write_bytes(model.read_bytes())
    code, _, _ = command("xray", tmp_path / "small", "--prompt", "a fox", "--out", tmp_path / "x.json")
    assert code == 0 and json.loads((tmp_path / "x.json").read_text())[0]["model"]["name"] == "small"


@pytest.mark.parametrize(
    "flags, words",
    [
        ((), "--prompt"),
        (("--text", "nowhere.txt"), "is no file"),
        (("--prompt", "a", "--text", "b"), "one of the two"),
        (("--prompt", "a fox", "--limit", "0"), "--limit 0"),
        (("--prompt", "a fox", "--top", "-1"), "--top -1"),
        (("--prompt", "a fox", "--out", "page.pdf"), ".html or .json"),
        (("--prompt", "a fox", "--out", "no/where/x.html"), "no folder no/where"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(model, command, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = command("xray", model, *flags)
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_the_text_is_not_replaced_by_its_page(model, command, tmp_path):
    text = tmp_path / "story.html"
    text.write_text(TEXT)
    for out, words in ((text, "is the text itself"), (tmp_path / "other.html", "is a folder")):
        (tmp_path / "other.html").mkdir(exist_ok=True)
        code, _, err = command("xray", model, "--text", text, "--out", out)
        assert code == 2 and words in err and text.read_text() == TEXT


def test_a_text_that_would_be_cut_in_silence_is_refused(model, command, tmp_path, monkeypatch):
    monkeypatch.setattr("weightless.cli.xray.MOST_TEXT", 20)
    (tmp_path / "long.txt").write_text(TEXT)
    code, _, err = command("xray", model, "--text", tmp_path / "long.txt", "--out", tmp_path / "x.html")
    assert code == 2 and "too long" in err and not (tmp_path / "x.html").exists()


def test_an_empty_text_is_told(model, command, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    code, _, err = command("xray", model, "--text", tmp_path / "empty.txt", "--out", tmp_path / "x.html")
    assert code == 2 and "too short" in err and not (tmp_path / "x.html").exists()
