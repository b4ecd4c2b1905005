"""From operators and kernels to the addresses of their machine code, compiled the first time that they are needed.

An operator's compiled twin is the function of its name in `compiled.py` of its room.  It is compiled on its own, once
per machine and version of the code, and so is each kernel for each format; a program waits for those that it uses.
Where a second core is idle, a second process helps (`companion.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
from numba import typeof, types

from weightless.base.progress import told_if_slow
from weightless.kernels.numba.attend import ATTEND
from weightless.kernels.numba.calls import address_of
from weightless.kernels.numba.integer_matvec import INTEGER_MATVEC
from weightless.kernels.numba.packed import DECODE_ROW, MATVEC
from weightless.kernels.numba.rows import ENCODE_ROW, RECALL_ROW
from weightless.program.companion import Companion
from weightless.program.operator import N_FLOATS, N_INTS, Kernel
from weightless.program.operators import compiled_twin
from weightless.program.program import HEADS, Program

NUMBER, VECTOR = types.int64, types.Array(types.float32, 1, "C")
VIEWS = (types.uint8, types.float32, types.uint16)
STORED = types.Tuple([types.Array(kind, 1, "C", readonly=True) for kind in VIEWS])
CACHE = types.Tuple([types.Array(kind, 1, "C") for kind in VIEWS])

KERNELS: dict[str, tuple[Mapping[str, Any], tuple[Any, ...]]] = {
    "matvec": (MATVEC, (STORED, *[NUMBER] * 4, VECTOR, VECTOR)),
    "integer_matvec": (INTEGER_MATVEC, (STORED, *[NUMBER] * 4, VECTOR, VECTOR)),
    "decode_row": (DECODE_ROW, (STORED, NUMBER, NUMBER, VECTOR)),
    "recall_row": (RECALL_ROW, (CACHE, NUMBER, NUMBER, VECTOR)),
    "encode_row": (ENCODE_ROW, (VECTOR, NUMBER, CACHE, NUMBER)),
    "attend": (ATTEND, (VECTOR, *[NUMBER] * 3, CACHE, *[NUMBER] * 4, VECTOR, VECTOR)),
}
"""Functions by format, and the types of their arguments, for every kernel that is called by address."""

Compiling = Literal["helped", "alone", "from the end"]
"""Whether a second process helps, from the other end; the second process itself begins there, and has no help."""


class Instructions:
    """A program as the compiled engine runs it: `spans[part]` = (first, last) rows of the body or of a head.

    twins int64 [n] addresses of compiled operators; code int64 [n, N_INTS] and floats [n, N_FLOATS] their operands;
    route int64 [n, 3] what runs behind each (`flow.py`), of which a head has one way only.
    Rows are linked part by part, when `link` is first asked for one: until then their addresses are 0.
    """

    def __init__(self, program: Program) -> None:
        self._program, self.spans, self._operators, rows = program, {"": (0, 0)}, [], []
        for part, ops in (("body", program.body), *((head, program.heads[head]) for head in HEADS)):
            self.spans[part] = (len(rows), len(rows) + len(ops))
            self._operators += [type(op) for op in ops]
            rows += program.lowered(ops)
        heads = np.arange(len(program.body), len(rows))
        straight = np.stack([heads + 1, heads + 1, np.zeros_like(heads)], axis=1)
        self.route = np.concatenate([program.flow.route, straight])
        self.twins = np.zeros(len(rows), dtype=np.int64)
        self.code = np.zeros((len(rows), N_INTS), dtype=np.int64)
        self.floats = np.zeros((len(rows), N_FLOATS))
        self._kernels: list[tuple[int, int, Kernel]] = []
        for i, row in enumerate(rows):
            self.floats[i, : len(row.floats)] = row.floats
            for j, operand in enumerate(row.ints):
                if isinstance(operand, Kernel):
                    self._kernels.append((i, j, operand))
                else:
                    self.code[i, j] = operand
        self._linked: set[str] = {""}

    def link(self, parts: Sequence[str], memory: tuple[Any, ...], of: str, compiling: Compiling = "helped") -> None:
        """Make parts of the program called `of` ready to run on `memory`, the arguments behind operands."""
        wanted = [row for part in parts if part not in self._linked for row in range(*self.spans[part])]
        if not wanted:
            return
        argument_types = tuple(typeof(value) for value in (self.code[0], self.floats[0], *memory))
        slots = [slot for slot in self._kernels if slot[0] in set(wanted)]
        functions = {cls: (compiled_twin(cls), argument_types) for cls in (self._operators[row] for row in wanted)}
        functions |= {kernel: _function_of(kernel) for _, _, kernel in slots}
        if compiling == "from the end":
            functions = dict(reversed(functions.items()))
        is_logged = len(memory[0]) > len(VIEWS)
        found = _addresses(functions, of, Companion(self._program, is_logged) if compiling == "helped" else None)
        for i, j, kernel in slots:
            self.code[i, j] = found[kernel]
        for row in wanted:
            self.twins[row] = found[self._operators[row]]
        self._linked |= set(parts)


def _function_of(kernel: Kernel) -> tuple[Any, tuple[Any, ...]]:
    """The kernel's function and the types of its arguments."""
    functions, argument_types = KERNELS[kernel.name]
    return functions[kernel.format], argument_types


def _addresses(
    functions: Mapping[Any, tuple[Any, tuple[Any, ...]]], of: str, companion: Companion | None
) -> dict[Any, int]:
    """The address of every function; says what is compiled, where that takes a while."""
    new = [key for key, (function, argument_types) in functions.items() if argument_types not in function.overloads]
    n_kernels = sum(isinstance(key, Kernel) for key in new)
    what, found = f"{_some(len(new) - n_kernels, 'operator')} and {_some(n_kernels, 'kernel')} of {of}", {}

    def told() -> str:
        done = sum(key in found for key in new)
        return f"compiling {what} (once per machine and version of the code), {done} of {len(new)} are done"

    with told_if_slow(told) if new else nullcontext(), companion or nullcontext():
        for key, function in functions.items():
            found[key] = address_of(*function)
            if companion is not None:
                companion.after(function[0], len(functions) - len(found))
    return found


def _some(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
