"""What operators over sorted columns share: limits, what a column must be, a binary search that counts its probes."""

from __future__ import annotations

from functools import lru_cache

from weightless.program.arena import Arena
from weightless.program.operator import Access, Tensors, need, row_of
from weightless.program.tensor import Tensor

QUANTA = 2**32 - 1
MAX_LEVEL = 7  # words of context; a sampler takes one of the engine's eight uniforms per level
ABSENT, PRESENT = 0, 1  # what `data[1]` says of a search
NOT_DRAWN = -1.0


def need_ids(op: object, tensors: Tensors, name: str) -> None:
    """A tight column of ids, stored."""
    table = tensors[name]
    need(table.shape[1] == 1 and table.format in ("u16", "u32"), op, f"{name} should be a column of ids")
    need(table.kind != "state" and not table.by_row, op, f"{name} should be a tightly packed constant")


def need_found(op: object, tensors: Tensors, name: str) -> None:
    """The state that a context leaves: a node's two ranges."""
    need(tensors[name].shape == (1, 4) and tensors[name].format == "u32", op, f"{name} should be four u32")
    need(tensors[name].kind == "state", op, f"{name} should be state")


def search(arena: Arena, table: str, first: int, end: int, key: int) -> tuple[int, int]:
    """Binary search of `key` in rows first..end-1: (row, or -1 when absent; number of probes)."""
    probes = 0
    while first < end:
        middle = (first + end) // 2
        probes += 1
        value = int(arena.row(table, middle)[0])
        if value == key:
            return middle, probes
        first, end = (middle + 1, end) if value < key else (first, middle)
    return -1, probes


def probed(tensors: Tensors, table: str, n_probes: int) -> tuple[Access, ...]:
    """`n_probes` distinct rows of a column (which ones, only the data knows)."""
    return _first_rows(tensors[table], n_probes)


@lru_cache(maxsize=1024)
def _first_rows(tensor: Tensor, n: int) -> tuple[Access, ...]:
    """Kept, because at every position the same are asked for."""
    return tuple(row_of(tensor, row) for row in range(n))
