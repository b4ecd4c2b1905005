r"""From the text of an answer to files, by rules that are written down (floor 9, no PyTorch, nothing is run).

A file is a fenced block (``` or ~~~, three or more; it ends at a fence of the same character that is at least as
long).  Its name is looked for in this order:

    1. the line that opens the block:     ```python solution.py   ```python:solution.py   ```py title="solution.py"
    2. the last line before the block:    ### solution.py   **`solution.py`**   File: solution.py   It is `solution.py`:
       (two lines at most above it; a line of words counts only when it holds one name in backticks)
    3. the first line in the block:       # solution.py   // solution.cu   # file: solution.py

Blocks without a name: if no block is called `main` (solution.py), the unnamed Python block that defines most of the
names wanted becomes it, the longest of several; so does an unnamed CUDA block become solution.cu.  An answer without
any block that is Python as a whole is solution.py.  What stands between <think> and </think> is no answer.  A name
that comes twice means its last block: a model corrects itself downwards.  A block that never ends was cut off and is
not taken.  What is left out is said, never silent.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from weightless.base.errors import ConfigError
from weightless.base.files import atomic_write
from weightless.deck.file_names import checked_path

MOST_FILES = 32
LONGEST_FILE = 2_000_000
MAIN, KERNEL = "solution.py", "solution.cu"

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})(.*)$")
_NAME = r"[\w./\\~:-]+\.[A-Za-z]{1,5}"
_MARKED = re.compile(r"""(?:title|file|filename|path|name)\s*=\s*["']?(""" + _NAME + r""")["']?""")
_WORDS = re.compile(r"^(?:(?:file ?name|file|path)\s*:\s*)?(" + _NAME + r")\s*:?$", re.IGNORECASE)
_TICKED = re.compile("`(" + _NAME + ")`")
_COMMENT = re.compile(
    r"^\s*(?:#|//|/\*|<!--)\s*(?:(?:file ?name|file|path)\s*:\s*)?(" + _NAME + r")\s*(?:\*/|-->)?\s*$", re.I
)
_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_PYTHON, _CUDA = frozenset(("python", "py", "python3", "")), frozenset(("cuda", "cu", "cuda-c++", "c++", "cpp"))


@dataclass(frozen=True)
class Block:
    """One fenced block: its language in small letters, the name that was given ('' for none), its text."""

    language: str
    name: str
    text: str


@dataclass(frozen=True)
class Answer:
    """{file: text} of an answer, and a line about each thing that was not taken."""

    files: dict[str, str]
    left_out: tuple[str, ...]


def answer_of(text: str, wanted: Sequence[str] = ()) -> Answer:
    """The files in the text of an answer; `wanted` are the names that solution.py should define."""
    text = _THINKING.sub("", text.replace("\r\n", "\n"))
    if text.lstrip().startswith("<think>"):
        return Answer({}, ("the answer ends before its thinking does",))
    blocks, left_out = _blocks(text)
    if not blocks and not left_out and _defines(text) is not None and _defines(text):
        return Answer({MAIN: text}, ())
    files: dict[str, str] = {}
    for block in blocks:
        if block.name:
            _take(block.name, block.text, files, left_out)
    unnamed = [block for block in blocks if not block.name]
    for main, languages in ((MAIN, _PYTHON), (KERNEL, _CUDA)):
        candidates = [block for block in unnamed if block.language in languages and _is_code(block)]
        if main not in files and candidates:
            best = max(candidates, key=lambda block: (_score(block.text, wanted), len(block.text)))
            _take(main, best.text, files, left_out)
            unnamed.remove(best)
    if unnamed:
        left_out.append(f"{len(unnamed)} block{'s' if len(unnamed) > 1 else ''} without a file name left out")
    return Answer(files, tuple(left_out))


def write_answer(answer: Answer, folder: Path) -> list[str]:
    """Write the files of an answer into a card's folder, each whole or not at all; their names, sorted."""
    for name, text in answer.files.items():
        path = folder / checked_path(name)
        for parent in path.relative_to(folder).parents:
            if (folder / parent).is_symlink() and parent != PurePosixPath("."):
                raise ConfigError(f"{folder / parent} is a link; answers are written into real folders only")
        atomic_write(path, text)
    return sorted(answer.files)


def _blocks(text: str) -> tuple[list[Block], list[str]]:
    """Fenced blocks in order, and what is wrong with the last one."""
    found: list[Block] = []
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at])
        if not opened or (opened[1][0] == "`" and "`" in opened[2]):
            at += 1
            continue
        end = next((i for i in range(at + 1, len(lines)) if _closes(lines[i], opened[1])), None)
        name = _name_of(opened[2], lines[max(0, at - 2) : at], lines[at + 1 : at + 2])
        if end is None:
            return found, [f"the last block{f' ({name})' if name else ''} has no end: the answer was cut off"]
        language = re.split(r"[\s:{]", opened[2].strip(), maxsplit=1)[0].lower()
        found.append(Block("" if "." in language else language, name, "\n".join(lines[at + 1 : end]) + "\n"))
        at = end + 1
    return found, []


def _closes(line: str, fence: str) -> bool:
    closing = _FENCE.match(line)
    return bool(closing and not closing[2].strip() and closing[1][0] == fence[0] and len(closing[1]) >= len(fence))


def _name_of(info: str, above: Sequence[str], first: Sequence[str]) -> str:
    if marked := _MARKED.search(info):
        return marked[1]
    for word in re.split(r"[\s{},]+", info.strip()):
        name = word.partition(":")[2] if ":" in word and not re.match(r"[A-Za-z]:[\\/]", word) else word
        if re.fullmatch(_NAME, name):
            return name
    line = next((line.strip() for line in reversed(above) if line.strip()), "")
    if line.strip("`~"):  # the end of another block says nothing
        bare = line.lstrip("#>-*0123456789.) ").strip("*_` ").rstrip(":").strip("*_` ")
        if named := _WORDS.match(bare):
            return named[1]
        ticked = _TICKED.findall(line)
        if len(ticked) == 1:
            return ticked[0]
    comment = _COMMENT.match(first[0]) if first else None
    return comment[1] if comment else ""


def _take(name: str, text: str, files: dict[str, str], left_out: list[str]) -> None:
    """Put a file in, or say why not."""
    try:
        path = str(checked_path(name))
    except ConfigError as error:
        left_out.append(str(error))
        return
    twin = next((other for other in files if other.lower() == path.lower() and other != path), None)
    if twin:
        left_out.append(f"{path!r} and {twin!r} are one file on some systems; the first is kept")
    elif "\0" in text:
        left_out.append(f"{path!r} holds NUL bytes")
    elif len(text.encode(errors="backslashreplace")) > LONGEST_FILE:
        left_out.append(f"{path!r} has more than {LONGEST_FILE:,} bytes")
    elif path not in files and len(files) >= MOST_FILES:
        left_out.append(f"{path!r}: more than {MOST_FILES} files")
    else:
        files[path] = text


def _is_code(block: Block) -> bool:
    """An unnamed block without a language is Python only if it parses and defines something."""
    return block.language in _CUDA or bool(_defines(block.text)) or (block.language != "" and "def " in block.text)


def _score(text: str, wanted: Sequence[str]) -> int:
    defined = _defines(text) or frozenset()
    return sum(name.split(".")[0] in defined for name in wanted)


def _defines(text: str) -> frozenset[str] | None:
    """Functions and classes of a Python text, at its top; None when it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return frozenset(_names(tree.body))


def _names(body: Sequence[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
