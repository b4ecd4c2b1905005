"""One small artifact with every awkward kind of section in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weightless.artifact import StoredTensor, write_artifact

META = {
    "program": [{"op": "gather_row", "rows": 3}],
    "family": "dense",
    "config": {"d_model": 64},
    "note": "é\u2028\ud83d",
}


def make_tensors() -> list[StoredTensor]:
    """A padded table, matrices, an empty table, rows of no bytes, a single byte, and data given in pieces."""
    rng = np.random.default_rng(0)
    table = np.zeros((5, 64), np.uint8)
    table[:, :34] = rng.integers(0, 256, (5, 34))
    pieces = [rng.integers(0, 256, (n, 28)).astype(np.uint8) for n in (2, 0, 3)]
    return [
        StoredTensor("embed", "int4", (5, 64), 34, 64, table.reshape(-1)),
        StoredTensor("empty", "f32", (0, 64), 256, 256, np.zeros(0, np.uint8)),
        StoredTensor("blocks.0.qkv", "f32", (5, 7), 28, 28, pieces),
        StoredTensor("narrow", "u8", (9, 0), 0, 0, np.zeros((9, 0), np.uint8)),
        StoredTensor("byte", "u8", (1, 1), 1, 1, rng.integers(0, 256, (1, 1)).astype(np.uint8)),
        StoredTensor("head", "u8", (3, 64), 64, 64, rng.integers(0, 256, (3, 64)).astype(np.uint8)),
    ]


@pytest.fixture
def meta() -> dict[str, Any]:
    return META


@pytest.fixture
def tensors() -> list[StoredTensor]:
    return make_tensors()


@pytest.fixture
def packed(tmp_path: Path, meta: dict[str, Any], tensors: list[StoredTensor]) -> Path:
    path = tmp_path / "model.wl"
    write_artifact(path, meta, tensors)
    return path
