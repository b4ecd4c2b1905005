"""The examples in the documents are true: every `>>>` in a python block under docs/ is executed, in order.

Oracle: what stands in the document.  Blocks of one document share their names, as in a session.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
WITH_EXAMPLES = sorted(path for path in DOCS.rglob("*.md") if re.search(r"^>>> ", path.read_text("utf-8"), re.M))


def examples_of(text: str, name: str) -> doctest.DocTest:
    """The python blocks as one doctest; all other lines are emptied, so that line numbers stay true."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line in ("```python", "```pycon") and not inside
            line = ""
        lines.append(line if inside else "")
    return doctest.DocTestParser().get_doctest("\n".join(lines) + "\n", {"__name__": name}, name, name, 0)


def failures_of(text: str, name: str) -> list[str]:
    """What each wrong example printed instead."""
    found: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(examples_of(text, name), out=found.append)
    return found


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_examples(path):
    text = path.read_text("utf-8")
    assert len(examples_of(text, path.name).examples) == len(re.findall(r"^>>> ", text, re.M)), (
        "example outside a block"
    )
    failed = failures_of(text, path.name)
    assert not failed, "".join(failed)


def test_pages_of_every_folder_are_among_them():
    found = {path.relative_to(DOCS).as_posix() for path in WITH_EXAMPLES}
    assert {"unicode.md", "algorithms/layer_norm.md"} <= found


def test_a_wrong_example_is_found():
    good = "Text >>> no example\n```python\n>>> 1 + 1\n2\n```\nmore\n```sh\n>>> not python\n```\n"
    assert not failures_of(good, "x") and len(examples_of(good, "x").examples) == 1
    (report,) = failures_of(good.replace("\n2\n", "\n3\n"), "x")
    assert "line 3" in report and "Got:\n    2" in report
