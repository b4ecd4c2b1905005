"""An opened artifact of count mixing as what goes on counting while it is scored (`countmix/adapting.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError
from weightless.export.packed import Packed
from weightless.models.catalog import family

if TYPE_CHECKING:
    from weightless.countmix.adapting import Adapter

WIDE = {"tree.rank": "<u2", "tree.token": "<u2"}
"""Tensors whose bytes are numbers of several."""


def refuse_other_families(packed: Packed) -> None:
    """ConfigError unless the model can go on counting."""
    if packed.family != "countmix":
        raise ConfigError(
            f"{packed.artifact.path} is of family {packed.family}, and only countmix can go on counting while it is "
            "scored: leave --adaptive out"
        )
    if (packed.artifact.meta.get("config") or {}).get("window_cache"):
        raise ConfigError(
            f"{packed.artifact.path} has a window cache around it, which does not go on counting: leave --adaptive "
            "out, or train it without window_cache"
        )


def open_adapter(packed: Packed, n_tokens: int) -> Adapter:
    """What adapts from the artifact on, with tables for so many tokens; the artifact is only read."""
    from weightless.countmix.adapting import Adapter
    from weightless.countmix.reopening import packed_learner

    refuse_other_families(packed)
    c = from_dict(family(packed.family).Config, packed.artifact.meta.get("config") or {}, "the artifact's config")
    arrays = {name: packed.artifact.view(name) for name in packed.artifact.entries}
    arrays |= {name: np.ascontiguousarray(arrays[name]).view(WIDE[name]) for name in WIDE if name in arrays}
    lines, bits = (list(c.node_lines), list(c.list_lines)), (c.node_bits, c.list_bits)
    return Adapter(packed_learner(c.shape, arrays, c.root, lines, bits), n_tokens)
