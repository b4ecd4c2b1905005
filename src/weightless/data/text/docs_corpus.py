"""The corpus `docs`: prose of the user's own Python installation, real text without a network.

Sources, in this order: the topics of pydoc, the docstrings of the standard library, the docstrings of installed
packages.  Files are never imported and never run: a compiled scanner finds their docstrings (docstring_scan.py), and
Python's parser where the scanner is in doubt.  Unreadable files are skipped, and so are those of which less than a
fifth lies between triple quotes (they would take much of the time and give little).

A docstring is unindented and cut into paragraphs; a paragraph stays when it reads like prose (enough letters and
words, no table, no code) and when at most half of its 8-word-grams were met before in this corpus (so copies and
near-copies go).  What is left of one module or topic is one document if it has at least `LEAST_BYTES`; one that
reaches `MOST_BYTES` ends there and another begins.

The order is fixed (sorted paths), so one installation gives one corpus; other versions of Python or of packages give
another one, which is why its SHA-256 stands in every manifest.  When there is more than `cap_bytes`, documents leave
in the order of their content hash, so that the cap does not prefer packages early in the alphabet.
"""

from __future__ import annotations

import ast
import gc
import inspect
import os
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import WeightlessError
from weightless.data.text.documents import document_key
from weightless.data.text.grams import word_grams
from weightless.data.text.source import Opener, Source, read_once
from weightless.data.text.split import byte_progress

CAP_BYTES = 8_000_000
LEAST_BYTES, MOST_BYTES = 600, 24_000
_GRAM_WORDS = 8
_SMALLEST_DOCSTRING = 120
_LEAST_SHARE = 0.20
_LARGEST_FILE = 2_000_000
_SKIPPED_FOLDERS = {
    "__pycache__",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "testing",
    "_vendor",
    "vendored",
    "pydoc_data",
    "lib2to3",
    "node_modules",
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_BODIES = ("body", "cases", "handlers", "orelse", "finalbody")  # as they follow one another in a file
_OTHER_ENCODING = re.compile(rb"(?:[^\n]*\n)?[ \t\f]*#[^\n]*coding[:=][ \t]*+(?!utf-?8\b)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][a-z'-]*[a-z]|[aAI]\b")
_UNLIKE_PROSE = re.compile(r"[|=_#{}<>\[\]\\~^*+/`$@\d]")


def source(cap_bytes: int = CAP_BYTES) -> Source:
    """The docs corpus as a Source (collected at its first reading, shown by a progress display)."""
    description = {"kind": "docs", "python": platform.python_version(), "cap_bytes": cap_bytes}
    return Source("docs", description, read_once(lambda: collect(cap_bytes)))


OPENER = Opener("docs", lambda _name, _field: source())


def collect(cap_bytes: int = CAP_BYTES, roots: list[Path] | None = None, show_progress: bool = True) -> list[bytes]:
    """The documents, in order; `roots` replaces the folders of this installation (for tests)."""
    topics = _topics() if roots is None else []
    files = [path for root in (roots or _installation()) for path in _modules_under(root)]
    seen = Novelty()
    found: list[bytes] = []
    total = sum(size for _, size in files)
    for text in topics:
        found += _documents_of([text], seen)
    with byte_progress("collect docs", total, show_progress) as tick, _quiet_parser():
        for path, size in files:
            found += _documents_of(docstrings_of(path), seen)
            tick(size, path.parent.name)
    if not found:
        raise WeightlessError(
            "this Python installation has no docstrings to read (stripped by -OO?); use another corpus"
        )
    return _capped(found, cap_bytes)


def _installation() -> list[Path]:
    """Folders of the standard library and of installed packages, each once."""
    paths = sysconfig.get_paths()
    return list(dict.fromkeys(Path(paths[key]) for key in ("stdlib", "purelib", "platlib")))


def _modules_under(root: Path) -> list[tuple[Path, int]]:
    """The .py files of a folder and their sizes, ordered by the parts of their paths; tests and vendored copies left
    out, and files that are too large."""
    found: list[tuple[Path, int]] = []
    waiting: list[Any] = [root]
    while waiting:
        entry = waiting.pop()
        if entry is root or _is_plain_folder(entry):
            with suppress(OSError), os.scandir(entry) as inside:
                kept = [e for e in inside if e.name not in _SKIPPED_FOLDERS]
                waiting += sorted(kept, key=lambda e: e.name, reverse=True)
        elif Path(entry.name).suffix == ".py" and entry.is_file() and entry.stat().st_size <= _LARGEST_FILE:
            found.append((Path(entry.path), entry.stat().st_size))
    return found


def _is_plain_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")


def _topics() -> list[str]:
    """The texts behind help('FOR') and its kin: a dict literal, read as data."""
    path = Path(sysconfig.get_paths()["stdlib"], "pydoc_data", "topics.py")
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return []
    strings = (value for node in ast.walk(tree) if isinstance(node, ast.Dict) for value in node.values)
    return [value.value for value in strings if isinstance(value, ast.Constant) and isinstance(value.value, str)]


def docstrings_of(path: Path) -> list[str]:
    """All docstrings of a module in the order of the file; none when it cannot be read."""
    from weightless.data.text import docstring_scan  # numba only when docstrings are read

    try:
        content = path.read_bytes()
    except OSError:
        return []
    if docstring_scan.quoted_bytes(content) < max(LEAST_BYTES, _LEAST_SHARE * len(content)):
        return []
    found = scanned_docstrings(content)
    found = parsed_docstrings(content) if found is None else found
    return [inspect.cleandoc(text) for text in found if len(text) >= _SMALLEST_DOCSTRING]


def scanned_docstrings(content: bytes) -> list[str] | None:
    """The docstrings found by docstring_scan, short ones left out; None when only a parser can tell."""
    from weightless.data.text import docstring_scan

    content = content.removeprefix(b"\xef\xbb\xbf")
    spans = None if _OTHER_ENCODING.match(content) else docstring_scan.docstring_spans(content)
    if spans is None:
        return None
    literals = [content[start:end] for start, end in spans.tolist() if end - start >= _SMALLEST_DOCSTRING]
    try:
        return [_value_of(literal.decode()) for literal in literals]
    except (SyntaxError, ValueError):
        return None


def _value_of(literal: str) -> str:
    """The text of a string literal; only one with escapes is worth a parser."""
    quote = next(mark for mark in ('"""', "'''", '"', "'") if literal.endswith(mark))
    prefix = literal[: literal.index(quote)]
    if "\\" in literal and prefix not in ("r", "R"):
        return ast.literal_eval(literal)
    text = literal[len(prefix) + len(quote) : -len(quote)]
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def parsed_docstrings(content: bytes) -> list[str]:
    """The same by Python's own parser; none when it refuses the module."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node, clean=False)):
            found.append(text)
        body = [child for field in _BODIES for child in getattr(node, field, [])]
        waiting += [child for child in reversed(body) if hasattr(child, "body") or hasattr(child, "cases")]
    return found


def _documents_of(texts: list[str], seen: Novelty) -> Iterator[bytes]:
    """Documents made of the new prose in the docstrings of one module."""
    parts: list[bytes] = []
    size = 0
    for text in texts:
        kept = [part for part in paragraphs_of(text) if seen.is_new(part)]
        parts += kept
        size += sum(map(len, kept))
        if size >= MOST_BYTES:
            yield b"\n\n".join(parts) + b"\n"
            parts, size = [], 0
    if size >= LEAST_BYTES:
        yield b"\n\n".join(parts) + b"\n"


def paragraphs_of(text: str) -> list[bytes]:
    """The paragraphs of a docstring that read like prose."""
    paragraphs = (part.strip("\n") for part in re.split(r"\n\s*\n", text))
    kept = [part for part in paragraphs if is_prose(part)]
    return [re.sub(r"[ \t]+(?=\n|$)", "", part).encode("utf-8", errors="replace") for part in kept]


def is_prose(text: str) -> bool:
    """Mostly words: at least 6 of them, 74 % letters and spaces, few signs of tables and code, no examples only."""
    if len(text) < 40 or len(_UNLIKE_PROSE.findall(text)) > 0.06 * len(text):
        return False
    words = _WORD.findall(text)
    letters = sum(map(len, words)) + text.count(" ") - text.count("  ")
    examples = text.count(">>>") + text.count("\n...")
    return len(words) >= 6 and letters >= 0.74 * len(text) and 6 * examples < len(words)


class Novelty:
    """Remembers the 8-word-grams of what was kept, and tells whether a paragraph is mostly new."""

    def __init__(self) -> None:
        self._met: set[int] = set()

    def is_new(self, paragraph: bytes) -> bool:
        grams = set(word_grams(paragraph, _GRAM_WORDS).tolist())
        if 2 * len(grams & self._met) > len(grams):
            return False
        self._met.update(grams)
        return True


def _capped(documents: list[bytes], cap_bytes: int) -> list[bytes]:
    """The documents of the smallest content hashes that fit, in their old order."""
    order = sorted(range(len(documents)), key=lambda number: document_key(documents[number]))
    total = np.cumsum([len(documents[number]) for number in order])
    kept = order[: max(1, int(np.searchsorted(total, cap_bytes, side="right")))]
    return [documents[number] for number in sorted(kept)]


@contextmanager
def _quiet_parser() -> Iterator[None]:
    """Other people's invalid escapes are not our warnings; and trees without cycles need no garbage collector."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SyntaxWarning, and on older versions DeprecationWarning
            yield
    finally:
        if was_enabled:
            gc.enable()
