"""The third counter: what PyTorch executes in one cached step of the training model, charged at declared widths.

A `TorchDispatchMode` sees every operation and its operands.  Which bytes are read follows from them alone: parameters,
constants and caches are known by the identity of their storage, the elements by offset, sizes and strides of the view
that is handed in, rows of a table by the indices; `aten_rules` says per operation what is read and written.  The decode
program lends only names: the format each tensor is declared in, and the ledger line of an operator's result.

The step marks its operators (`fused(name)`), which must be those of the program, in their order.  Then

    named memory     an operator's reads of it, except of what it wrote itself, and its writes, count once each, at the
                     declared width, scales included
    a new tensor     is scratch inside its operator.  What another operator reads of it passed through memory: written
                     once, read once per reader, 4 bytes per number (float32; ids as u32)

Covered: T of every component per operator, and U of every component but activations (which buffers are used again is
not PyTorch's to say).  Not covered: 64-byte lines; values that leave as Python numbers, so a step must read what
addresses memory where it uses it.  Families without a PyTorch model (n-gram) have no such trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weightless.audit.counters.aten_rules import COMPUTE, CREATE, OVERWRITE, PUT_ROWS, ROWS, UPDATE, VIEW, rule_of
from weightless.audit.counters.stored_width import touched_bytes
from weightless.base.errors import WeightlessError
from weightless.program.tensor import Tensor

WIDTH = {
    torch.float64: 8,
    torch.float32: 4,
    torch.int64: 4,
    torch.int32: 4,
    torch.bfloat16: 2,
    torch.float16: 2,
    torch.bool: 1,
}
"""Bytes per element of a tensor that passes between operators; ids are charged as u32."""
MAX_FROM_HOST = 16
"""Numbers that a step may bring along as literals; more could be weights that were read unseen."""


@dataclass
class _Memory:
    """One storage: the named tensor that lies in it, or None for one made by operator `maker`."""

    base: torch.Tensor  # kept alive, so that no address is given out twice
    declared: Tensor | None
    maker: int = -1

    @property
    def n_elements(self) -> int:
        return self.base.untyped_storage().nbytes() // self.base.element_size()


@dataclass
class _Region:
    """One operator while it runs: per storage, elements read before this operator wrote them, and elements written."""

    name: str
    read: dict[int, np.ndarray] = field(default_factory=dict)
    written: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class TracedOperator:
    """`named`: {tensor: (bytes read, bytes written)}; `passed_in`: {maker: bytes read of its results}."""

    name: str
    named: dict[str, tuple[int, int]]
    passed_in: dict[int, int]
    passed_on: int


@dataclass(frozen=True)
class TracedStep:
    """Every operator in order, and distinct bytes over the whole step per named tensor."""

    operators: tuple[TracedOperator, ...]
    unique: dict[str, int]


class Trace(TorchDispatchMode):
    """Listen to one step: `with trace: … fused=trace.operator …`, then `trace.finish(result)`."""

    def __init__(self, named: Mapping[str, torch.Tensor], declared: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._memory: dict[int, _Memory] = {}
        self._regions: list[_Region] = []
        self._inside = False
        for name, tensor in named.items():
            n, tensor = tensor.numel(), tensor.detach()
            if not tensor.is_contiguous() or n != declared[name].shape[0] * declared[name].shape[1]:
                raise WeightlessError(f"{name} {tuple(tensor.shape)} is not laid out as declared: {declared[name]}")
            self._memory[_key(tensor)] = _Memory(tensor, declared[name])

    @contextmanager
    def operator(self, name: str) -> Iterator[None]:
        """What runs inside is one fused operator."""
        if self._inside:
            raise WeightlessError(f"operator {name!r} begins inside {self._regions[-1].name!r}: operators do not nest")
        self._regions.append(_Region(name))
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = rule_of(func)
        if not self._inside:
            raise WeightlessError(f"{func} runs outside every operator: mark it in the model's step")
        mutated = _mutated(func, args, kwargs)
        tensors = list(_tensors([args, kwargs]))
        if "lift_fresh" in str(func) and args[0].numel() > MAX_FROM_HOST:
            raise WeightlessError(
                f"{args[0].numel()} numbers enter {self._regions[-1].name!r} from the host: let the "
                "operator read them from a tensor that the trace knows"
            )
        if rule in (ROWS, PUT_ROWS):
            self._by_rows(rule, args)
        elif rule in (COMPUTE, UPDATE, OVERWRITE):
            for tensor in tensors:
                if rule != OVERWRITE or not any(tensor is m for m in mutated):
                    self._note(tensor, write=False)
        out = func(*args, **kwargs)
        for tensor in _tensors([out]):
            self._known(tensor, fresh=rule != VIEW)
            if rule in (COMPUTE, CREATE, ROWS) and not mutated:
                self._note(tensor, write=True)
        if rule in (UPDATE, OVERWRITE):
            for tensor in mutated:
                self._note(tensor, write=True)
        return out

    def _by_rows(self, rule: str, args: Sequence[Any]) -> None:
        """embedding(table, ids), index_select(table, dim, ids), index(table, [ids]), index_put_(table, [ids], new)."""
        table, rest = args[0], [a for a in args[1:] if not isinstance(a, int)]
        ids = rest[0][0] if isinstance(rest[0], (list, tuple)) else rest[0]
        if isinstance(rest[0], (list, tuple)) and (len(rest[0]) != 1 or ids.dtype == torch.bool):
            raise WeightlessError("the trace follows indices into rows only: index one dimension, by number")
        if isinstance(args[1], int) and args[1] != 0:
            raise WeightlessError("the trace follows index_select over rows only")
        for tensor in (ids, *_tensors(rest[1:])):
            self._note(tensor, write=False)
        for row in set(ids.detach().reshape(-1).tolist()):
            size, stride = tuple(table.shape[1:]), tuple(table.stride()[1:])
            self._mark(table, int(table.storage_offset()) + row * table.stride(0), size, stride, rule == PUT_ROWS)

    def _note(self, tensor: torch.Tensor, write: bool) -> None:
        self._mark(tensor, int(tensor.storage_offset()), tuple(tensor.shape), tensor.stride(), write)

    def _mark(self, tensor: torch.Tensor, offset: int, size: tuple, stride: tuple, write: bool) -> None:
        key, region = self._known(tensor), self._regions[-1]
        seen = region.written if write else region.read
        if key not in seen:
            seen[key] = np.zeros(self._memory[key].n_elements, dtype=bool)
        view = np.lib.stride_tricks.as_strided(seen[key][offset:], size, stride)  # a mask has one byte per element
        if write or key not in region.written:
            view[...] = True
        else:
            view |= ~np.lib.stride_tricks.as_strided(region.written[key][offset:], size, stride)

    def _known(self, tensor: torch.Tensor, fresh: bool = False) -> int:
        key = _key(tensor)
        if key not in self._memory:
            if not fresh:
                raise WeightlessError(
                    f"a tensor {tuple(tensor.shape)} from outside enters {self._regions[-1].name!r}: "
                    "it is no parameter, no cache and no result of an operator"
                )
            self._memory[key] = _Memory(tensor, None, len(self._regions) - 1)
        return key

    def finish(self, result: torch.Tensor) -> TracedStep:
        """Charge what was seen; `result` is what the host reads."""
        live = {_key(result): np.ones(self._memory[_key(result)].n_elements, dtype=bool)}
        out: list[TracedOperator] = []
        for i in reversed(range(len(self._regions))):
            out.append(self._charged(i, live))
        return TracedStep(tuple(reversed(out)), self._unique())

    def _charged(self, i: int, live: dict[int, np.ndarray]) -> TracedOperator:
        """Going backwards: what is written counts if somebody later reads it, or if it has a name."""
        region = self._regions[i]
        named: dict[str, tuple[int, int]] = {}
        passed_in: dict[int, int] = {}
        passed_on = 0
        for key in {**region.read, **region.written}:
            memory, nothing = self._memory[key], np.zeros(self._memory[key].n_elements, dtype=bool)
            read, written = region.read.get(key, nothing), region.written.get(key, nothing)
            if memory.declared is not None:
                shape, fmt = memory.declared.shape, memory.declared.format
                both = [touched_bytes(mask.reshape(shape), fmt) for mask in (read, written)]
                named[memory.declared.name] = (both[0], both[1])
                continue
            wanted, width = live.get(key, nothing), WIDTH[memory.base.dtype]
            passed_on += width * int((written & wanted).sum())
            if read.any():
                passed_in[memory.maker] = passed_in.get(memory.maker, 0) + width * int(read.sum())
            live[key] = (wanted & ~written) | read
        return TracedOperator(region.name, named, passed_in, passed_on)

    def _unique(self) -> dict[str, int]:
        union: dict[int, np.ndarray] = {}
        for region in self._regions:
            for masks in (region.read, region.written):
                for key, mask in masks.items():
                    if self._memory[key].declared is not None:
                        union[key] = union[key] | mask if key in union else mask
        out = {}
        for key, mask in union.items():
            declared = self._memory[key].declared
            assert declared is not None
            out[declared.name] = touched_bytes(mask.reshape(declared.shape), declared.format)
        return out


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested arguments."""
    for value in values.values() if isinstance(values, dict) else values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple, dict)):
            yield from _tensors(value)


def _mutated(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[torch.Tensor]:
    """Operands that the operation's schema says it writes to (squeeze_ and its kind change only the view)."""
    given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | dict(kwargs)
    marked = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return [tensor for name in marked for tensor in _tensors([given.get(name)])]
