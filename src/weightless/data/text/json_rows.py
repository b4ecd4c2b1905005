"""Rows of a JSON text: objects or strings, one a line, one behind the other over several lines, or in one array.

    rows_of(blocks, where)        (place, row) of each; a row is a dict, a str or None (null)
    begins_like_json(head, …)     what the first bytes of a file of another name say: "yes", "no", "unclear"

One value is held at a time, with at most as much again behind it.  All rows of a text are of one kind (null apart).
Errors: CorruptFileError naming the line that is not JSON, or whose value is no row.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from weightless.base.errors import CorruptFileError

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")
_LONGEST_LITERAL = len("-Infinity")
_KEY = re.compile(r'\s*\{\s*"(?:[^"\\\n]|\\.)*"\s*:')
_ARRAY_OF_STRINGS = re.compile(r'\[\s*"')
_KINDS = {
    dict: "an object",
    str: "a string",
    list: "an array",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


class _Unfinished(Exception):
    """What is there may be the beginning of a value."""


def rows_of(blocks: Iterable[bytes], where: str) -> Iterator[tuple[str, dict[str, Any] | str | None]]:
    """The rows of a text; a text of nothing but white space has none."""
    text = _Text(blocks, where)
    values = _elements(text) if text.next_character() == "[" else _sequence(text)
    kind: type | None = None
    for place, value in values:
        if value is not None:
            kind = kind or type(value)
            if kind not in (dict, str):
                raise CorruptFileError(f"{place} is {_KINDS[kind]}; a row is a JSON object or a string")
            if type(value) is not kind:
                raise CorruptFileError(f"{place} is {_KINDS[type(value)]}, the rows before it are {_KINDS[kind]} each")
        yield place, value


def _sequence(text: _Text) -> Iterator[tuple[str, Any]]:
    while text.next_character():
        yield text.value()


def _elements(text: _Text) -> Iterator[tuple[str, Any]]:
    """The elements of the one array that the text is."""
    text.take("[")
    if text.next_character() != "]":
        yield text.value()
        while text.next_character() == ",":
            text.take(",")
            yield text.value()
    text.take("]")
    if text.next_character():
        raise CorruptFileError(
            f"{text.place()}: more follows behind the array; rows are objects or strings, one a line"
        )


class _Text:
    """A text that is read value by value; `at` is where the next one is looked for."""

    def __init__(self, blocks: Iterable[bytes], where: str) -> None:
        self._blocks, self._where = iter(blocks), where
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._line, self._counted = "", 0, 1, 0
        self._is_all = False

    def place(self) -> str:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return f"{self._where}, line {self._line}"

    def next_character(self) -> str:
        """The next one that is no white space, or nothing."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if self._is_all:
                return ""
            self._grow()

    def take(self, character: str) -> None:
        if self.next_character() != character:
            raise CorruptFileError(f"{self.place()} is not JSON ({character!r} is missing)")
        self._at += 1

    def value(self) -> tuple[str, Any]:
        """The value that begins here, and its place."""
        self.next_character()
        place = self.place()
        while True:
            try:
                value, self._at = decoded(self._text, self._at, self._is_all)
                return place, value
            except _Unfinished:
                self._grow()
            except (ValueError, RecursionError) as error:
                raise CorruptFileError(f"{place} is not JSON ({getattr(error, 'msg', error)})") from None

    def _grow(self) -> None:
        """Read as much again as waits already, so that a long value is not tried too often."""
        self.place()
        wanted = len(self._text) - self._at
        parts, n_new = [self._text[self._at :]], 0
        while not self._is_all and n_new <= wanted:
            block = next(self._blocks, b"")
            self._is_all = not block
            try:
                parts.append(self._utf8.decode(block, final=self._is_all))
            except UnicodeDecodeError as error:
                line = self._line + "".join(parts).count("\n") + error.object[: error.start].count(b"\n")
                raise CorruptFileError(f"{self._where}, line {line} is not UTF-8 ({error.reason})") from None
            n_new += len(parts[-1])
        self._text, self._at, self._counted = "".join(parts), 0, 0


def decoded(text: str, at: int, is_all: bool) -> tuple[Any, int]:
    """(value, where it ends); _Unfinished when more text may complete it, ValueError or RecursionError else."""
    try:
        value, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        near_the_end = error.pos >= len(text) - _LONGEST_LITERAL
        if not is_all and (near_the_end or error.msg.startswith("Unterminated")):
            raise _Unfinished from None
        raise
    if end == len(text) and not is_all and type(value) in (int, float):
        raise _Unfinished
    return value, end


def begins_like_json(head: bytes, is_all: bool) -> str:
    """Whether the head of a file (UTF-8, no byte order mark) is that of rows of JSON: "yes", "no" or "unclear".

    No: it begins otherwise, or its first value is none.  Yes: an object with another or nothing behind it, or an array
    of which the same is true.  Unclear: something else follows, or the first value is longer than the head.
    """
    text = head.decode("utf-8", errors="replace").strip()
    if _KEY.match(text):
        return _told(text, 0, is_all, "")
    if _KEY.match(text, 1) and text[0] == "[":
        return _told(text, 1, is_all, ",")
    if _ARRAY_OF_STRINGS.match(text):
        found = _told(text, _SPACE.match(text, 1).end(), is_all, ",")  # type: ignore[union-attr]
        return "yes" if found == "yes" else "no"  # prose begins with a quoted word in brackets now and then
    return "no"


def _told(text: str, at: int, is_all: bool, between: str) -> str:
    """What the first two values say; `between` them stands a comma, and a bracket behind the last, or nothing."""
    try:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
        at = decoded(text, at, is_all)[1]
    except _Unfinished:
        return "unclear"
    except (ValueError, RecursionError):
        return "no"
    rest = text[at:].lstrip()
    if rest == ("]" if between else ""):
        return "yes"
    rest = rest[len(between) :].lstrip() if rest.startswith(between) else "-"
    try:
        return "yes" if rest and rest[0] in '{"' and decoded(rest, 0, is_all) else "unclear"
    except _Unfinished:
        return "yes"
    except (ValueError, RecursionError):
        return "unclear"
