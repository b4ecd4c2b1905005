"""Find a family by the name of its file, the only dynamic import of the project; and the kinds of families there are.

A family file declares a `Config` (frozen dataclass with `at(size, vocab_size)`, one dial) and its kind as `FAMILY`:

    Trained(Config, stack, foreign)              learns by gradient: a list of layers says everything else, and
                                                 `foreign` how other people's software writes the same model, `gguf`
                                                 how llama.cpp does;
                                                 `elsewhere(config)` names a family that has that, and its fields
    Counted(Config, counted, program, from_text)   is counted from the training text in one pass
    Composed(Config, composed, fit, program)     mixes a trained and a counted part

Every Config is a `WindowCache`: what its field asks for is put around the family's own program here, for all of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weightless.base.errors import ConfigError, nearest
from weightless.program.cached import first_weights, with_window_cache
from weightless.quant.plan import Plan

if TYPE_CHECKING:
    import numpy as np

    from weightless.base.saved_work import SavedWork
    from weightless.layers.foreign import Foreign
    from weightless.layers.foreign_gguf import InGguf
    from weightless.layers.stack import Stack, StackModel
    from weightless.program.program import Program

_NOT_FAMILIES = {"catalog"}


class _Kind:
    """What all kinds do alike: the family's own program, and around it the cache that its configuration asks for."""

    def uncached(self, config: Any) -> Program:
        """The family's own program, without the cache of its window."""
        raise AssertionError("each kind has its own")

    def decode_program(self, config: Any) -> Program:
        return with_window_cache(self.uncached(config), config.window_cache)


@dataclass(frozen=True)
class Trained(_Kind):
    """`stack(config)` is the model as a list of layers."""

    Config: Any
    stack: Callable[[Any], Stack]
    foreign: Foreign | None = None
    elsewhere: Callable[[Any], tuple[str, dict[str, Any]]] | None = None
    gguf: InGguf | None = None

    def laid(self, config: Any) -> Stack:
        """The model as a list of layers, with the formats of the configuration's plan and of its activations."""
        laid = replace(self.stack(config), plan=Plan.of(config.plan))
        return laid if config.activation_format == "f32" else laid.rounding(config.activation_format)

    def Model(self, config: Any) -> StackModel:
        """Parameters, losses and steps in PyTorch, which is not imported before the first of them is asked for."""
        from weightless.layers.stack import StackModel

        return StackModel(self.laid(config), config.window_cache)

    def uncached(self, config: Any) -> Program:
        return self.laid(config).program()


@dataclass(frozen=True)
class Counted(_Kind):
    """`counted(config, tokens, show_progress)` gives the configuration completed with sizes, and the packed arrays.

    `program(config)` is its decode program; `from_text` names the fields that counting completes, which nobody may set.
    One that `reads_text` is also given the bytes of every token, as `token_bytes`; one that `is_saved` reads its tokens
    in stretches and keeps what it has counted, which takes minutes, in a file while it goes on (`saved`).  One that
    `mixes` has mixers that can hear a trained model, too (`beside`: a `countmix.counting.Beside`), which learns from
    `mixes(config, tokens, token_bytes)`: the others the mixers are tuned on.  `memory(config, n_tokens)`: bytes that
    counting takes, where that may be more than a machine has.
    """

    Config: Any
    counted: Callable[..., tuple[Any, dict[str, np.ndarray]]]
    program: Callable[[Any], Program]
    from_text: tuple[str, ...]
    reads_text: bool = False
    is_saved: bool = False
    mixes: Callable[..., Any] | None = None
    memory: Callable[[Any, int], int] | None = None

    def count(
        self,
        config: Any,
        tokens: Any,
        show_progress: bool = False,
        token_bytes: Sequence[bytes] | None = None,
        saved: SavedWork | None = None,
        beside: Any = None,
    ) -> tuple[Any, dict[str, np.ndarray]]:
        """(the completed configuration, the packed arrays); a window cache has the weights that nobody fitted yet."""
        more: dict[str, Any] = {"token_bytes": token_bytes} if self.reads_text else {}
        more |= {"saved": saved} if self.is_saved else {}
        more |= {"beside": beside} if self.mixes else {}
        config, arrays = self.counted(config, tokens, show_progress=show_progress, **more)
        return config, arrays | first_weights(config.window_cache)

    def uncached(self, config: Any) -> Program:
        return self.program(config)


@dataclass(frozen=True)
class Composed(_Kind):
    """`composed` joins the arrays of both parts, `fit` finds the weights between them; see `models/mixture.py`."""

    Config: Any
    composed: Callable[..., tuple[Any, dict[str, np.ndarray]]]
    fit: Callable[..., np.ndarray]
    program: Callable[[Any], Program]

    def compose(self, config: Any, *parts: Any) -> tuple[Any, dict[str, np.ndarray]]:
        """(the completed configuration, the arrays); a window cache has the weights that nobody fitted yet."""
        config, arrays = self.composed(config, *parts)
        return config, arrays | first_weights(config.window_cache)

    def uncached(self, config: Any) -> Program:
        return self.program(config)


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
