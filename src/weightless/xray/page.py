"""The page of an X-ray: one self-contained file, or the same page as a server of models hands it out.  Floor 9.

    html(records)    one or two records (`record.py`) inside the page: opens from disk, asks no network for anything
    html(None)       the served form: POST {"model", "text"} to /v1/xray gives {"xray": record}, GET /v1/models names

Style and scripts (page.css, SCRIPTS) stand in the page, and its content security policy allows these by their
hashes and nothing else: no other script runs, whatever a text holds.  Records are JSON in an element that is not run;
"<" and all that is not ASCII is escaped there, and the script turns it into text, never into markup.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError
from weightless.lab.report.palette import HUES, INK, MUTED, PAPER, RULE
from weightless.lab.report.svg import escape

_HERE = Path(__file__).parent
SCRIPTS = ("words.js", "layout.js", "map.js", "told.js", "notes.js", "served.js", "page.js")
"""In this order, within one function."""
MOST_MODELS = 2
_COLOURS = {
    "ink": INK,
    "muted": MUTED,
    "rule": RULE,
    "paper": PAPER,
    "edge": ("#8d8981", "#75716a"),
    "first": HUES[0],
    "second": HUES[1],
    "bits": ("#d08a00", "#b9871c"),
    "T": ("#4d92d8", "#3d7fc4"),
    "focus": HUES[1],
    "alarm": ("#b3261e", "#ff8a80"),
}


def html(records: Sequence[dict[str, Any]] | None, wants_key: bool = False) -> str:
    """The page, with one or two records in it, or (None) the form that asks its own server for them.

    `wants_key`: the server answers nobody without its key, so the form asks for it before anything else.
    """
    if records is not None and not 1 <= len(records) <= MOST_MODELS:
        raise ConfigError(f"{len(records)} models do not fit the page: give one or two")
    style, script = _style(), _script()
    parts = {
        "policy": escape(_policy(style, script, records is None)),
        "title": escape(_title(records)),
        "key": " data-key" if wants_key else "",
        "style": style,
        "records": json.dumps(records, separators=(",", ":")).replace("<", "\\u003c"),
        "script": script,
    }
    template = (_HERE / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def policy() -> str:
    """The content security policy of the served form, for a header beside its meta element."""
    return _policy(_style(), _script(), True)


def _policy(style: str, script: str, served: bool) -> str:
    allowed = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "img-src": "data:",
        "connect-src": "'self'" if served else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def _hash(content: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _style() -> str:
    light, dark = (";".join(f"--{name}:{pair[side]}" for name, pair in _COLOURS.items()) for side in (0, 1))
    own = (_HERE / "page.css").read_text(encoding="utf-8")
    return f"\n:root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{own}"


def _script() -> str:
    parts = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'\n"use strict";\n(() => {{\n{parts}}})();\n'


def _title(records: Sequence[dict[str, Any]] | None) -> str:
    names = [str(record["model"].get("name", "a model")) for record in records or ()]
    return " beside ".join(names) + " · X-ray" if names else "weightless · X-ray"
