"""Names that a stranger gives: of a folder for a model's answers, and of the files in an answer (floor 9, no PyTorch).

    checked_name("qwen-3.1")          one folder, here: no way out of it, on any system
    checked_path("kernels/fused.cu")  a file inside a card's folder

Both raise ConfigError with what is wrong.  Letters, digits, '.', '_' and '-' only, so that a name means the same file
on every system, in a shell and in a link of a page.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from weightless.base.errors import ConfigError

LONGEST_NAME = 64
MOST_PARTS = 3
TEXT_ENDINGS = frozenset((".py", ".cu", ".cuh", ".h", ".c", ".cpp", ".hpp", ".md", ".txt", ".json", ".toml", ".csv"))
GIVEN_FILES = frozenset(("prompt.md", "interface.md", "train_data.txt"))
"""What a card's folder holds before anybody answers, in small letters; an answer does not replace it."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def checked_name(name: str) -> str:
    """`name` if it can be one folder everywhere.  Raises ConfigError."""
    if not name:
        raise ConfigError("the name is empty: give one with -n NAME, for example -n my-model")
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ConfigError(f"{name!r} is a path: a name is one folder; say with --into where it goes")
    if trouble := _trouble(name):
        raise ConfigError(f"{name!r} {trouble}")
    return name


def name_of(model: str) -> str:
    """A folder name for a model as an endpoint calls it: qwen/qwen3:free -> qwen-qwen3-free.  Raises ConfigError."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._")[:LONGEST_NAME].rstrip(".")
    if not name or _trouble(name):
        raise ConfigError(f"the model {model!r} gives no name for a folder: give one with -n NAME")
    return name


def checked_path(path: str) -> PurePosixPath:
    """`path` if it names a text file inside a card's folder.  Raises ConfigError."""
    if "\\" in path or ":" in path or path.startswith("/"):
        raise ConfigError(f"{path!r} is no relative path")
    parts = path.removeprefix("./").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ConfigError(f"{path!r} leads out of the folder")
    if len(parts) > MOST_PARTS:
        raise ConfigError(f"{path!r} lies {len(parts) - 1} folders deep, at most {MOST_PARTS - 1}")
    for part in parts:
        if trouble := _trouble(part):
            raise ConfigError(f"{path!r}: {part!r} {trouble}")
    found = PurePosixPath(*parts)
    if found.suffix.lower() not in TEXT_ENDINGS:
        raise ConfigError(f"{path!r} ends in none of {' '.join(sorted(TEXT_ENDINGS))}")
    if str(found).lower() in GIVEN_FILES:
        raise ConfigError(f"{path!r} would replace what the challenge gives")
    return found


def _trouble(word: str) -> str:
    """Why a word cannot be the name of a file everywhere; '' when it can."""
    if len(word) > LONGEST_NAME:
        return f"has {len(word)} characters, at most {LONGEST_NAME}"
    if not _WORD.fullmatch(word):
        return "should begin with a letter or digit and hold letters, digits, '.', '_' and '-' only"
    if word.endswith("."):
        return "ends with a dot, which some systems drop"
    if _OF_WINDOWS.fullmatch(word):
        return "is the name of a device on Windows"
    return ""
