"""Which file of a submission is called, found without running it; where none fits, what to rename.  Floor 9.

A reasonable solution that never read interface.md gets CONTRACT with a line that says what to change, and not a verdict
about something that was called wrongly.  Rules, in this order:

1. Files are the submission's *.py at any depth, but for tests; `solution.py` is looked at first.
2. The file that defines every pinned name is the one that is called.  `from … import` counts as defining.
3. Otherwise the file that defines most of them is compared: a name of `Pinned.also`, one that differs in case or
   underscores, or one that is spelled nearly so is called a rename; one in another file, an import; one inside a
   class, a method to take out.
4. Parameters are compared by name and order.  What interface.md does not know must have a default; optional ones may
   be missing; *args and **kwargs take whatever is left.
"""

from __future__ import annotations

import difflib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from weightless.deck.card import Card, Pinned
from weightless.deck.copying import copy_submission, shown, submitted
from weightless.deck.defined import Defined, Definition, defined
from weightless.deck.outcome import Failed

_MOST_TOLD = 4
_NEARLY = 0.8


@dataclass(frozen=True)
class Found:
    """The file to call, relative to the submission."""

    file: str


def find(folder: Path, pinned: tuple[Pinned, ...]) -> Found:
    """The file of a submission that defines all of `pinned`.  Raises Failed: CONTRACT, or IMPORT for broken Python."""
    files = _python_files(folder)
    if not files:
        raise Failed("CONTRACT", _without_python(folder))
    known, broken = {}, {}
    for file in files:
        try:
            known[file] = defined((folder / file).read_text(encoding="utf-8-sig"))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
            said = error.msg if isinstance(error, SyntaxError) else str(error)
            broken[file] = shown(f"{file}{line}: {said}", 200)
    if "solution.py" in broken or not known:
        told = broken.get("solution.py") or next(iter(broken.values()))
        raise Failed("IMPORT", f"{told}; what is in the file has to be Python, nothing else")
    names = {file: _with_stars(file, known) for file in known}
    best = max(names, key=lambda file: sum(_has(names[file], one.name) for one in pinned))
    problems = [problem for one in pinned if (problem := _problem(one, best, names))]
    if problems:
        more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
        raise Failed("CONTRACT", f"{best}: " + "; ".join(problems[:_MOST_TOLD]) + more)
    return Found(best)


def is_test(path: Path) -> bool:
    """Whether a file is the solution's own test."""
    return path.name.startswith("test_") or path.name.endswith("_test.py") or path.name == "conftest.py"


def _python_files(folder: Path) -> list[str]:
    """solution.py first, then by depth and name."""
    found = [p.relative_to(folder) for p in folder.rglob("*.py") if p.is_file()]
    found = [path for path in found if not is_test(path) and path.name != "__init__.py"]
    order = sorted(found, key=lambda path: (path.as_posix() != "solution.py", len(path.parts), path.as_posix()))
    return [path.as_posix() for path in order]


def _without_python(folder: Path) -> str:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listed = ", ".join(shown(name, 60) for name in names[:5])
    if any(name.endswith(".ipynb") for name in names):
        return f"a notebook is no module ({listed}): write its code into solution.py"
    return f"no Python file but {listed or 'nothing'}: write the solution into solution.py"


def _with_stars(file: str, known: dict[str, Defined]) -> Defined:
    """A file's names with those that it takes over from other files by a star."""
    found = known[file]
    names, unknown = dict(found.names), set(found.unknown)
    for star in found.stars:
        other = known.get(star.lstrip(".").replace(".", "/") + ".py")
        if other is None:
            unknown.add("*")
        elif other is not found:
            names = other.names | names
    return Defined(names, (), frozenset(unknown))


def _has(found: Defined, name: str) -> bool:
    """Whether a file has a name; a method also where its class cannot be known without running."""
    owner = name.split(".")[0]
    opaque = owner in found.names and (owner in found.unknown or _is_imported(found, owner))
    return name in found.names or "*" in found.unknown or ("." in name and opaque)


def _is_imported(found: Defined, owner: str) -> bool:
    return found.names[owner].parameters is None


def _problem(one: Pinned, file: str, names: dict[str, Defined]) -> str:
    """What to do about one pinned name; empty when it fits."""
    found = names[file]
    if _has(found, one.name):
        there = found.names.get(one.name)
        return _signature(one, there) if there else ""
    if near := _nearest(one, found):
        more = _signature(one, found.names[near])
        return f"rename {near} to {one.name}" + (f" and {more}" if more else "")
    for other, its in names.items():
        if other != file and one.name in its.names:
            module = other.removesuffix(".py").replace("/", ".")
            return f"{one.name} is in {other}: import it (from {module} import {one.name.split('.')[0]})"
    inside = [name for name in found.names if "." in name and name.split(".")[-1] == one.name]
    if inside:
        return f"take {one.name} out of the class {inside[0].split('.')[0]}: it is called as a function of the file"
    wanted = ", ".join(f"{name}=…" if name in one.optional else name for name in one.parameters)
    return f"define {one.name}({wanted})"


def _nearest(one: Pinned, found: Defined) -> str:
    """A name of the file that is meant to be the pinned one."""
    owner, _, last = one.name.rpartition(".")
    front = f"{owner}." if owner else ""
    here = {name.removeprefix(front): name for name in found.names if name.startswith(front)}
    here = {short: name for short, name in here.items() if "." not in short}
    also = [name.rpartition(".")[2] for name in one.also]
    for short, name in here.items():
        if short in also or _folded(short) == _folded(last):
            return name
    close = difflib.get_close_matches(last, here, n=1, cutoff=_NEARLY)
    return here[close[0]] if close else ""


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _signature(one: Pinned, there: Definition) -> str:
    """What to change about the parameters; empty when a call by interface.md fits."""
    if there.is_sketch:
        return f"{one.name} is empty: only a sketch of it is there"
    if there.parameters is None or (there.open_positions and there.open_names):
        return ""
    have = there.parameters
    missing = [name for name in one.parameters if name not in have and name not in one.optional]
    renames = [(old, new) for new in one.parameters if new not in have and (old := _alias(new, one, have))]
    if renames:
        told = ", ".join(f"{old} to {new}" for old, new in renames)
        return f"rename in {one.name} the parameters {told}" if len(renames) > 1 else f"rename in {one.name} {told}"
    if missing and not (there.open_names or there.open_positions):
        return f"{one.name}({', '.join(have)}) has no parameter {missing[0]}; wanted ({', '.join(one.parameters)})"
    shared = [name for name in have if name in one.parameters]
    wanted = [name for name in one.parameters if name in have]
    if shared != wanted:
        return f"{one.name} has its parameters in the order ({', '.join(shared)}); wanted ({', '.join(wanted)})"
    more = [name for name in there.required if name not in one.parameters]
    if more:
        return f"{one.name} wants {more[0]}, which nobody gives: let it have a default or go"
    first = have[: len(wanted)]
    if list(first) != wanted:
        strange = next(name for name in first if name not in wanted)
        return f"move {strange} of {one.name} behind the parameters ({', '.join(wanted)})"
    return ""


def _alias(name: str, one: Pinned, have: tuple[str, ...]) -> str:
    """The parameter that is meant to be `name`."""
    also = dict(one.parameter_also).get(name, ())
    free = [own for own in have if own not in one.parameters]
    return next((own for own in free if own in also or _folded(own) == _folded(name)), "")


def contract_of(card: Card, folder: Path) -> str:
    """What is wrong with how a folder offers a card's pinned names, in one line; empty when it can be called."""
    try:
        if not submitted(folder):
            return "nothing was handed in"
        with tempfile.TemporaryDirectory(prefix="deck-") as name:
            copy_submission(folder, Path(name))
            find(Path(name), card.pinned)
    except Failed as error:
        return error.told
    return ""
