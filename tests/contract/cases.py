"""Small models of every family, with odd sizes: the configurations that the contract suite is run over.

A new family needs one file in configurations/; test_families.py refuses to run without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from contract import beside_cases, cache_cases, exit_cases

from weightless.models import mixture
from weightless.models.catalog import Trained, family
from weightless.ops.window_cache import CLASSES
from weightless.program.cached import CACHE_WEIGHTS
from weightless.program.compose import COUNTED, NEURAL
from weightless.program.engine import AuditEngine, Engine
from weightless.program.logged_engine import LoggedEngine
from weightless.program.program import Program
from weightless.quant.formats import encode_rows
from weightless.quant.straight_through import fake_quantise
from weightless.train.initialise import initial_parameters

REMEMBERED = ("kv cache", "recurrent state")
"""Ledger lines of what decoding remembers of former positions, rounded to a format."""

TURNED = 0.3

FOLDER = Path(__file__).parent / "configurations"
CASES: dict[str, dict[str, Any]] = {
    path.stem: import_module(f"contract.configurations.{path.stem}").CASES
    for path in sorted(FOLDER.glob("*.py"))
    if path.stem != "shared"
}

for name, more in (*exit_cases.CASES.items(), *cache_cases.CASES.items(), *beside_cases.CASES.items()):
    CASES[name] |= more

ALL = [(name, case) for name, cases in CASES.items() for case in cases]


def first_ones(cases: Iterable[tuple[str, str]], quick: int) -> list[Any]:
    """(family, case) as parameters: those behind the first `quick` of a family, and not the last of it, are slow.

    For what costs most of a case, where other tests walk all cases by a cheaper way.
    """
    found, cases = [], list(cases)
    for name, case in cases:
        of_family = [other for family_name, other in cases if family_name == name]
        is_quick = of_family.index(case) < quick or (quick > 1 and case == of_family[-1])
        found.append(pytest.param((name, case), marks=[] if is_quick else [pytest.mark.slow], id=f"{name}-{case}"))
    return found


def of(*names: str) -> list[tuple[str, str]]:
    """(family, case) of all cases of some families."""
    return [(name, case) for name, case in ALL if name in names]


TRAINED = [
    (name, case) for name, case in ALL if isinstance(family(name), Trained) and not CASES[name][case].window_cache
]
"""Those that are PyTorch's from end to end: a window cache is not."""


class Bench(NamedTuple):
    """One model with weights, and a stretch of `context` tokens with their targets."""

    family: ModuleType
    name: str
    config: Any
    program: Program
    arrays: dict[str, np.ndarray]
    weights: np.ndarray
    stream: np.ndarray

    @property
    def tokens(self) -> np.ndarray:
        return self.stream[:-1]

    @property
    def targets(self) -> np.ndarray:
        return self.stream[1:]

    @property
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        stream = torch.from_numpy(self.stream[None])
        return stream[:, :-1], stream[:, 1:]

    @property
    def keeps_f32(self) -> bool:
        """No rounding anywhere: only the order of float32 sums differs between implementations."""
        return all(t.format == "f32" for t in self.program.tensors if t.kind == "weight" or t.component in REMEMBERED)

    @property
    def rounds_activations(self) -> bool:
        """One that lies near a half may fall to its neighbour elsewhere: 1/127 of the largest of 64 moves then, and
        nats of these models of large weights by a tenth (`TURNED`); most positions have none (layers/
        test_activation_format.py holds their median to float32 sums)."""
        return getattr(self.config, "activation_format", "f32") != "f32"

    @property
    def rounds_recurrence(self) -> bool:
        """A state is rounded at every position and goes on from there: a code that falls otherwise stays."""
        return any(t.format != "f32" for t in self.program.tensors if t.component == "recurrent state")

    def rounded(self) -> dict[str, torch.Tensor]:
        """Parameters as training sees them once they are rounded to their formats, and constants."""
        formats = {t.name: t.format for t in self.program.stored()}
        return {
            name: fake_quantise(torch.from_numpy(a), formats[name]) if a.dtype == np.float32 else torch.from_numpy(a)
            for name, a in self.arrays.items()
        }

    def engine(self, poison: bool = True) -> Engine:
        return Engine(self.program, self.weights, poison)

    def audit_engine(self, poison: bool = True) -> AuditEngine:
        return AuditEngine(self.program, self.weights, poison)

    def logged_engine(self, poison: bool = True) -> LoggedEngine:
        return LoggedEngine(self.program, self.weights, poison)


@cache
def bench(name: str, case: str) -> Bench:
    """The model of one case; built once per session."""
    module, config = family(name), CASES[name][case]
    rng = np.random.default_rng(7)
    text = (rng.zipf(1.3, 6000) - 1) % config.vocab_size
    if hasattr(module, "compose"):
        config, arrays = composed(config, text)
    elif hasattr(module, "Model"):
        arrays = lively_parameters(module.Model(config), text)
    else:
        config, arrays = module.count(config, text)
    if config.window_cache:
        arrays[CACHE_WEIGHTS] = lively_weights(config.window_cache)
    program = module.decode_program(config)
    stream = np.concatenate([text[: config.context // 2], rng.integers(0, config.vocab_size, config.context)])
    stream = stream[: config.context + 1].astype(np.int64)
    return Bench(module, name, config, program, arrays, packed_bytes(program, arrays), stream)


def composed(config: Any, text: np.ndarray) -> tuple[Any, dict[str, np.ndarray]]:
    """A mixture of a lively model and a table, with another weight in every class."""
    (neural, neural_config), (counted, counted_config) = (config.part(name) for name in (NEURAL, COUNTED))
    parameters = lively_parameters(neural.Model(neural_config), text)
    if config.mixes:
        counted_config, counts = beside_cases.counted_beside(config, parameters, text)
        return mixture.FAMILY.compose(config, parameters, counted_config, counts)
    counted_config, counts = counted.count(counted_config, text)
    made = mixture.FAMILY.compose(config, parameters, counted_config, counts)
    weights = made[1]["mixing.weights"]
    made[1]["mixing.weights"] = np.linspace(0.1, 0.9, len(weights), dtype=np.float32)[:, None]
    return made


def neural_as_trained(b: Bench) -> dict[str, np.ndarray]:
    """The arrays of a mixture's trained part before its head was put in the order of a tree."""
    (room, config), rng = b.config.part(NEURAL), np.random.default_rng(7)
    return lively_parameters(room.Model(config), (rng.zipf(1.3, 6000) - 1) % b.config.vocab_size)


def lively_weights(orders: int) -> np.ndarray:
    """Another weight of the window cache in every class, from 0.05 to 0.9."""
    drawn = np.random.default_rng(13).uniform(0.05, 0.9, (1, orders * CLASSES))
    return drawn.astype(np.float32)


def uncached(b: Bench) -> Bench:
    """The same model without the cache of its window."""
    config = dataclasses.replace(b.config, window_cache=0)
    arrays = {name: array for name, array in b.arrays.items() if name != CACHE_WEIGHTS}
    program = b.family.decode_program(config)
    return b._replace(config=config, program=program, arrays=arrays, weights=packed_bytes(program, arrays))


def part_of(b: Bench, name: str) -> Bench:
    """One part of a mixture as a model of its own, on the same stream."""
    module, config = b.config.part(name)
    arrays = {key.removeprefix(f"{name}."): a for key, a in b.arrays.items() if key.startswith(f"{name}.")}
    program = module.decode_program(config)
    family_name = b.config.neural if name == NEURAL else b.config.counted
    return Bench(module, family_name, config, program, arrays, packed_bytes(program, arrays), b.stream)


def lively_parameters(model: Any, text: np.ndarray) -> dict[str, np.ndarray]:
    """Initial parameters made uneven, so that a wrong row, norm or head shows in the loss."""
    rng, arrays = np.random.default_rng(11), {}
    for spec in model.tensors():
        (value,) = initial_parameters([spec], seed=3).values()
        array = value.detach().numpy().copy()
        if spec.group == "vector":
            array += 0.2 * rng.standard_normal(array.shape).astype(np.float32)
        elif spec.group in ("head", "embedding", "table") or spec.init == "zeros":
            array = 0.3 * rng.standard_normal(array.shape).astype(np.float32)
        arrays[spec.name] = array
    return arrays | {name: lively_constant(a, rng) for name, a in model.prepare(text, 5).items()}


def lively_constant(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ids as they are; numbers (the bias of a router begins at zero) uneven."""
    return array + 0.1 * rng.standard_normal(array.shape, np.float32) if array.dtype == np.float32 else array


def packed_bytes(program: Program, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The weight segment of a program, built here by hand; what lies between rows is 0xFF."""
    out = np.full(program.layout.weight_bytes, 0xFF, np.uint8)
    for offset, tensor in program.layout.places.values():
        if tensor.kind != "state":
            rows = out[offset : offset + tensor.nbytes].reshape(tensor.shape[0], tensor.row_stride)
            rows[:, : tensor.row_bytes] = encode_rows(arrays[tensor.name].reshape(tensor.shape), tensor.format)
    return out
