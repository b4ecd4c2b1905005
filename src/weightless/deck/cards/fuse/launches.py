"""Kernel launches in CUDA's own notation, written as calls that a C++ compiler takes.

    kernel<4><<<grid, block, 0, stream>>>(a, b);      becomes
    shim::launch(dim3(grid), dim3(block), [=] { kernel<4>(a, b); });

Only the text of launches is touched.  Memory shared by size at the launch (the third number) is not to be had.
"""

from __future__ import annotations

import re

from weightless.base.errors import ConfigError

OPENING = re.compile(r"\b(?P<kernel>[A-Za-z_]\w*(?:\s*<[^<>;{}]*>)?)\s*<<<")
PAIRS = {"(": ")", "[": "]", "{": "}"}


def without_chevrons(text: str) -> str:
    """The source with every `kernel<<<...>>>(...)` as a call of the shim.  Raises ConfigError for half a launch."""
    found = []
    while match := OPENING.search(text):
        line = text[: match.start()].count("\n") + 1
        settings, after = _until(text, match.end(), ">>>", line)
        opened = re.compile(r"\s*\(").match(text, after)
        if not opened or len(settings) < 2:
            raise ConfigError(f"solution.cu, line {line}: a launch is kernel<<<grid, block>>>(arguments)")
        arguments, stop = _until(text, opened.end(), ")", line)
        if len(settings) > 2 and settings[2].strip() not in ("0", ""):
            told = "shares memory by size at the launch; declare it with a constant size"
            raise ConfigError(f"solution.cu, line {line}: {match['kernel']} {told}")
        body = f"{match['kernel']}({', '.join(arguments)});"
        found.append(f"{text[: match.start()]}shim::launch(dim3({settings[0]}), dim3({settings[1]}), [=] {{ {body} }})")
        text = text[stop:]
    return "".join(found) + text


def _until(text: str, start: int, end: str, line: int) -> tuple[list[str], int]:
    """What stands between `start` and `end`, split at commas outside brackets, and where it goes on."""
    parts, at, closing = [""], start, []
    while at < len(text):
        if not closing and text.startswith(end, at):
            return [part.strip() for part in parts] if parts != [""] else [], at + len(end)
        letter = text[at]
        if letter in PAIRS:
            closing.append(PAIRS[letter])
        elif closing and letter == closing[-1]:
            closing.pop()
        if letter == "," and not closing:
            parts.append("")
        else:
            parts[-1] += letter
        at += 1
    raise ConfigError(f"solution.cu, line {line}: a launch that does not end with {end}")
