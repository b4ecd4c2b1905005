"""An opened artifact as its PyTorch model again: the numbers that its codes decode to, which are those of the engine.

    model, p = as_torch(packed, device)         model.losses(p, tokens_BT, targets_BT) -> nats [B, T]

Whole numbers (ids of a class head) become int64 vectors, as training has them; everything else float32.
Errors: ConfigError for a family without gradients, which has no such model.
"""

from __future__ import annotations

import numpy as np
import torch

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError
from weightless.export.packed import Packed
from weightless.layers.stack import StackModel
from weightless.models.catalog import Counted, Trained, family
from weightless.program.decoded import Decoded


def why_not_torch(packed: Packed) -> str:
    """Why an artifact is no PyTorch model; empty where it is one."""
    found = family(packed.family)
    if isinstance(found, Trained):
        cache = (packed.artifact.meta.get("config") or {}).get("window_cache")
        return "the counts of its window are none of PyTorch's" if cache else ""
    return "it is a table of counts" if isinstance(found, Counted) else "it is mixed from a model and a table of counts"


def as_torch(
    packed: Packed, decoded: Decoded | None = None, device: str = "cpu"
) -> tuple[StackModel, dict[str, torch.Tensor]]:
    """(the model, its parameters and constants by name); ConfigError where there is none.

    `decoded` gives the numbers, where they are decoded already.
    """
    if told := why_not_torch(packed):
        raise ConfigError(f"{packed.artifact.path} ({packed.family}) is no PyTorch model: {told}")
    found = family(packed.family)
    assert isinstance(found, Trained)
    config = from_dict(found.Config, packed.artifact.meta.get("config") or {}, "the artifact's config")
    decoded = Decoded(packed.program.layout, packed.weights) if decoded is None else decoded
    p = {tensor.name: _tensor(decoded.whole(tensor.name)).to(device) for tensor in packed.program.stored()}
    return found.Model(config), p


def _tensor(values: np.ndarray) -> torch.Tensor:
    if values.dtype.kind in "ui":
        return torch.from_numpy(values[:, 0].astype(np.int64))
    return torch.from_numpy(np.array(values, np.float32))  # a copy: PyTorch wants memory that it may write to
