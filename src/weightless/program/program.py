"""The decode program: tensors, a body of operators run once per token, and three heads over its result.

    body    accept the token, look up rows, attend, transform …
    score   -log p(target)             mode S: what held-out loss is made of
    sample  one token from p           mode S: touches the same mean bytes as score
    full    all V probabilities        mode F

A program comes from a family's configuration (no weights needed) or from the untrusted JSON of an artifact;
`validate` refuses anything whose operators do not fit its tensors, so that the compiled engine can trust it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError, NewerFileError, WeightlessError
from weightless.program import operators as _operators  # fills the registry
from weightless.program.arena import Layout
from weightless.program.flow import Flow
from weightless.program.operator import (
    N_FLOATS,
    N_INTS,
    REGISTRY,
    Bounds,
    Lowered,
    check_fields,
    check_versions,
    from_plain,
    to_plain,
)
from weightless.program.tensor import Tensor

__all__ = ["HEADS", "OUTCOME", "PROBABILITIES", "Program"]

VERSION = 1  # of the JSON form: raised when it gains a key that an older program must not overlook
HEADS = ("score", "sample", "full")
OUTCOME, PROBABILITIES = "outcome", "probabilities"
MAX_VOCAB = 2**24  # a token id must be exact in float32
MAX_CONTEXT = 2**20
MAX_LAYERS = 4096  # each takes some tensors of a program: a number from a stranger must not fill the memory
MAX_STATE_BYTES = 2**31
FEW_ROWS = 64  # registers of an operator, whatever the context
SMALL_STATE = 2**20  # numbers that a state may have however little is stored
assert _operators and REGISTRY


def check_layers(n_layers: int) -> None:
    """ConfigError for more layers than any model has, before they are described one by one."""
    if n_layers > MAX_LAYERS:
        raise ConfigError(f"n_layers {n_layers} is above {MAX_LAYERS}")


class _Named(dict[str, Tensor]):
    """Tensors by name; asking for one that is not there is a fault of the file."""

    def __missing__(self, name: str) -> Tensor:
        raise CorruptFileError(f"the program names a tensor {name!r} that it does not declare")


@dataclass(frozen=True)
class Program:
    """Named operators over named tensors; `context` is the longest stretch it can be fed."""

    vocab_size: int
    context: int
    tensors: tuple[Tensor, ...]
    body: tuple[Any, ...]
    heads: Mapping[str, tuple[Any, ...]]

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        return _Named((tensor.name, tensor) for tensor in self.tensors)

    @cached_property
    def layout(self) -> Layout:
        return Layout.of(self.tensors)

    @cached_property
    def flow(self) -> Flow:
        """The ways through the body."""
        return Flow.of(self.body)

    @cached_property
    def n_uniforms(self) -> int:
        """How many uniform numbers a draw takes."""
        return max(op.n_uniforms() for op in self.heads["sample"])

    def operators(self, head: str) -> tuple[Any, ...]:
        """The body and one head, in order: all that can run."""
        return (*self.body, *self.heads[head])

    def along(self, path: int, head: str) -> tuple[Any, ...]:
        """Those of them that run on a path (`flow.py`): 0 is the one on which nothing exits."""
        return (*(self.body[i] for i in self.flow.taken(path)), *self.heads[head])

    def stored(self) -> list[Tensor]:
        """The tensors that an artifact must hold."""
        return [tensor for tensor in self.tensors if tensor.kind != "state"]

    def lowered(self, ops: Sequence[Any]) -> list[Lowered]:
        """Instructions of the compiled engine."""
        out = [op.lower(self.layout.places) for op in ops]
        assert all(len(row.ints) <= N_INTS and len(row.floats) <= N_FLOATS for row in out)
        return out

    def validate(self) -> Program:
        """Return self, or raise CorruptFileError naming the operator or tensor at fault."""
        bounds = Bounds(self.by_name, self.vocab_size, self.context)
        _check_tensors(self, bounds)
        for op in (*self.body, *(op for head in HEADS for op in self.heads[head])):
            op.check(bounds)
        for head in HEADS:
            _check_result(self, head)
        self.flow  # noqa: B018  (stretches that do not fit are refused here)
        return self

    def to_plain(self) -> dict[str, Any]:
        """JSON form, kept in the artifact."""
        versions = {op.name: op.version for op in (*self.body, *(op for head in HEADS for op in self.heads[head]))}
        return {
            "version": VERSION,
            "vocab_size": self.vocab_size,
            "context": self.context,
            "operators": versions,
            "tensors": [dataclasses.asdict(tensor) for tensor in self.tensors],
            "body": [to_plain(op) for op in self.body],
            "heads": {name: [to_plain(op) for op in self.heads[name]] for name in HEADS},
        }

    @staticmethod
    def from_plain(values: Any) -> Program:
        """Rebuild from untrusted JSON; NewerFileError when a later version wrote it, else CorruptFileError."""
        _check_version(values)
        if type(values.get("vocab_size")) is not int or type(values.get("context")) is not int:
            raise CorruptFileError("vocab_size and context of the decode program should be whole numbers")
        try:
            _only(values["heads"], set(HEADS), "the table of heads")
            listed = {"body": values["body"], **{name: values["heads"][name] for name in HEADS}}
            if "operators" in values:
                check_versions(values["operators"], {entry["op"] for entries in listed.values() for entry in entries})
            tensors = tuple(_tensor(entry) for entry in values["tensors"])
            ops = {
                part: tuple(from_plain(entry, f"{part}[{i}]") for i, entry in enumerate(entries))
                for part, entries in listed.items()
            }
            program = Program(values["vocab_size"], values["context"], tensors, ops.pop("body"), ops)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CorruptFileError(f"the decode program is malformed ({type(error).__name__}: {error})") from error
        return program.validate()


def _check_version(values: Any) -> None:
    """A program made before operators had versions lacks `operators`: all of them are of version 1."""
    version = values.get("version") if isinstance(values, dict) else None
    if type(version) is int and version > VERSION:
        raise NewerFileError(
            f"its decode program is of version {version}, and this version of weightless reads "
            f"version {VERSION}: update weightless"
        )
    if version != VERSION or type(version) is not int:
        raise CorruptFileError(f"the file holds no decode program of version {VERSION}")
    known = {"version", "vocab_size", "context", "tensors", "body", "heads"}
    _only({"operators": None, **values}, known | {"operators"}, "the decode program")


def _only(values: Any, known: set[str], what: str) -> None:
    """Exactly these keys: one that is not understood may be one that matters."""
    if set(values) != known:
        raise CorruptFileError(f"{what} has missing or unknown fields {sorted(map(str, set(values) ^ known))!s:.200}")


def _tensor(given: Mapping[str, Any]) -> Tensor:
    check_fields(Tensor, given, "a tensor of the program")
    entry: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Tensor)} | dict(given)
    rows, cols = entry["shape"]
    shape = (rows, cols)
    if any(type(size) is not int or not 0 <= size < 2**40 for size in shape):
        raise CorruptFileError(f"tensor {entry['name']!r:.60} has an impossible shape {shape}")
    if entry["kind"] not in ("weight", "constant", "state") or type(entry["by_row"]) is not bool:
        raise CorruptFileError(f"tensor {entry['name']!r:.60} is of no known kind")
    texts = [entry[key] for key in ("name", "format", "component")]
    if any(type(text) is not str or not text for text in texts):
        raise CorruptFileError("a tensor's name, format and component should be text")
    tensor = Tensor(texts[0], shape, texts[1], texts[2], entry["kind"], entry["by_row"])
    try:
        tensor.nbytes  # noqa: B018  (computes the row size: an unknown format or odd width is refused here)
    except WeightlessError as error:
        raise CorruptFileError(f"tensor {texts[0]!r:.60}: {error}") from error
    return tensor


def _check_tensors(program: Program, bounds: Bounds) -> None:
    if not 2 <= program.vocab_size <= MAX_VOCAB:
        raise ConfigError(f"a vocabulary of {program.vocab_size} tokens is not in 2..{MAX_VOCAB}")
    if program.context < 1:
        raise ConfigError(f"a context of {program.context} positions is too short")
    if program.context > MAX_CONTEXT:
        raise CorruptFileError(f"a context of {program.context!s:.20} positions is above {MAX_CONTEXT}")
    if len(program.by_name) != len(program.tensors):
        raise CorruptFileError("two tensors of the program share a name")
    _check_state(program, bounds)
    for name, width in ((OUTCOME, 1), (PROBABILITIES, program.vocab_size)):
        tensor = program.by_name[name]
        if tensor.shape != (1, width) or tensor.format != "f32" or tensor.kind != "state":
            raise CorruptFileError(f"the tensor {name!r} should be a state of (1, {width}) f32")


def _check_state(program: Program, bounds: Bounds) -> None:
    """Memory in proportion to what is stored: a row per position, no wider than weights or vocabulary are.

    A state of another kind has as many rows as its operator says, and no more numbers than such rows for all positions,
    or all weights, unless it is small.  So a small file cannot ask for a large memory but by its context, and that has
    a limit of its own.
    """
    weights = [size for tensor in program.stored() for size in tensor.shape]
    widest = max([program.vocab_size, program.context, *weights])
    n_stored = sum(tensor.shape[0] * tensor.shape[1] for tensor in program.stored())
    said = {name: n for op in program.body for name, n in op.state_rows(bounds).items()}
    for tensor in program.tensors:
        rows, cols = tensor.shape
        most = max(program.context, FEW_ROWS)
        if rows * cols <= max(n_stored, SMALL_STATE, program.context * 2 * widest):
            most = max(most, said.get(tensor.name, 0))
        if tensor.kind == "state" and (rows > most or cols > 2 * widest):
            told = f"it may have a row for each of {program.context} positions, and {2 * widest} numbers in a row"
            raise CorruptFileError(f"the state {tensor.name!r:.60} has shape {tensor.shape}; {told}")
    if program.layout.state_bytes > MAX_STATE_BYTES:
        wanted = f"{program.layout.state_bytes} bytes of state for a context of {program.context}"
        raise CorruptFileError(f"the program wants {wanted}, above {MAX_STATE_BYTES}: pack it with a shorter context")


def _check_result(program: Program, head: str) -> None:
    """A head ends in the tensor that the engine reads; parts of a mixture leave theirs in tensors of their own."""
    ops, wanted = program.heads[head], PROBABILITIES if head == "full" else OUTCOME
    if any(op.stretches() != (0, 0) for op in ops):
        raise CorruptFileError(f"the head {head!r} has operators that exit, and only a body may")
    if not ops or ops[-1].result() != wanted:
        raise CorruptFileError(f"the head {head!r} should end in {wanted!r}")
