"""The texts of a card: which files there are, and where; read, never run (floor 9, no PyTorch).

prompt_of("kv", "literal")   interface_of("kv")   traps_of("kv")   asked_in_words("kv")
"""

from __future__ import annotations

import re
from pathlib import Path

from weightless.base.errors import WeightlessError

CARDS = Path(__file__).parent / "cards"
_ITEM = re.compile(r"(?:[-*]|\d{1,2}\.) +(.*)")


def prompt_of(card: str, variant: str, root: Path = CARDS) -> str:
    """The prompt in one wording: literal (with the known defects) or clarified."""
    return _text(root / card / f"{variant}.md")


def interface_of(card: str, root: Path = CARDS) -> str:
    """Pinned names, argument order, shapes, dtypes, hooks."""
    return _text(root / card / "interface.md")


def traps_of(card: str, root: Path = CARDS) -> str:
    """What goes wrong here, how it shows, what is right: for those who teach, not for those who are tested."""
    return _text(root / card / "traps.md")


def asked_in_words(card: str, root: Path = CARDS) -> list[tuple[str, int]]:
    """What the prompt asks to be explained: (question, points) of each item of a list or row of a table in rubric.md.

    Points are 1, or in a table the largest digit of the second heading ("0 1 2").
    """
    questions: list[tuple[str, int]] = []
    points = 0
    for line in _text(root / card / "rubric.md").splitlines():
        if line.startswith("|"):
            first, *rest = (cell.strip() for cell in line.strip("| ").split("|"))
            if not points:
                points = max((int(digit) for digit in "".join(rest) if digit.isdigit()), default=1)
            elif first.strip(":- "):
                questions.append((first, points))
        elif item := _ITEM.match(line):
            questions.append((item[1].strip(), 1))
        elif line.startswith("  ") and questions:
            questions[-1] = (f"{questions[-1][0]} {line.strip()}", questions[-1][1])
    return questions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}; this installation lacks a part") from error
