"""Oracles: what the planted study says, an HTML parser of the standard library, and Chromium's count of pages."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from study.planted import CELLS, cell, evidence, lost, study_of, trained

from weightless.base.errors import ConfigError
from weightless.study.writeup import write

HOSTILE = '<script>alert(1)</script>"&|`x`\u202e'
VOID = {"meta", "br", "line", "path", "circle", "rect", "polygon"}


class Balanced(HTMLParser):
    """Every tag that opens closes, in order; what a page would load is gathered."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href") and not (v or "").startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)


def parsed(page):
    reader = Balanced()
    reader.feed(page)
    assert not reader.open and not reader.loads and "url(http" not in page
    return reader


@pytest.mark.parametrize("kind", sorted(set(CELLS) - {"frontier"}))
def test_every_kind_is_written_whole(kind, tmp_path):
    path = write(study_of(kind), tmp_path)
    assert path == tmp_path / "writeup.html"
    parsed(path.read_text())
    markdown = (tmp_path / "writeup.md").read_text()
    drawn = re.findall(r"\]\((figure-[\w-]+\.svg)\)", markdown)
    assert len(drawn) >= 3
    for name in drawn:
        ElementTree.fromstring((tmp_path / name).read_text())
    assert f"weightless study studies/{kind}.toml" in markdown and "0e82b27" in markdown
    assert (tmp_path / "all.md").read_text().count("\n| ") >= len(study_of(kind).cells)


def test_the_three_ways_to_fail_are_three_things(tmp_path):
    page = write(study_of("ablations"), tmp_path).read_text()
    assert "Diverged (" in page and "Lost (" in page and "Failed (" not in page
    assert "no-norm, seeds 0, 1, 2: loss nan at step 310 of 2000" in page and "2 done, 1 lost" in page
    words = re.findall(r'class="word (\w+)"', page)
    assert words == ["refuted", "confirmed", "confirmed", "undecided"]
    assert "not told apart from nope" in page and "no arm is called the best" in page


def test_a_single_seed_says_so_everywhere(tmp_path):
    write(study_of("ablations", seeds=1), tmp_path)
    table = [line for line in (tmp_path / "writeup.md").read_text().splitlines() if line.startswith("| p")]
    assert len(table) == 2 and all("single seed" in line and "±" not in line for line in table)
    page = (tmp_path / "writeup.html").read_text()
    assert "A single seed says nothing about chance" in page


def test_strangers_names_stay_text(tmp_path):
    cells = [trained(HOSTILE + str(i), seed, 2.0 + i, {HOSTILE: HOSTILE}) for i in (0, 1) for seed in (0, 1)]
    cells.append(lost(HOSTILE, 0, reason=HOSTILE, status="failed"))
    study = evidence(cells, machine={"cpu": HOSTILE}, command=HOSTILE, commit=HOSTILE)
    page = write(study, tmp_path).read_text()
    assert parsed(page).tags.count("script") == 1 and "<script>alert" not in page and "\u202e" not in page
    for drawing in tmp_path.glob("*.svg"):
        ElementTree.fromstring(drawing.read_text())
    for name in ("writeup.md", "all.md"):
        rows = [line for line in (tmp_path / name).read_text().splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows[:3]}) == 1, "one number of columns"


def test_many_arms_are_shortened_with_a_count(tmp_path):
    cells = [trained(f"arm {i:02d}", seed, 2.0 + 0.01 * i) for i in range(40) for seed in (0, 1)]
    page = write(evidence(cells), tmp_path).read_text()
    assert "14 of 40 arms" in page and "All 40 arms" in page
    printed = page.split("<details>")[0]
    assert "arm 00" in printed and "arm 39" not in printed.split("<tbody>")[1]
    assert (tmp_path / "all.md").read_text().count("| arm 39 |") == 3


def test_nothing_done_is_a_page_too(tmp_path):
    page = write(evidence([cell("A", 0, status="missing"), cell("B", 0, status="running")]), tmp_path).read_text()
    parsed(page)
    assert "No arm has a loss yet." in page and "Not begun" in page and "Still running" in page


def test_texts_are_not_compared_with_one_another(tmp_path):
    """Fables lie 0.3 bits below books at any rate: no arm of books is held to an arm of fables."""
    write(study_of("lr"), tmp_path)
    table = (tmp_path / "writeup.md").read_text().split("## Arms")[1]
    assert table.count("| base |") == 2
    gaps = [float(x) for x in re.findall(r"\| ([+-][\d.]+) ±[^|]*bits", table)]
    assert gaps and max(gaps) < 0.5


def test_a_prediction_of_nobody_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no arm 'C'"):
        write(evidence([cell("A", 0, 1.0)], ["A < C"]), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(CELLS))
def test_it_prints_on_two_pages(kind, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium to print with")
    page = write(study_of(kind), tmp_path)
    pdf = tmp_path / "page.pdf"
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    command = [browser, *options, "--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) <= 2


def test_points_are_asked_of_the_law_that_they_name(tmp_path):
    from weightless.study.gathered import gathered
    from weightless.study.scaling import laws, laws_told

    told = study_of("scaling")
    at = [
        {"family": "dense", "parameters": 1e7, "tokens": 1e9},
        {"tokens": 1e9},
        {"family": "ngram", "parameters": 1e7, "tokens": 1e9},
    ]
    g = gathered(replace(told, study={**told.study, "scaling": {"at": at}}))
    lines = [line for line in laws_told(g, laws(g)) if " at " in line and line.startswith("dense")]
    assert len(lines) == 2
    assert lines[0].startswith("dense at 1e+07 parameters, 1e+09 tokens: 0.6")
    assert "2 times the largest parameters, 10 times the largest tokens" in lines[0]
    assert lines[1] == "dense at 1e+09 tokens: not asked, the point names no parameters."


def test_a_winner_over_one_other_arm_is_said_in_the_singular(tmp_path):
    write(
        evidence([cell(arm, seed, loss + seed / 100) for arm, loss in (("A", 1.0), ("B", 2.0)) for seed in range(3)]),
        tmp_path,
    )
    assert "told apart from the other arm (Holm, 5 %)." in (tmp_path / "writeup.md").read_text()
