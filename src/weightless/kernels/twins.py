"""A fast twin answers `help` with the text of its reference, and with what is different about itself.

    @twin_of(reference, "What this one takes, returns or refuses otherwise, and the arguments it has beside.")

The text is not kept twice, so it cannot drift; nothing but the docstring is changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def twin_of(reference: Callable[..., Any], otherwise: str) -> Callable[[F], F]:
    """A decorator that sets the docstring: that of `reference`, then `otherwise`."""

    def documented(twin: F) -> F:
        twin.__doc__ = f"{inspect.getdoc(reference) or ''}\n\n{inspect.cleandoc(otherwise)}"
        return twin

    return documented
