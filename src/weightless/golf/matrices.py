"""Floor 9.  The matrices of a trained model's artifact: what a plan may round, in groups that a dial may turn."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from weightless.base.config import from_dict
from weightless.base.errors import ConfigError
from weightless.export.lower import StoredRows
from weightless.export.packed import Packed
from weightless.models.catalog import Trained, family
from weightless.program.tensor import Tensor
from weightless.quant.formats import decode_rows
from weightless.quant.layout import is_quantised
from weightless.quant.published_rows import FORMAT, KEPT_UP_TO, published_rows


def matrices(packed: Packed) -> dict[str, Tensor]:
    """Tensors that are trained and no vectors, by name; ConfigError for a family that is not trained."""
    room = family(packed.family)
    if not isinstance(room, Trained):
        raise ConfigError(f"family {packed.family!r} is not trained: its numbers have the formats they need")
    config = from_dict(room.Config, packed.artifact.meta.get("config") or {}, f"{packed.artifact.path}: config")
    names = [spec.name for spec in room.Model(config).tensors() if spec.group != "vector"]
    return {name: packed.program.by_name[name] for name in names}


def numbers(packed: Packed, tensor: Tensor) -> np.ndarray:
    """float32 [R, C] of one tensor."""
    return decode_rows(packed.artifact.view(tensor.name), tensor.format, tensor.shape[1])


def by_component(tensors: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names by their line of the ledger: embedding, attention, feed-forward, head …"""
    groups: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(tensor.component, []).append(name)
    return groups


def warn_of_codes(source: Path, packed: Packed) -> None:
    """Say it where numbers are rounded that were rounded before: their errors add up."""
    formats = sorted({t.format for t in matrices(packed).values() if is_quantised(t.format)})
    if formats:
        told = f"{source} holds codes already ({', '.join(formats)}), which are rounded once more"
        print(f"{told}: pack from the model's folder to round what was trained", file=sys.stderr)


def published(packed: Packed) -> tuple[dict[str, str], dict[str, StoredRows]]:
    """(plan, rows) as the published baseline rounds: matrices of more than 65,536 numbers to codes, others to fp16.

    Vectors stay float32, as that baseline's control tensors do.
    """
    plan, rows = {}, {}
    for name, tensor in matrices(packed).items():
        plan[name] = FORMAT if tensor.shape[0] * tensor.shape[1] > KEPT_UP_TO else "f16"
        if plan[name] == FORMAT:
            rows[name] = StoredRows(FORMAT, tensor.shape, published_rows(numbers(packed, tensor)))
    return plan, rows
