"""Tables at any width: every figure of the wide table stands whole in the narrow one."""

from __future__ import annotations

import re

import pytest
from rich.table import Table

from weightless.cli.tables import print_table

FIGURE = re.compile(r"\d[\d,]*\.?\d*")
COMMANDS = {
    "one": ["count", "mixture"],
    "two": ["count", "dense", "feather"],
    "account": ["count", "gpt2-xl", "--training", "--flops"],
    "fit": ["fit", "ngram", "--touched", "1MB", "--stored", "160MB", "--optimizer_bytes", "1GB"],
}


@pytest.mark.parametrize("width", [80, 60, 24])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_figure_is_cut(name, width, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    code, wide, _ = command(*COMMANDS[name])
    assert code == 0
    monkeypatch.setenv("COLUMNS", str(width))
    code, narrow, _ = command(*COMMANDS[name])
    assert code == 0
    assert "…" not in narrow
    assert sorted(FIGURE.findall(narrow)) == sorted(FIGURE.findall(wide))


def test_figures_keep_their_units_and_names_are_folded(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    table = Table(title="sizes")
    table.add_column("model")
    table.add_column("stored", justify="right")
    table.add_column("found")
    table.add_row("a-name-that-no-terminal-has-room-for", "20,236,310 bytes", "1,234,567,890 of 2,345,678,901 agree")
    print_table(table)
    lines = capsys.readouterr().out
    for figure in ("20,236,310 bytes", "1,234,567,890", "2,345,678,901"):
        assert figure in lines, lines
    letters = "".join(re.findall(r"^│ +([a-z-]*) ", lines, re.MULTILINE))
    assert letters == "a-name-that-no-terminal-has-room-for"
