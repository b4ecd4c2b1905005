"""Find a family by the name of its file, the only dynamic import of the project; and the kinds of families there are.

A family file declares a `Config` (frozen dataclass with `at(size, vocab_size)`, one dial) and its kind as `FAMILY`:

    Trained(Config, stack, foreign)              learns by gradient: a list of layers says everything else, and
                                                 `foreign` how other people's software writes the same model;
                                                 `elsewhere(config)` names a family that has that, and its fields
    Counted(Config, count, decode_program, from_text)   is counted from the training text in one pass
    Composed(Config, compose, fit, decode_program)   mixes a trained and a counted part
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError, nearest

if TYPE_CHECKING:
    import numpy as np

    from weightless.layers.foreign import Foreign
    from weightless.layers.stack import Stack, StackModel
    from weightless.program.program import Program

_NOT_FAMILIES = {"catalog"}


@dataclass(frozen=True)
class Trained:
    """`stack(config)` is the model as a list of layers."""

    Config: Any
    stack: Callable[[Any], Stack]
    foreign: Foreign | None = None
    elsewhere: Callable[[Any], tuple[str, dict[str, Any]]] | None = None

    def Model(self, config: Any) -> StackModel:
        """Parameters, losses and steps in PyTorch, which is not imported before the first of them is asked for."""
        from weightless.layers.stack import StackModel

        return StackModel(self.stack(config))

    def decode_program(self, config: Any) -> Program:
        return self.stack(config).program()


@dataclass(frozen=True)
class Counted:
    """`count(config, tokens, show_progress)` gives the configuration completed with sizes, and the packed arrays.

    `from_text` names the fields that it completes, which nobody may set.
    """

    Config: Any
    count: Callable[..., tuple[Any, dict[str, np.ndarray]]]
    decode_program: Callable[[Any], Program]
    from_text: tuple[str, ...]


@dataclass(frozen=True)
class Composed:
    """`compose` joins the arrays of both parts, `fit` finds the weights between them; see `models/mixture.py`."""

    Config: Any
    compose: Callable[..., tuple[Any, dict[str, np.ndarray]]]
    fit: Callable[..., np.ndarray]
    decode_program: Callable[[Any], Program]


Family = Trained | Counted | Composed


def families() -> list[str]:
    """The names of all families, sorted."""
    import weightless.models as room

    return sorted(m.name for m in pkgutil.iter_modules(room.__path__) if m.name not in _NOT_FAMILIES)


def family(name: str) -> Family:
    """The family of that name; ConfigError naming the nearest one."""
    if name not in families():
        raise ConfigError(f"unknown model family {name!r}: {nearest(name, families())}")
    return importlib.import_module(f"weightless.models.{name}").FAMILY


def trained(name: str) -> Trained:
    """The family, if it learns by gradient; else ConfigError."""
    found = family(name)
    if not isinstance(found, Trained):
        kind = "counted" if isinstance(found, Counted) else "mixed"
        raise ConfigError(f"family {name!r} is {kind}, not trained: it has no gradients and no optimizer")
    return found
