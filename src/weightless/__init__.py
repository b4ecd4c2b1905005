"""weightless: language models that weigh almost nothing, and the truth about what they cost.

    import weightless as wl

    model = wl.open("model.wl")                        # a packed model; no PyTorch
    print(model.generate("Once", max_tokens=50))       # as `weightless generate`
    model.next_token("Once upon").top(5)               # the likeliest next tokens
    model.score("Once upon a time.").bits_per_byte     # as `weightless eval --text`
    model.ledger().T                                   # bytes touched per token, as `weightless count`
    run = wl.train("demo", out="runs/demo")            # as `weightless run`; a recipe's file, name or table
    wl.count("gpt2-xl")                                # as `weightless count gpt2-xl --json`

Bad input raises WeightlessError (ConfigError, CorruptFileError) with one line: what is wrong, where, what to do.
`docs/api.md` has it all, with examples.  Importing this costs nothing: what a name needs is loaded when it is used.

The floors of the house, lowest first (a file imports only from below, or from its own folder):
0 base scratch · 1 ops artifact · 2 kernels quant tokenizer · 3 program ngram data · 4 layers ·
5 models · 6 train export · 7 decode evals audit · 8 lab ·
9 deck golf study xray · 10 serve · 11 cli · 12 api.  `docs/tour.md` walks through them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightless.api import ConfigError, CorruptFileError, WeightlessError
    from weightless.api.counting import count
    from weightless.api.model import Model, open
    from weightless.api.results import Continuation, Distribution, Ledger, Score
    from weightless.api.training import Run, RunModel, train

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "Continuation",
    "CorruptFileError",
    "Distribution",
    "Ledger",
    "Model",
    "Run",
    "RunModel",
    "Score",
    "WeightlessError",
    "__version__",
    "count",
    "open",
    "train",
]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, loaded when it is first asked for."""
    match name:
        case "ConfigError" | "CorruptFileError" | "WeightlessError":
            from weightless import api as room
        case "Model" | "open":
            from weightless.api import model as room
        case "Continuation" | "Distribution" | "Ledger" | "Score":
            from weightless.api import results as room
        case "Run" | "RunModel":
            from weightless.api import training as room
        case "count":
            from weightless.api import counting as room
        case "train":
            return importlib.import_module(f"{__name__}.train")
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(room, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


class TrainRoom(ModuleType):
    """The room `weightless.train`, which is the function `weightless.train`, too."""

    def __call__(
        self,
        recipe: str | PathLike[str] | dict[str, Any],
        *,
        out: str | PathLike[str] = "",
        text: str | PathLike[str] = "",
        validation: str | PathLike[str] = "",
        only: str | Sequence[str] = (),
    ) -> Run:
        """Make the models of a recipe: a file, the name of one of the house, or the table that it would hold.

        The Run that comes back has the folder, summary.json and the models.  `out` is the folder (runs/NAME when
        empty), `text` and `validation` replace the recipe's, `only` names models.  The same call again goes on where
        it was interrupted.  WeightlessError before anything is made when the recipe cannot be.
        """
        from weightless.api.training import train

        return train(recipe, out=out, text=text, validation=validation, only=only)


class Roof(ModuleType):
    """This module: a room that has the name of a function can be called as soon as it is hung under it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "train" and type(value) is ModuleType:
            value.__class__ = TrainRoom
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = Roof
