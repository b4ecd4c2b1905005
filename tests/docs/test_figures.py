"""The figures of docs/algorithms are what figures.py draws today from the library.

Oracle: the committed SVG files, by their words and by how many shapes they hold (bytes differ between versions of
matplotlib, which writes them).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "algorithms"
SOURCES = str(FOLDER.parents[1] / "src")
LARGEST = 60_000


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> dict[str, str]:
    """{file name: SVG} drawn anew."""
    folder = tmp_path_factory.mktemp("figures")
    subprocess.run(
        [sys.executable, FOLDER / "figures.py", folder], check=True, env=os.environ | {"PYTHONPATH": SOURCES}
    )
    return {path.name: path.read_text("utf-8") for path in folder.iterdir()}


def words(svg: str) -> list[str]:
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def test_every_figure_is_committed_and_small(drawn):
    assert sorted(drawn) == sorted(path.name for path in FOLDER.glob("*.svg"))
    assert all(path.stat().st_size < LARGEST for path in FOLDER.glob("*.svg"))


def test_figures_show_what_the_library_does_today(drawn):
    for name, svg in drawn.items():
        kept = (FOLDER / name).read_text("utf-8")
        assert words(svg) == words(kept) and len(words(kept)) > 4, f"{name}: run docs/algorithms/figures.py"
        assert svg.count("<path") == kept.count("<path"), f"{name}: run docs/algorithms/figures.py"


def test_every_figure_is_shown_by_a_chapter(drawn):
    pages = [path.read_text("utf-8") for path in FOLDER.glob("*.md")]
    shown = {name for page in pages for name in re.findall(r"\]\(([\w.]+\.svg)\)", page)}
    assert shown == set(drawn)
