"""A small model of family golf with numbers as training leaves them: of heavier tails than normal ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from weightless.export.lower import pack
from weightless.models import golf
from weightless.models.catalog import trained

SMALL = golf.Config(601, 128, 1, 2, 1, context=32, weight_format="f32")


def made(path: Path, seed: int = 0, **changes) -> Path:
    config = dataclasses.replace(SMALL, **changes)
    rng, arrays = np.random.default_rng(seed), {}
    for spec in trained("golf").Model(config).tensors():
        columns = rng.lognormal(0, 0.4, spec.shape[-1])
        arrays[spec.name] = (0.05 * rng.laplace(size=spec.shape) * columns).astype(np.float32)
    pack(path, "golf", config, arrays)
    return path
