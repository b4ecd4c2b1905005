"""The operators, one room each; importing this package fills the registry in `program.operator`.

A room holds `promise.py` (fields, check, accesses, run, lower, flops) and `compiled.py`, whose functions are the
compiled twins of its operators, each under the operator's name.
"""

from importlib import import_module
from typing import Any

from weightless.program.operators import (
    attention,
    class_head,
    countmix,
    exits,
    experts,
    feedforward,
    full_head,
    linear_attention,
    lookup,
    memory,
    mixing,
    ngram,
    scan,
    start,
    suffix,
    window_cache,
)

__all__ = [
    "attention",
    "class_head",
    "compiled_twin",
    "countmix",
    "exits",
    "experts",
    "feedforward",
    "full_head",
    "linear_attention",
    "lookup",
    "memory",
    "mixing",
    "ngram",
    "scan",
    "start",
    "suffix",
    "window_cache",
]


def compiled_twin(cls: Any) -> Any:
    """The compiled twin of an operator's class; loads the compiler."""
    module = next(base.__module__ for base in cls.__mro__ if base.__module__.startswith(f"{__name__}."))
    room = module.removeprefix(f"{__name__}.").split(".")[0]
    return getattr(import_module(f"{__name__}.{room}.compiled"), cls.name)
