"""What a count has come to, to and from the chunks of a saved work: tables without what is empty, and what is learned.

    growing nodes, then every list: a chunk for ROWS rows, masks (u16) and values (u32)    learned: a chunk per array

A key of a slot of nodes becomes a place in other arrays, so it is held against them; all other numbers mean something
whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from weightless.base.errors import CorruptFileError
from weightless.base.interrupts import Interrupts
from weightless.base.progress import told_if_slow
from weightless.base.saved_work import SavedWork
from weightless.countmix.learning import Learner
from weightless.kernels.numba import count_inputs as fast
from weightless.kernels.numba.count_saving import expand, squeeze
from weightless.kernels.numba.count_tables import FRESH
from weightless.ops.count_mixing import N_GROUPS

COUNTING, COUNTING_THE_REST = range(2)
ROWS = 1 << 18
LEARNED = ("order0", "dense_map", "list_map", "pair_map", "weights", "last")
NOTHING = np.uint32(0)
DAMAGED = "the saved count is damaged: "


class Session:
    """A count as this process goes on with it: from what is saved, and saved when that is due or it has to stop.

    `stage` and `reached` say how far earlier sessions have come: COUNTING, or COUNTING_THE_REST; up to which token.
    """

    def __init__(self, saved: SavedWork | None, interrupts: Interrupts | None) -> None:
        self._saved, self._interrupts = saved, interrupts
        self.stage, self.reached = COUNTING, 0

    def begin(self, identity: dict[str, Any], fresh: Callable[[], Learner], vocab_size: int) -> Learner:
        """The learner of this very count as it was saved; a fresh one where there is none that is whole."""
        learner = fresh()

        def restored(at: dict[str, Any], chunks: Iterator[bytes]) -> None:
            numbers: list[Any] = [at.get(key) for key in ("stage", "reached")]
            if any(type(n) is not int or n < 0 for n in numbers) or numbers[0] > COUNTING_THE_REST:
                raise CorruptFileError(f"{DAMAGED}it does not say how far it has come")
            restore(chunks, learner.tables, learner.learned, len(learner.shape.dense), vocab_size)
            self.stage, self.reached = numbers

        if self._saved is None or self._saved.begin(identity, restored):
            return learner
        self.stage, self.reached = COUNTING, 0
        return fresh()

    def after(self, learner: Learner, stage: int, at: int, learned: fast.Learned | None = None) -> None:
        """Save when that is due; KeyboardInterrupt or SystemExit behind it when this process has to stop."""
        if self._saved is None:
            return
        stops = self._interrupts is not None and self._interrupts.requested is not None
        if not stops and not self._saved.is_due():
            return
        with told_if_slow("saving what is counted"):
            learned = learner.learned if learned is None else learned
            chunks, expected = chunks_of(learner.tables, learned), expected_bytes(learner.tables, learned)
            self._saved.save({"stage": stage, "reached": at}, chunks, expected)
        if self._interrupts is not None:
            self._interrupts.stop_if_requested()


def chunks_of(tables: fast.Tables, learned: fast.Learned) -> Iterator[bytes | memoryview]:
    """Everything that decides how the count goes on."""
    for rows, empty in _blocks(tables):
        masks, values = np.zeros(len(rows), np.uint16), np.empty(rows.size, np.uint32)
        n = squeeze(rows, empty, masks, values)
        yield masks.tobytes() + values[:n].tobytes()
    for name in LEARNED:
        yield np.ascontiguousarray(getattr(learned, name)).reshape(-1).data.cast("B")


def expected_bytes(tables: fast.Tables, learned: fast.Learned) -> int:
    """About how many bytes that will be, and a tenth more: hashes spread what is counted evenly over the rows."""
    seen = total = n = 0
    for rows, empty in _blocks(tables):
        if seen % 16 == 0 or len(rows) < ROWS:
            some = rows[: 1 << 14]
            masks, values = np.zeros(len(some), np.uint16), np.empty(some.size, np.uint32)
            n = 2 + 4 * squeeze(some, empty, masks, values) / max(1, len(some))
        total, seen = total + n * len(rows), seen + 1
    return int(1.1 * total) + sum(getattr(learned, name).nbytes for name in LEARNED)


def restore(chunks: Iterator[bytes], tables: fast.Tables, learned: fast.Learned, n_dense: int, vocab_size: int) -> None:
    """Fill empty tables and what is learned; CorruptFileError when it is not what `chunks_of` writes."""
    nodes_left = len(tables.nodes)
    for rows, empty in _blocks(tables):
        chunk = next(chunks, b"")
        if len(chunk) % 4 or not 2 * len(rows) <= len(chunk) <= 2 * len(rows) + rows.nbytes:
            raise CorruptFileError(f"{DAMAGED}{len(chunk):,} bytes are no {len(rows):,} rows")
        masks = np.frombuffer(chunk, np.uint16, len(rows))
        values = np.frombuffer(chunk, np.uint32, offset=2 * len(rows))
        if expand(masks, values, rows, empty) != len(values):
            raise CorruptFileError(f"{DAMAGED}its masks are not those of its values")
        if nodes_left > 0:
            _check_keys(rows[:, 0], n_dense, vocab_size)
            nodes_left -= len(rows)
    for name in LEARNED:
        there: np.ndarray = getattr(learned, name)
        chunk = next(chunks, b"")
        if len(chunk) != there.nbytes:
            raise CorruptFileError(f"{DAMAGED}{name} has {len(chunk):,} bytes in the place of {there.nbytes:,}")
        there[...] = np.frombuffer(chunk, there.dtype).reshape(there.shape)


def _blocks(tables: fast.Tables) -> Iterator[tuple[np.ndarray, Any]]:
    """Views of so many rows, and what stands where a row of somebody has nothing."""
    for table, empty in ((tables.nodes, FRESH), *((one, NOTHING) for one in tables.lists)):
        for first in range(0, len(table), ROWS):
            yield table[first : first + ROWS], empty


def _check_keys(keys: np.ndarray, n_dense: int, vocab_size: int) -> None:
    """check | context << 10 | group << 13 | node << 16, where anybody is."""
    keys = keys[keys != 0]
    context, group, node = keys >> 10 & 7, keys >> 13 & 7, keys >> 16
    if len(keys) and not (context.max() < n_dense and group.max() < N_GROUPS and node.max() < vocab_size):
        raise CorruptFileError(f"{DAMAGED}it has counts of no node")
