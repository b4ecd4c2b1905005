"""Initial parameters from a family's specifications.

Every tensor draws from a stream of its own, seeded by the run's seed and the tensor's name: adding, removing or
reordering tensors changes no other tensor.  A float `init` is the standard deviation of a normal truncated at three of
them (values beyond are drawn again); Uniform draws evenly; "ones", "zeros" and a Constant give every element the same
value, Rows every element of a row, a Spread even steps along every row.
Result: float32, requires_grad.
Errors: ConfigError for an unknown init and for two parameters of one name.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from weightless.base.errors import ConfigError
from weightless.base.random import rng_for
from weightless.program.tensor import Constant, Parameter, Rows, Spread, Uniform

TRUNCATE_AT = 3.0


def initial_parameters(specs: Iterable[Parameter], seed: int, device: str = "cpu") -> dict[str, torch.Tensor]:
    """One leaf tensor per Parameter(name, shape, format, init, group), in the order given."""
    params: dict[str, torch.Tensor] = {}
    for spec in specs:
        if spec.name in params:
            raise ConfigError(f"two parameters are called {spec.name!r}; give each tensor its own name")
        values = torch.from_numpy(_values(spec, seed)).to(device)
        params[spec.name] = values.requires_grad_()
    return params


def _values(spec: Parameter, seed: int) -> np.ndarray:
    shape = tuple(spec.shape)
    if spec.init == "ones":
        return np.ones(shape, np.float32)
    if spec.init == "zeros":
        return np.zeros(shape, np.float32)
    if isinstance(spec.init, Constant):
        return np.full(shape, spec.init.value, np.float32)
    if isinstance(spec.init, Rows):
        return np.broadcast_to(np.array(spec.init, np.float32)[:, None], shape).copy()
    if isinstance(spec.init, Uniform):
        return rng_for(seed, "initialise", spec.name).uniform(-spec.init.bound, spec.init.bound, shape).astype("f4")
    if isinstance(spec.init, Spread):
        return np.broadcast_to(np.linspace(*spec.init, shape[-1], dtype=np.float32), shape).copy()
    if isinstance(spec.init, str) or not spec.init >= 0:
        raise ConfigError(f"{spec.name}: init {spec.init!r} should be a standard deviation, 'ones' or 'zeros'")
    return truncated_normal(rng_for(seed, "initialise", spec.name), shape, spec.init)


def truncated_normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> np.ndarray:
    """Float32 N(0, std^2) without the values beyond TRUNCATE_AT standard deviations."""
    values = rng.standard_normal(shape, dtype=np.float32)
    flat = values.reshape(-1)
    outside = np.flatnonzero(np.abs(flat) > TRUNCATE_AT)
    while outside.size:
        flat[outside] = rng.standard_normal(outside.size, dtype=np.float32)
        outside = outside[np.abs(flat[outside]) > TRUNCATE_AT]
    flat *= np.float32(std)
    return values
