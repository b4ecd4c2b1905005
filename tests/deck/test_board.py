"""The board: what it counts, how it orders, what it warns of, and that nothing of a stranger's text becomes markup.

Oracles: counts made by hand; Wilson's interval as the roots of its defining equation; Python's own HTML parser; the
files that the links name.
"""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from deck.stub_results import many_attempts, write_attempt, write_result

from weightless.base.errors import CorruptFileError
from weightless.deck.board import page
from weightless.deck.board_markdown import markdown
from weightless.deck.card import Card
from weightless.deck.results import read_result
from weightless.deck.rubric import template
from weightless.deck.standing import Z, doubts, level_with, read_attempt, standings, wilson

NAMES = ["alpha", "beta", "gamma"]
CARDS = [Card(name, name.title(), "medium", i, ()) for i, name in enumerate(NAMES)]


class Parsed(HTMLParser):
    """Tags with attributes and all text; a tag that is closed but not opened, or left open, is an error."""

    void = frozenset(("meta", "img", "br", "link"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.text = list[tuple[str, dict[str, str | None]]](), list[str](), ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def rows_of(*folders):
    return standings([read_attempt(folder, NAMES) for folder in folders], NAMES)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (3, 8), (40, 64), (8, 8), (0, 100)])
def test_wilson_bounds_solve_their_equation(k, n):
    """Oracle: the bounds are those p at which k/n is 1.96 standard errors of p away: (k/n - p)^2 = z^2 p(1 - p)/n."""
    for p in wilson(k, n):
        assert 0 <= p <= 1
        assert math.isclose((k / n - p) ** 2, Z * Z * p * (1 - p) / n, rel_tol=1e-9, abs_tol=1e-15)
    assert wilson(k, n)[0] <= k / n <= wilson(k, n)[1]
    assert wilson(0, 0) == (0.0, 1.0)


def test_rows_are_counted_and_ranked_within_a_wording(tmp_path):
    folders = [
        write_attempt(tmp_path, name, NAMES, model=name[0], variant=v)
        for name, v in (
            ("a1", "clarified"),
            ("a2", "clarified"),
            ("b1", "clarified"),
            ("c1", "clarified"),
            ("a3", "literal"),
            ("d1", "clarified"),
        )
    ]
    a1, a2, b1, c1, a3, d1 = folders
    for card in NAMES:
        write_result(a1, card)
        write_result(a3, card, "prompt")
    write_result(a2, "alpha", "hidden")
    write_result(b1, "alpha")
    write_result(b1, "beta", "contract", "CONTRACT")
    write_result(c1, "alpha", "none")
    write_result(c1, "beta")
    rows = rows_of(*folders)
    assert [(row.model, row.variant, row.rank, row.passes, row.n) for row in rows] == [
        ("a", "clarified", 1, 3, 4),
        ("b", "clarified", 2, 1, 2),
        ("c", "clarified", 2, 1, 2),
        ("d", "clarified", 4, 0, 0),
        ("a", "literal", 1, 0, 3),
    ]
    cell = rows[0].cells["alpha"]
    assert [result.reached for result in cell.results] == [5, 2] and cell.share(2) == 1 and cell.share(3) == 0.5
    assert cell.decisive and cell.decisive.failed_level == "hidden"
    assert [row.model for row in level_with(rows)] == ["b", "c"]


@pytest.mark.parametrize("n", [1, 3, 14])
def test_the_page_is_whole_and_its_links_lead_to_files(tmp_path, n):
    folders = many_attempts(tmp_path / "runs", n, NAMES)
    (tmp_path / "board").mkdir()
    rows = rows_of(*folders)
    found = Parsed(page(rows, CARDS, "three", tmp_path / "board"))
    links = [attributes["href"] or "" for tag, attributes in found.tags if tag == "a"]
    ids = {attributes.get("id") for _, attributes in found.tags}
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
        elif not link.endswith(tuple(NAMES)):  # the folder of files, which nobody handed in here
            assert (tmp_path / "board" / unquote(link)).is_file(), link
    assert len([link for link in links if link.endswith(".json")]) == sum(row.n for row in rows)
    assert not [value for _, a in found.tags for key, value in a.items() if key in ("src", "onclick")]
    assert all(row.model in found.text for row in rows)
    assert found.tags.count(("details", {"id": "row0", "open": "open"})) == (len(rows) <= 4)


def test_text_of_strangers_is_shown_and_never_markup(tmp_path):
    evil = "<script>alert(1)</script> | `x` [a](javascript:b) \x1b[31m \u202e"
    folder = write_attempt(tmp_path, "a", NAMES, model=evil)
    write_result(folder, "alpha", "hidden", told=evil)
    rows = rows_of(folder)
    text = page(rows, CARDS, evil, tmp_path)
    assert sum(tag == "script" for tag, _ in Parsed(text).tags) == 1 and "\x1b" not in text and "\u202e" not in text
    table = markdown(rows, CARDS, evil, tmp_path)
    assert "<script" not in table.replace("\\<", "") and "\x1b" not in table and "[a](" not in table.replace("\\[", "")
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_what_makes_grades_doubtful_is_said_first(tmp_path):
    one, two = (write_attempt(tmp_path, name, NAMES) for name in "ab")
    write_result(one, "alpha")
    write_result(two, "alpha")
    assert doubts(rows_of(one, two)) == []
    write_result(two, "alpha", sandbox={"backend": "plain", "sandboxed": False, "stamp": "UNSANDBOXED: beware; second"})
    write_result(two, "beta", hashes={"grader": "1" * 64})
    write_result(one, "beta")
    given = json.loads((one / "deck.json").read_text())
    (one / "deck.json").write_text(json.dumps({**given, "cards": {**given["cards"], "alpha": {"PROMPT.md": "0"}}}))
    (one / "beta").mkdir()
    (one / "beta/solution.py").write_text("x = 1\n")  # after its grading
    (one / "alpha").mkdir()
    (one / "alpha/solution.py").symlink_to("/dev/zero")  # which is refused, and not read
    rows = rows_of(one, two)
    told = doubts(rows)
    assert len(told) == 4 and told.pop(2) == "Not what was graded any more: a/beta. Grade again."
    assert "without a sandbox" in told[0] and "a/alpha/PROMPT.md" in told[1]
    assert "beta was graded by different graders" in told[2]
    for text in (page(rows, CARDS, "t", tmp_path), markdown(rows, CARDS, "t", tmp_path)):
        assert "without a sandbox" in text and "UNSANDBOXED: beware" in text


def test_write_ups_stand_beside_and_change_no_count(tmp_path):
    folder = write_attempt(tmp_path, "a", NAMES)
    write_result(folder, "alpha")
    before = rows_of(folder)[0]
    path = template(folder, "alpha", [("Why?", 2)])
    found = json.loads(path.read_text())
    found["points"][0]["given"], found["reader"] = 1, "N. N."
    path.write_text(json.dumps(found))
    after = rows_of(folder)[0]
    assert (after.passes, after.n, after.levels) == (before.passes, before.n, before.levels)
    for text in (page([after], CARDS, "t", tmp_path), markdown([after], CARDS, "t", tmp_path)):
        assert "1 of 2, read by N. N." in text


@pytest.mark.parametrize(
    "odd", [{"status": "FINE"}, {"checks": [{"level": "easy"}]}, {"checks": None}, {"sandbox": []}, {"card": "beta"}]
)
def test_a_file_that_is_no_result_is_named(tmp_path, odd):
    folder = write_attempt(tmp_path, "a", NAMES)
    write_result(folder, "alpha")
    path = folder / "results/alpha.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **odd}))
    with pytest.raises(CorruptFileError, match=r"alpha\.json"):
        read_result(folder, "alpha")
    assert read_result(folder, "gamma") is None


def test_nothing_graded_is_a_board_too(tmp_path):
    rows = rows_of(write_attempt(tmp_path, "a", NAMES))
    assert "Nothing is graded yet" in Parsed(page(rows, CARDS, "t", tmp_path)).text
    assert "not graded" in markdown(rows, CARDS, "t", tmp_path)
