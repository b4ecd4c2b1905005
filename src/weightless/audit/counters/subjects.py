"""What is audited: a program with its weights and a stretch of tokens, and the PyTorch model behind it, if any.

A subject comes from an artifact, or from a configuration alone: then its weights are drawn (or its n-grams counted)
from a seed and made uneven, so that a wrong row, norm or head would show.  No cost depends on what the weights are,
except where the data decides what is read.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weightless.base.config import from_dict, to_dict
from weightless.base.errors import WeightlessError
from weightless.base.random import rng_for
from weightless.export.packed import Packed
from weightless.models.catalog import Composed, Counted, Trained, family
from weightless.program.engine import AuditEngine, Engine
from weightless.program.logged_engine import LoggedEngine
from weightless.program.program import Program
from weightless.quant.formats import decode_rows, encode_rows

if TYPE_CHECKING:
    import torch

MADE_TOKENS = 20_000
DRAWN_ROWS = 8192
"""Rows of a made table that are drawn; a longer one repeats them."""


class Runnable(Protocol):
    """A program with its weights: an opened artifact, or a `Subject`."""

    @property
    def program(self) -> Program: ...

    @property
    def weights(self) -> np.ndarray: ...

    def engine(self, poison: bool = False) -> Engine: ...

    def audit_engine(self, poison: bool = False) -> AuditEngine: ...

    def logged_engine(self, poison: bool = False) -> LoggedEngine: ...


@dataclass(frozen=True)
class Subject:
    """One model to audit; `stream` holds at most context + 1 tokens: what is fed, and the target after each."""

    name: str
    family: str
    config: Any
    program: Program
    weights: np.ndarray
    stream: np.ndarray
    source: str

    @property
    def tokens(self) -> np.ndarray:
        return self.stream[:-1]

    @property
    def targets(self) -> np.ndarray:
        return self.stream[1:]

    def engine(self, poison: bool = False) -> Engine:
        return Engine(self.program, self.weights, poison)

    def audit_engine(self, poison: bool = False) -> AuditEngine:
        return AuditEngine(self.program, self.weights, poison)

    def logged_engine(self, poison: bool = False) -> LoggedEngine:
        return LoggedEngine(self.program, self.weights, poison)

    @property
    def has_torch_model(self) -> bool:
        """Whether the family trains a model in PyTorch that can take one step at a time."""
        return isinstance(family(self.family), Trained)

    def parameters(self) -> dict[str, torch.Tensor]:
        """Parameters and constants as PyTorch tensors, with the values that the packed weights decode to."""
        import torch

        out = {}
        for offset, tensor in self.program.layout.places.values():
            if tensor.kind != "state":
                rows = self.weights[offset : offset + tensor.nbytes].reshape(tensor.shape[0], tensor.row_stride)
                values = decode_rows(rows, tensor.format, tensor.shape[1])
                whole = values.dtype.kind in "ui"
                out[tensor.name] = torch.from_numpy(values[:, 0].astype(np.int64) if whole else values)
        return out


def of_artifact(packed: Packed, name: str, tokens: np.ndarray | None = None) -> Subject:
    """The subject of an artifact, fed the first tokens of a text, or drawn ones."""
    config = configuration(packed)
    given = made_tokens(packed.program.vocab_size, packed.program.context + 1) if tokens is None else tokens
    stream = np.asarray(given[: packed.program.context + 1], dtype=np.int64)
    if len(stream) < 2:
        raise WeightlessError(f"{len(stream)} tokens leave nothing to audit: give a longer text")
    source = "drawn tokens" if tokens is None else "text"
    return Subject(name, packed.family, config, packed.program, packed.weights, stream, source)


def configuration(packed: Packed) -> Any:
    """The family's Config that the artifact says it was made from."""
    return from_dict(family(packed.family).Config, packed.artifact.meta.get("config") or {}, "the artifact's config")


def of_configuration(family_name: str, config: Any, name: str = "", seed: int = 0) -> Subject:
    """A subject with made weights and made tokens, for a model that was never trained."""
    room = family(family_name)
    text = made_tokens(config.vocab_size, max(MADE_TOKENS, config.context + 1), seed)
    if isinstance(room, Composed):
        config, arrays = _composed(room, config, text, seed)
    elif isinstance(room, Counted):
        config, arrays = room.count(config, text)
    else:
        arrays = lively_arrays(room.Model(config), text, seed)
    program = room.decode_program(config)
    stream = np.concatenate([text[: config.context // 2], text[::-1][: config.context + 1]])[: config.context + 1]
    weights = packed_weights(program, arrays)
    return Subject(name or family_name, family_name, config, program, weights, stream, "made weights and tokens")


def _composed(room: Composed, config: Any, text: np.ndarray, seed: int) -> tuple[Any, dict[str, np.ndarray]]:
    """A mixture of made weights and counts, each half of it."""
    (neural, neural_config), (counted, counted_config) = config.part("neural"), config.part("counted")
    counted_config, counts = counted.count(counted_config, text)
    return room.compose(config, lively_arrays(neural.Model(neural_config), text, seed), counted_config, counts)


def made_tokens(vocab_size: int, n_tokens: int, seed: int = 0) -> np.ndarray:
    """Zipfian tokens, int64, with repeats: half of every stretch of 16 is copied from an earlier one."""
    rng = rng_for(seed, "audit", "tokens")
    tokens = ((rng.zipf(1.3, n_tokens) - 1) % vocab_size).astype(np.int64)
    for start in range(16, n_tokens - 8, 16):
        tokens[start : start + 8] = tokens[start - 16 : start - 8]
    return tokens


def lively_arrays(model: Any, text: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Initial parameters, with norms that are not all one and tables that are not all zero; and constants, of which
    numbers (the bias of a router) are made uneven, too."""
    from weightless.train.initialise import initial_parameters

    arrays = {}
    for spec in model.tensors():
        rng = rng_for(seed, "lively", spec.name)
        if spec.group in ("vector", "matrix"):
            (value,) = initial_parameters([spec], seed).values()
            array = value.detach().numpy()
        if spec.group == "vector":
            array = array + np.float32(0.2) * rng.standard_normal(array.shape, dtype=np.float32)
        elif spec.group in ("head", "embedding", "table") or spec.init == "zeros":
            rows, width = spec.shape
            drawn = rng.standard_normal((min(rows, DRAWN_ROWS), width), dtype=np.float32)
            array = np.resize(drawn * np.float32(2 / width**0.5), spec.shape)
        arrays[spec.name] = array
    for name, array in model.prepare(text, seed).items():
        drawn = rng_for(seed, "lively", name).standard_normal(array.shape, dtype=np.float32)
        arrays[name] = array + np.float32(0.1) * drawn if array.dtype == np.float32 else array
    return arrays


def packed_weights(program: Program, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The weight segment of a program, uint8, as an artifact would hold it."""
    out = np.zeros(program.layout.weight_bytes, dtype=np.uint8)
    for offset, tensor in program.layout.places.values():
        if tensor.kind != "state":
            rows = out[offset : offset + tensor.nbytes].reshape(tensor.shape[0], tensor.row_stride)
            rows[:, : tensor.row_bytes] = encode_rows(arrays[tensor.name].reshape(tensor.shape), tensor.format)
    return out


def same_program(subject: Subject) -> bool:
    """Whether the program that is run is the one its configuration asks for."""
    return family(subject.family).decode_program(subject.config).to_plain() == subject.program.to_plain()


def trained_part(subject: Subject) -> Subject:
    """The subject without its window cache, which no PyTorch model has; itself where it has none."""
    if not subject.config.window_cache:
        return subject
    config = dataclasses.replace(subject.config, window_cache=0)
    return dataclasses.replace(subject, config=config, program=family(subject.family).decode_program(config))


def described(subject: Subject) -> dict[str, Any]:
    """What a record says of the subject."""
    return {"name": subject.name, "family": subject.family, "config": to_dict(subject.config), "fed": subject.source}
