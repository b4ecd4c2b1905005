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


def asked_in_words(card: str, root: Path = CARDS) -> list[str]:
    """What the prompt asks to be explained, one question each: the items of the lists in rubric.md."""
    questions: list[str] = []
    for line in _text(root / card / "rubric.md").splitlines():
        if item := _ITEM.match(line):
            questions.append(item[1].strip())
        elif line.startswith("  ") and questions:
            questions[-1] += " " + line.strip()
    return questions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise WeightlessError(f"cannot read {path}: {error.strerror}; this installation lacks a part") from error
