"""Find a family by the name of its file: the only dynamic import of the project.

A family file declares `Config` (frozen dataclass), `decode_program(config) -> Program`, and, when it is trained,
`Model(config)` with `tensors()`, `prepare(tokens, seed)`, `losses(p, tokens, targets, document_BT=None)`,
`log_probs(p, tokens)`, and one step at a time: `new_cache()`, `step(p, cache, token, t, fused)`, `step_nats`,
`step_probabilities`.  Losses are 0 where the target is -1; with `document_BT` documents of a row do not see each other.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from weightless.base.errors import ConfigError, nearest

_NOT_FAMILIES = {"catalog"}


def families() -> list[str]:
    """The names of all families, sorted."""
    import weightless.models as room

    return sorted(m.name for m in pkgutil.iter_modules(room.__path__) if m.name not in _NOT_FAMILIES)


def family(name: str) -> ModuleType:
    """The family's module; ConfigError naming the nearest family."""
    if name not in families():
        raise ConfigError(f"unknown model family {name!r}: {nearest(name, families())}")
    return importlib.import_module(f"weightless.models.{name}")
