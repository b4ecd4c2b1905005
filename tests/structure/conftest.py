"""One line about lengths at the end of a run of the structure tests."""

from __future__ import annotations

from pathlib import Path

from structure import form_rules
from structure.source_tree import Repository


def pytest_terminal_summary(terminalreporter):
    """Report what the style asks for but no hard rule can hold: the average length of a function.

    Not behind the whole suite over several workers, where reading all sources once more would be waited for.
    """
    if terminalreporter.config.getoption("numprocesses", None):
        return
    package = Repository(Path(__file__).resolve().parents[2]).package
    lengths = [length for source in package for _, length in form_rules.functions(source)]
    if lengths:
        mean, longest = sum(lengths) / len(lengths), max(lengths)
        terminalreporter.write_line(
            f"structure: {len(package)} files, {len(lengths)} functions, {mean:.1f} lines on average, longest {longest}"
        )
