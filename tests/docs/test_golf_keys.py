"""docs/golf.md explains every key of submission.json in the words of the schema: the table is made from it."""

from __future__ import annotations

from pathlib import Path

from weightless.golf.schema import KEYS, KINDS

PAGE = Path(__file__).parents[2] / "docs" / "golf.md"


def table() -> list[str]:
    rows = [f"| `{key.name}` | {KINDS[key.kind][0]} | {key.needed_by} | {key.text} |" for key in KEYS]
    return ["| key | holds | needed by | what |", "|---|---|---|---|", *rows]


def test_the_table_of_keys_is_the_schemas():
    assert "\n".join(table()) in PAGE.read_text(encoding="utf-8")
