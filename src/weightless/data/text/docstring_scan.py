"""Find docstrings without parsing: a compiled walk over the bytes of a module.  Twin: docs_corpus.parsed_docstrings.

A docstring is a string literal that is the first statement of a module, class or function.  To find it, it suffices
to know where logical lines begin, which of them begin with def or class, and where strings, comments and brackets end.
Parsing the same files takes thirty times as long.

The walk stops (and the caller parses) where it could be wrong: literals side by side, a parenthesis before a literal,
strings or brackets that do not end.  It differs from the parser only for files that are no Python of this version:
the parser refuses them whole, the walk reads them.
"""

from __future__ import annotations

import numpy as np

from weightless.base.compiled import njit
from weightless.tokenizer.scan import KERNEL

DOUBT = -1
NEWLINE, RETURN, BACKSLASH, HASH, COLON, SEMICOLON = 10, 13, 92, 35, 58, 59
QUOTE, APOSTROPHE, OPEN = 34, 39, 40


def docstring_spans(content: bytes) -> np.ndarray | None:
    """int64 [k, 2]: where docstrings begin (at their prefix) and end, in order; None when a parser must look."""
    text = np.frombuffer(content, np.uint8)
    spans = np.empty((content.count(b"def ") + content.count(b"class ") + 2, 2), np.int64)
    n = _find(text, spans)
    return None if n == DOUBT else spans[:n]


def quoted_bytes(content: bytes) -> int:
    """Bytes between triple quotes, with them: what the pattern \"\"\".*?\"\"\"|'''.*?''' finds."""
    return _quoted(np.frombuffer(content, np.uint8))


@njit(**KERNEL)
def _quoted(text):
    """The sum of the lengths from one triple quote to the next of its kind."""
    total, i, begin, quote = 0, 0, -1, 0
    while i + 2 < text.size:
        c = text[i]
        is_mark = (c == QUOTE or c == APOSTROPHE) and text[i + 1] == c and text[i + 2] == c
        if is_mark and begin < 0:
            begin, quote = i, c
            i += 3
        elif is_mark and c == quote:
            total += i + 3 - begin
            begin = -1
            i += 3
        else:
            i += 1
    return total


@njit(**KERNEL)
def _find(text, spans):
    """Fill spans; returns how many there are, or DOUBT."""
    n, i, depth, found = text.size, 0, 0, 0
    may_come, at_start, in_header = True, True, False
    while i < n:
        c = text[i]
        if c == NEWLINE or c == BACKSLASH or c == HASH or c <= 32:
            i, ends_line = _gap(text, i)
            if i == DOUBT:
                return DOUBT
            if ends_line and depth == 0:
                at_start, in_header = True, False
            continue
        if at_start:
            at_start = False
            if may_come:
                may_come = False
                end = _docstring_end(text, i)
                if end == DOUBT:
                    return DOUBT
                if end > i:
                    if found == len(spans):
                        return DOUBT
                    spans[found, 0], spans[found, 1] = i, end
                    found += 1
                    i = end
                    continue
            in_header = _begins_header(text, i)
        if c == QUOTE or c == APOSTROPHE:
            i = _string_end(text, i)
            if i == DOUBT:
                return DOUBT
            continue
        depth += _bracket(c)
        if depth < 0:
            return DOUBT
        if c == COLON and in_header and depth == 0:
            in_header, at_start, may_come = False, True, True
        i += 1
    return found if depth == 0 else DOUBT


@njit(**KERNEL)
def _bracket(c):
    """+1 for an opening bracket, -1 for a closing one."""
    if c == OPEN or c == 91 or c == 123:
        return 1
    return -1 if c == OPEN + 1 or c == 93 or c == 125 else 0


@njit(**KERNEL)
def _gap(text, i):
    """(behind, whether a logical line may end there) of one blank, comment, joined line or line end."""
    c = text[i]
    if c == HASH:
        while i < text.size and text[i] != NEWLINE:
            i += 1
        return i, False
    if c == BACKSLASH:
        i += 1
        if i < text.size and text[i] == RETURN:
            i += 1
        return (i + 1, False) if i < text.size and text[i] == NEWLINE else (DOUBT, False)
    if c == NEWLINE:
        return i + 1, True
    if c == RETURN and (i + 1 == text.size or text[i + 1] != NEWLINE):
        return DOUBT, False
    return (i + 1, False) if c != 0 else (DOUBT, False)


@njit(**KERNEL)
def _string_end(text, i):
    """Behind the literal whose first quote is at i, or DOUBT when it has no end."""
    n, quote = text.size, text[i]
    is_long = i + 2 < n and text[i + 1] == quote and text[i + 2] == quote
    j = i + 3 if is_long else i + 1
    while j < n:
        c = text[j]
        if c == BACKSLASH:
            j += 3 if j + 2 < n and text[j + 1] == RETURN and text[j + 2] == NEWLINE else 2
        elif c == quote and not is_long:
            return j + 1
        elif c == quote and j + 2 < n and text[j + 1] == quote and text[j + 2] == quote:
            return j + 3
        elif c == NEWLINE and not is_long:
            return DOUBT
        else:
            j += 1
    return DOUBT


@njit(**KERNEL)
def _quote_at(text, i):
    """Where the quote stands of a literal that begins at i, perhaps with a prefix; -2 when none begins there."""
    for k in range(i, min(i + 3, text.size)):
        c = text[k]
        if c == QUOTE or c == APOSTROPHE:
            return k
        c |= 32
        if c != 114 and c != 117 and c != 98 and c != 102:  # r u b f
            break
    return -2


@njit(**KERNEL)
def _docstring_end(text, i):
    """Behind the docstring that the statement at i is; i when it is none; DOUBT."""
    n = text.size
    if text[i] == OPEN:
        j = i
        while j < n and (text[j] == OPEN or text[j] <= 32):
            j += 1
        return DOUBT if j < n and _quote_at(text, j) >= 0 else i
    at = _quote_at(text, i)
    if at < 0:
        return i
    for k in range(i, at):
        c = text[k] | 32
        if c == 98 or c == 102:  # bytes and formatted strings are no docstrings
            return i
    end = _string_end(text, at)
    if end == DOUBT:
        return DOUBT
    j = end
    while j < n and (text[j] == 32 or text[j] == 9 or text[j] == 12 or text[j] == RETURN):
        j += 1
    if j == n or text[j] == NEWLINE or text[j] == HASH or text[j] == SEMICOLON:
        return end
    return DOUBT if text[j] == BACKSLASH or _quote_at(text, j) >= 0 else i


@njit(**KERNEL)
def _begins_header(text, i):
    """Whether the statement at i begins with def, async def or class."""
    i = _behind_word(text, i, b"async", i)
    return _behind_word(text, i, b"def", -1) >= 0 or _behind_word(text, i, b"class", -1) >= 0


@njit(**KERNEL)
def _behind_word(text, i, word, otherwise):
    """Behind a word at i and the blanks that follow it, or `otherwise` when it does not stand there."""
    j = i + len(word)
    if j >= text.size or (text[j] != 32 and text[j] != 9 and text[j] != BACKSLASH):
        return otherwise
    for k in range(len(word)):
        if text[i + k] != word[k]:
            return otherwise
    while j < text.size and (text[j] == 32 or text[j] == 9):
        j += 1
    return j
