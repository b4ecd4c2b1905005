"""The files of a submission: are they there, are their sizes what submission.json says, is the total under the cap.

Known files are prose (README.md, LICENSE), the record (submission.json, logs), the script, the artifact and its
tokenizer; anything else is surplus and counts against the cap.  A folder of somebody else holds no weights: then their
number is what submission.json says, and that is told.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from weightless.base.errors import CorruptFileError
from weightless.golf.bundle import opened
from weightless.golf.findings import Finding, fault, judged, ok, unchecked
from weightless.golf.log_table import LOG_NAMES, empty_script, logs_in
from weightless.golf.names import ARTIFACT, LOG, PIECES, README, RECIPE, SCRIPT, SUBMISSION
from weightless.golf.network import unseen, uses
from weightless.golf.schema import is_ours
from weightless.golf.sizes import CAP, Sizes

PROSE = (README, SUBMISSION, SCRIPT, PIECES, "LICENSE*", "requirements*.txt", "*.md", *LOG_NAMES)
SHOWN = 5


def check_files(folder: Path, values: dict[str, Any]) -> Iterator[Finding]:
    """Presence, sizes, script and network."""
    yield _readme(folder)
    found = logs_in(folder)
    missing = "" if found else "no log of a training lies in the folder"
    yield judged("log", str(folder / LOG), missing, "put the log of the training there", f"{len(found)} of them")
    yield from _script(folder, values)
    yield from _sizes(folder, values)


def _readme(folder: Path) -> Finding:
    path = folder / README
    wrong = "" if path.is_file() and path.read_bytes().strip() else "is missing" if not path.is_file() else "is empty"
    return judged("README", str(path), wrong, "say what it is, how it was trained and how to run it", "is there")


def _script(folder: Path, values: dict[str, Any]) -> Iterator[Finding]:
    path = folder / SCRIPT
    if _size(path) > CAP:
        yield unchecked("script", str(path), f"{_size(path):,} bytes are not read: they alone are over the cap")
        return
    if wrong := empty_script(path):
        yield fault("script", str(path), wrong, "put the one file there that trains, or decodes and scores")
        return
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        yield fault("script", str(path), f"is not UTF-8 (byte {error.start})", "save it as UTF-8")
        return
    yield ok("script", str(path), f"{len(content):,} bytes of code")
    claimed = values.get("bytes_code")
    if type(claimed) is int:
        wrong = f"bytes_code says {claimed:,}, the script has {len(content):,} bytes of UTF-8"
        yield judged(
            "code bytes",
            str(folder / SUBMISSION),
            wrong if claimed != len(content) else "",
            f"write {len(content)} (and bytes_total with it), or put back the script that was counted",
            f"{len(content):,}, as claimed",
        )
    yield _network(path, text)
    if unseen(text):
        why = "it runs code that it makes while it runs, which could not be read here"
        yield unchecked("network, all of it", str(path), why)
    if is_ours(values):
        yield _carried(path, text, values)


def _carried(path: Path, text: str, values: dict[str, Any]) -> Finding:
    """Whether a script of ours carries what the record says."""
    files = opened(text)
    does = "nothing" if not files else "train" if f"weightless/golf/{RECIPE}" in files else "decode"
    wrong = f"script is {values.get('script')!r:.20} in {SUBMISSION}, and it carries what it needs to {does}"
    return judged(
        "script and json",
        str(path),
        wrong if does != values.get("script") else "",
        "build the folder anew",
        f"it carries {len(files)} modules, to {does}",
    )


def _network(path: Path, text: str) -> Finding:
    try:
        found = uses(text, path.name)
    except CorruptFileError as error:
        return unchecked("network", str(path), str(error))
    told = "; ".join(f"{use.where} {use.what}" for use in found[:SHOWN])
    told += f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return judged(
        "network",
        str(path),
        told,
        "take it out: a submission runs from its folder alone",
        "nothing that reaches out, in it or in the code it carries",
    )


def _sizes(folder: Path, values: dict[str, Any]) -> Iterator[Finding]:
    code = _size(folder / SCRIPT)
    surplus, links = _surplus(folder, values)
    for link in links:
        yield fault("links", str(link), "is a link, whose content is not in the folder", "put the file itself there")
    weights = yield from _weights(folder, values, code)
    extra = sum(_size(path) for path in surplus)
    sizes = Sizes(code, weights, extra)
    named = ", ".join(f"{path.relative_to(folder)} ({_size(path):,})" for path in surplus[:SHOWN])
    if surplus:
        without = Sizes(code, weights)
        over = f"{named}: {extra:,} surplus bytes make {sizes.total:,}, {sizes.verdict()}"
        wrong = over if without.fits and not sizes.fits else ""
        yield judged(
            "surplus files", str(folder), wrong, "take them out, or count them", f"{named}: {extra:,} bytes, counted"
        )
    if not Sizes(code, weights).fits or not surplus:
        told = f"code {code:,} + weights {weights:,} = {code + weights:,} bytes: {Sizes(code, weights).verdict()}"
        wrong = "" if Sizes(code, weights).fits else told
        yield judged("cap", str(folder), wrong, f"make it at most {CAP:,} bytes", told)


def _weights(folder: Path, values: dict[str, Any], code: int) -> Iterator[Finding]:
    """Yields findings; returns the bytes of the weights."""
    where, total = str(folder / SUBMISSION), values.get("bytes_total")
    if not is_ours(values):
        if type(total) is not int:
            return 0
        yield unchecked(
            "weights", where, f"no artifact in the folder: {max(0, total - code):,} bytes are taken on trust"
        )
        return max(0, total - code)
    weights = _size(folder / ARTIFACT)
    claimed = {"bytes_weights": weights, "bytes_total": code + weights}
    wrong = [
        f"{key} says {values[key]:,}, the files have {true:,}"
        for key, true in claimed.items()
        if type(values.get(key)) is int and values[key] != true
    ]
    yield judged(
        "sizes",
        where,
        "; ".join(wrong),
        "write what the file system says, or put back the files that were counted",
        f"code {code:,} + weights {weights:,} = {code + weights:,}, as claimed",
    )
    return weights


def _surplus(folder: Path, values: dict[str, Any]) -> tuple[list[Path], list[Path]]:
    """Files that nobody expects, and links, which are not followed."""
    surplus, links = [], []
    for place, folders, files in os.walk(folder):
        for name in sorted(folders + files):
            path = Path(place, name)
            if path.is_symlink():
                links.append(path)
            elif path.is_file() and not _is_known(path, folder, values):
                surplus.append(path)
    return surplus, links


def _is_known(path: Path, folder: Path, values: dict[str, Any]) -> bool:
    if path.parent != folder:
        return False
    if path.name == ARTIFACT:
        return is_ours(values)
    return any(fnmatch(path.name, pattern) for pattern in PROSE)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
