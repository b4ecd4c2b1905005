"""Oracle: the truncated normal's own moments, and equality under reordering."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weightless.base.errors import ConfigError
from weightless.program.tensor import Parameter
from weightless.train.initialise import initial_parameters

SPECS = [
    Parameter("w", (301, 401), "f32", 0.02, "matrix"),
    Parameter("one", (1, 7), "f32", "ones", "vector"),
    Parameter("zero", (3, 7), "f32", "zeros", "table"),
    Parameter("v", (301, 401), "f32", 0.02, "matrix"),
]


def test_moments_truncation_and_constants() -> None:
    p = initial_parameters(SPECS, seed=1)
    w = p["w"].detach().numpy()
    assert np.abs(w).max() <= 3 * 0.02 * (1 + 1e-6)
    # A normal truncated at 3 has standard deviation 0.98658; 120,701 draws estimate it to 0.2 % (one sigma).
    assert w.std() == pytest.approx(0.02 * 0.98658, rel=0.01) and abs(w.mean()) < 3e-4
    assert torch.equal(p["one"].detach(), torch.ones(1, 7)) and torch.equal(p["zero"].detach(), torch.zeros(3, 7))
    assert all(t.requires_grad and t.dtype == torch.float32 for t in p.values())


def test_each_tensor_depends_on_seed_and_name_only() -> None:
    p, reordered, other = initial_parameters(SPECS, 1), initial_parameters(SPECS[::-1], 1), initial_parameters(SPECS, 2)
    assert all(torch.equal(p[name], reordered[name]) for name in p)
    assert not torch.equal(p["w"], p["v"]) and not torch.equal(p["w"], other["w"])


def test_bad_specifications() -> None:
    with pytest.raises(ConfigError, match="two parameters"):
        initial_parameters([SPECS[0], SPECS[0]], 0)
    with pytest.raises(ConfigError, match="standard deviation"):
        initial_parameters([Parameter("w", (2, 2), "f32", "one", "matrix")], 0)
