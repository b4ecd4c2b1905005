"""What `--help` says of a flag: the docstring under the dataclass field, with a name for every positional argument.

tyro finds the docstrings of a class that was written down, not those of one that was put together (the flags of
`train` are the fields of three classes), so they are read here for both, in one way.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from itertools import pairwise
from typing import Annotated, Any

import tyro

HELP = "help"


@dataclasses.dataclass(frozen=True)
class Alias:
    """A second, short name of a flag: `name: Annotated[str, Alias("-n")]`."""

    short: str


def help_of(cls: type) -> dict[str, str]:
    """Docstrings of the fields of a dataclass, by name: from the field's metadata, or the string under it.

    A field may come from a class above (`EarlyExit`), and then its string stands there.
    """
    given = {f.name: f.metadata[HELP] for f in dataclasses.fields(cls) if HELP in f.metadata}
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _written_under(base)
    return found | given


def _written_under(cls: type) -> dict[str, str]:
    """The strings under the fields of this very class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError):  # a class that no file holds
        return {}
    found = {}
    for statement, below in pairwise(getattr(tree, "body", [])):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and is_text:
            found[statement.target.id] = " ".join(str(below.value.value).split())  # type: ignore[attr-defined]
    return found


def described(cls: type) -> type:
    """A dataclass like `cls` whose fields carry, as tyro reads it, what help should say of them.

    Those that only keywords give (of a class above: OnCluster) come last, as in __init__.
    """
    hints, texts = typing.get_type_hints(cls, include_extras=True), help_of(cls)
    given = sorted(dataclasses.fields(cls), key=lambda f: f.kw_only is True)
    fields = [(f.name, _annotated(f, hints[f.name], texts.get(f.name)), _bare(f)) for f in given]
    return dataclasses.make_dataclass(cls.__name__, fields, frozen=True, namespace={"__doc__": cls.__doc__})


def _annotated(field: dataclasses.Field[Any], hint: Any, text: str | None) -> Any:
    name = None
    if tyro.conf.Positional in getattr(hint, "__metadata__", ()):
        name = field.name.upper() + (" ..." if typing.get_origin(hint.__origin__) is tuple else "")
        name = name if field.default is dataclasses.MISSING else f"[{name}]"
    aliases = tuple(mark.short for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Alias)) or None
    hint = Annotated[hint, tyro.conf.arg(help=text, metavar=name, aliases=aliases)] if text or name else hint
    if field.name.startswith("no_"):  # --no-x has no --no-no-x
        return Annotated[hint, tyro.conf.FlagCreatePairsOff]
    return hint


def _bare(field: dataclasses.Field[Any]) -> Any:
    """The field's default alone."""
    return dataclasses.field(default=field.default, default_factory=field.default_factory)  # type: ignore[call-overload]
