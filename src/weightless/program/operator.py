"""What an operator promises.

An operator is a frozen dataclass whose string fields name tensors.  It says, from shapes alone, which
bytes it reads and writes at position t (`accesses`: the formula of the ledger), does the work slowly and
readably through the logging arena (`run`: NumPy), and translates itself into one row of numbers for
the compiled engine (`lower`).  Nothing survives an operator except through memory; its scratch is free up
to 256 KiB (docs/bytes.md).

Positions count from 1: at position t the operator attends to t entries.

Programs outlive the code.  A field that an operator gains has a default that means what was done before, and raises the
operator's `version`: a file without the field means the default, a file of a later version is refused by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar, dataclass_transform

from weightless.base.errors import ConfigError, CorruptFileError, NewerFileError, nearest
from weightless.base.format_names import has_integer_product, is_arithmetic, parse_format
from weightless.kernels.codes import format_code
from weightless.ops.integer_activations import ACTIVATION_FORMATS
from weightless.program.registers import USUAL_UNIFORMS
from weightless.program.tensor import Tensor

if TYPE_CHECKING:
    from weightless.program.arena import Arena
    from weightless.program.batch import Batch

SCRATCH_BYTES = 256 * 1024
N_INTS, N_FLOATS = 192, 6  # width of a lowered instruction
BISECTED, WITHOUT_WORD, SILENT, UNCHOSEN = "what is searched", "slots without word", "silent units", "not chosen"
NOT_SET, WEIGHTLESS = "rows never set", "inputs of no weight"
"""Why a value that is read may not matter (`Operator.indifferent`): a probe asks "less, equal or greater"; the last
class is read whole; with ReLU^2 a hidden unit below zero hides its weights, with GELU one far below zero hides what
leads to it; a router's scores of those that are not chosen only say that they are not; where a table is never cleared,
the row of a word that has not occurred may hold anything, and so may the token that it points at; an input may have a
weight of zero, or its share be rounded away."""

Tensors = Mapping[str, Tensor]


class Access(NamedTuple):
    """`n_bytes` from byte `first` of a tensor on; rows are contiguous only up to their stride."""

    tensor: str
    first: int
    n_bytes: int
    write: bool


class Kernel(NamedTuple):
    """A compiled function over rows of one format ("matvec", "bf16"); as an operand it stands for its address."""

    name: str
    format: str


Operand = int | Kernel


class Lowered(NamedTuple):
    """One instruction of the compiled engine: integer operands and float operands of the operator's compiled twin."""

    ints: Sequence[Operand]
    floats: Sequence[float] = ()


class Place(NamedTuple):
    """Where a tensor lies: byte offset in its segment (weights or state)."""

    offset: int
    tensor: Tensor


class Bounds(NamedTuple):
    """What an operator of a program must fit: the tensors by name, and what ids and positions there can be."""

    tensors: Tensors
    vocab_size: int
    context: int


class Operator(Protocol):
    """What an operator promises: check its tensors, declare its accesses, run readably, lower itself for the engine.

    Methods with a body here are promises that most operators keep by having nothing to say.
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1

    def check(self, bounds: Bounds) -> None:
        """Raise CorruptFileError unless every named tensor has the shape and format this operator needs.

        What is indexed by token or position must have a row for every token and position.
        """
        ...

    def accesses(self, tensors: Tensors, t: int, data: Sequence[int] = ()) -> list[Access]:
        """Bytes read and written at position t.  `data` holds what only the data decides (probe counts …)."""
        ...

    def run(self, arena: Arena) -> tuple[int, ...] | None:
        """Do it in NumPy through the arena, which logs every load and store; returns the data of `accesses`."""
        ...

    def lower(self, places: Mapping[str, Place]) -> Lowered:
        """The instruction for the compiled engine."""
        ...

    def flops(self, tensors: Tensors, t: int) -> int:
        """Floating-point operations at position t, 2 per multiply-add; norms, softmax and RoPE uncounted."""
        ...

    def decided(self) -> Mapping[int, str]:
        """{register of traffic: a tensor of the kind it counts} when the data decides the cost, else nothing."""
        return {}

    def result(self) -> str:
        """The tensor in which a head that ends here leaves its outcome; empty when no head can."""
        return ""

    def kept(self) -> tuple[str, ...]:
        """States that it writes for the positions to come (history, cache), not for the operators behind it."""
        return ()

    def state_rows(self, bounds: Bounds) -> Mapping[str, int]:
        """{state: rows it may have} of states that may have more than a row per position (and FEW_ROWS)."""
        return {}

    def n_uniforms(self) -> int:
        """How many uniform numbers there have to be for it to draw by."""
        return USUAL_UNIFORMS

    def slot_tables(self) -> tuple[str, str]:
        """Tables of a class head (slot of token, token of slot) that it reads, empty where it reads none."""
        return "", ""

    def stretches(self) -> tuple[int, int]:
        """(operators behind it that run unless it exits, those behind them that run if it does): `program.flow`."""
        return 0, 0

    def batch(self, rows: Batch) -> None:
        """The same for many rows at once (`decode.batch_runner`); heads leave log p.  ConfigError when it cannot."""
        raise ConfigError(f"operator {self.name!r} has no batched form")

    def rounds(self) -> bool:
        """Whether it makes whole numbers of float sums, so that sums in another order may send it another way."""
        return False

    def chooses(self) -> bool:
        """Whether it compares float sums, so that sums in another order may have it choose other rows."""
        return False

    def indifferent(self) -> list[tuple[str, str, int]]:
        """(reason, tensor, first row) of what it reads though its value need not change the outcome; `audit.poison`."""
        return []


def has_batch(op: Operator) -> bool:
    """Whether it can do many rows at once."""
    return type(op).batch is not Operator.batch


REGISTRY: dict[str, type] = {}
C = TypeVar("C", bound=type[Operator])


@dataclass_transform(frozen_default=True)
def operator(name: str, version: int = 1) -> Callable[[C], C]:
    """Class decorator: freeze the dataclass and enter it in the registry under `name`.

    `version` counts the changes of its fields: 1 as it first came, one more whenever it gains a field.
    """

    def enter(cls: C) -> C:
        frozen: Any = dataclasses.dataclass(frozen=True)(cls)
        frozen.name, frozen.version = name, version
        REGISTRY[name] = frozen
        return frozen

    return enter


def to_plain(op: Any) -> dict[str, Any]:
    """JSON form: {"op": name, field: value …}."""
    return {"op": op.name, **dataclasses.asdict(op)}


def from_plain(values: Any, where: str) -> Any:
    """Rebuild an operator from untrusted JSON; CorruptFileError when anything is off."""
    if not isinstance(values, dict) or not isinstance(values.get("op"), str):
        raise CorruptFileError(f"{where}: an operator should be an object with a name, not {values!r:.80}")
    name = values["op"]
    if name not in REGISTRY:
        raise CorruptFileError(f"{where}: unknown operator {name!r:.60} ({nearest(name, REGISTRY)})")
    cls = REGISTRY[name]
    given = {key: value for key, value in values.items() if key != "op"}
    check_fields(cls, given, f"{where}: operator {name!r}")
    for field in dataclasses.fields(cls):
        if field.name in given and not _fits(given[field.name], str(field.type)):
            value = given[field.name]
            raise CorruptFileError(f"{where}: field {field.name!r} of operator {name!r} cannot be {value!r:.40}")
    return cls(**given)


def check_fields(cls: type[Any], given: Mapping[str, Any], what: str) -> None:
    """Every field that has no default, and none that `cls` does not have; CorruptFileError otherwise.

    An absent field means its default: that is how a file of an earlier version says what it means.
    """
    fields = dataclasses.fields(cls)
    needed = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    odd = (needed - set(given)) | (set(given) - {f.name for f in fields})
    if odd:
        raise CorruptFileError(f"{what} has missing or unknown fields {sorted(map(str, odd))!s:.200}")


def check_versions(versions: Any, used: set[str]) -> None:
    """The operators' versions as the file gives them: those it uses, and none later than this code's.

    Raises NewerFileError naming the operator and both versions, CorruptFileError when the table is no such thing.
    """
    if not isinstance(versions, dict) or any(type(n) is not int or n < 1 for n in versions.values()):
        raise CorruptFileError(f"the versions of the operators should be whole numbers by name, not {versions!r:.80}")
    for name in sorted(versions):
        known = getattr(REGISTRY.get(name), "version", None)
        if known is None:
            raise NewerFileError(
                f"the program uses an operator {name!r:.60} (version {versions[name]}) that this version of weightless "
                f"does not have ({nearest(name, REGISTRY)}): open it with the version that wrote it, or update"
            )
        if versions[name] > known:
            raise NewerFileError(
                f"the program uses version {versions[name]} of operator {name!r}, and this version of weightless knows "
                f"version {known}: update weightless"
            )
    if set(versions) != used:
        odd = sorted(set(versions) ^ used)
        raise CorruptFileError(f"the versions of the operators are not of those in use: {odd!s:.200}")


def _fits(value: Any, kind: str) -> bool:
    """Of that type exactly, and a number that the compiled engine's operands (int64, float64) can hold."""
    if kind == "int":
        return type(value) is int and -(2**63) <= value < 2**63
    if kind == "float":
        return type(value) in (int, float) and abs(value) < 1e300
    return type(value) is {"str": str, "bool": bool}[kind]


def need(condition: bool, op: Any, message: str) -> None:
    """Raise CorruptFileError naming the operator unless `condition` holds."""
    if not condition:
        raise CorruptFileError(f"operator {op.name!r}: {message}; the program does not fit its tensors")


def need_history(op: Any, bounds: Bounds, name: str) -> None:
    """The tokens so far: one row of u32 state with a place for every position."""
    history = bounds.tensors[name]
    long_enough = history.shape[0] == 1 and history.shape[1] >= bounds.context
    need(long_enough, op, "history shorter than the context")
    need(history.format == "u32" and history.kind == "state", op, "history is no u32 state")


def need_result(op: Any, bounds: Bounds, name: str, full: bool = False) -> None:
    """One number, or (`full`) one for every token."""
    width = bounds.vocab_size if full else 1
    need(bounds.tensors[name].shape[1] == width, op, f"a result of {width} numbers is needed")


def need_vector(op: Any, tensors: Tensors, name: str, width: int, state: bool = True) -> None:
    """A (1, width) f32 tensor, in the arena (`state`) or in the artifact."""
    tensor = tensors[name]
    need(tensor.shape == (1, width), op, f"{name} should have shape (1, {width}), not {tensor.shape}")
    need(tensor.format == "f32", op, f"{name} should be f32")
    need((tensor.kind == "state") == state, op, f"{name} lies in the wrong segment")


def is_float32(value: float) -> bool:
    """Whether a factor is positive and stays a number, and not zero, where it is used (the fast twins have float32)."""
    return 1e-37 < value < 1e38


def need_matrix(op: Any, tensors: Tensors, name: str, rows: int, cols: int) -> None:
    """A (rows, cols) weight in any arithmetic format."""
    tensor = tensors[name]
    need(tensor.shape == (rows, cols), op, f"{name} should have shape ({rows}, {cols}), not {tensor.shape}")
    need(is_arithmetic(tensor.format), op, f"{name} cannot be {tensor.format}")
    need(tensor.kind != "state", op, f"{name} should be a weight")


def need_integer(op: Any, bounds: Bounds, activations: str, *weights: str) -> None:
    """Activations that are taken as they are, or rounded to eight bits where every weight is one of whole codes."""
    need(activations in ACTIVATION_FORMATS, op, f"unknown format of activations {activations!r:.40}")
    for name in weights if activations != "f32" else ():
        fmt = bounds.tensors[name].format
        need(has_integer_product(fmt), op, f"{name} as {fmt} has no product with whole numbers")


def product_kernel(activations: str) -> str:
    """The kernel of a product with activations of that format."""
    return "matvec" if activations == "f32" else "integer_matvec"


def packed(place: Place, kernel: str) -> list[Operand]:
    """How a compiled twin is told of stored rows: [offset, stride, rows, cols, format, kernel for this format]."""
    offset, tensor = place
    storage = parse_format(tensor.format).storage
    return [offset, tensor.row_stride, *tensor.shape, format_code(tensor.format), Kernel(kernel, storage)]


def whole(tensor: Tensor, write: bool = False) -> list[Access]:
    """Every row of a tensor, without the padding between rows."""
    if tensor.row_stride == tensor.row_bytes:
        return [Access(tensor.name, 0, tensor.nbytes, write)]
    return rows_of(tensor, 0, tensor.shape[0], write)


def rows_of(tensor: Tensor, first: int, n: int, write: bool = False) -> list[Access]:
    """`n` rows from `first` on, without the padding between rows."""
    if tensor.row_stride == tensor.row_bytes:
        return [Access(tensor.name, first * tensor.row_stride, n * tensor.row_bytes, write)]
    return [row_of(tensor, r, write) for r in range(first, first + n)]


def row_of(tensor: Tensor, row: int = 0, write: bool = False) -> Access:
    """One row.  Aligned rows all cost the same, so the formula may name row 0 for "some row"."""
    return Access(tensor.name, row * tensor.row_stride, tensor.row_bytes, write)


def span_of(tensor: Tensor, first: int, n: int, write: bool = False) -> Access:
    """`n` elements of a one-row tensor of plain numbers (f32, u32)."""
    size = tensor.row_bytes // tensor.shape[1]
    return Access(tensor.name, first * size, n * size, write)
