"""The fourth counter: which 4 KiB pages of the engine's memory the processor really visits in one step.

Weights and state are copied into anonymous memory without huge pages; a step runs once to warm everything up; then the
kernel is told to forget (write 1 to /proc/self/clear_refs), one step runs in the compiled engine, and the accessed
bits are read back (Referenced in /proc/self/smaps).

Expected relation: the set of pages visited = the set of pages that hold a byte named by the engine's log.  It is exact,
page by page: every chunk of memory is a mapping of its own (neighbours differ in MADV_DONTDUMP, which keeps the kernel
from joining them).  A translation that the processor still remembers would hide a visit, so after the bits are cleared
the translations are dropped (mprotect to nothing and back).

What disturbs: a processor may visit a page by speculation, the more often the more others use it, and a kernel short of
memory may clear bits in between.  So a position that differs is measured again, after longer and longer pauses, up to
ATTEMPTS times in all, until one measurement agrees in every chunk; how often that was is told (`repeats`).  It hides no
true difference: what the step visits it visits each time, and what it does not visit is never seen but by chance.
One more page may be seen where the bytes of a page that are named end within a vector load (EDGE bytes) of its own end:
the lanes of such a load that are masked out are not read, but the processor looks up their page.
In models of more than MAX_CHUNKS pages a chunk is several pages, and their number is compared, chunk by chunk.

Needs Linux with /proc and clear_refs; elsewhere the counter says that it was skipped, and why.  Only this process's
accessed bits are cleared, which changes no behaviour but the kernel's guess of what to swap out.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from weightless.audit.counters.addresses import addresses
from weightless.audit.counters.subjects import Runnable
from weightless.base.errors import WeightlessError
from weightless.program import interpreter as vm
from weightless.program.engine import Engine

PAGE = 4096
MAX_CHUNKS = 8192
EDGE = 64  # bytes of the widest load: sixteen float32 numbers
ATTEMPTS = 10
FIRST_PAUSE = 0.001  # seconds before the second attempt, doubled before each further one: half a second in all
_SAID = re.compile(rb"^([0-9a-f]+)-[0-9a-f]+ [-rwxsp]{4} |^Referenced: +([0-9]+) kB$", re.MULTILINE)
_SMAPS, _CLEAR = Path("/proc/self/smaps"), Path("/proc/self/clear_refs")


class PagesUnavailableError(WeightlessError):
    """This system does not tell which pages were visited."""


@dataclass(frozen=True)
class Visited:
    """Pages of one step: named by the log, found by the system; `difference` in words, empty when they are the same.

    `repeats` is how often the step was measured again because a measurement differed.
    """

    position: int
    predicted: dict[str, int]
    found: dict[str, int]
    difference: str
    repeats: int = 0


class _Memory:
    """Anonymous pages around a copy of `content`, cut into chunks whose accessed bits can be told apart."""

    def __init__(self, content: np.ndarray) -> None:
        n_pages = max(1, -(-len(content) // PAGE))
        self.pages_per_chunk = -(-n_pages // MAX_CHUNKS)
        self.n_bytes = n_pages * PAGE
        self._map = mmap.mmap(-1, self.n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a kernel without huge pages refuses the advice, and needs none
            self._map.madvise(mmap.MADV_NOHUGEPAGE)
        self.bytes = np.frombuffer(self._map, dtype=np.uint8)
        self.bytes[: len(content)] = content
        self.start = self.bytes.ctypes.data
        chunk = self.pages_per_chunk * PAGE
        for first in range(0, self.n_bytes, 2 * chunk):
            self._map.madvise(mmap.MADV_DONTDUMP, first, min(chunk, self.n_bytes - first))

    def predicted(self, touched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pages per chunk that hold a touched byte, and how many at most may be seen."""
        padded = np.zeros(self.n_bytes, dtype=bool)
        padded[: len(touched)] = touched
        pages = padded.reshape(-1, PAGE)
        named = np.logical_or.reduce(pages, axis=1)
        reached = named.copy()
        reached[1:] |= pages[:-1, -EDGE:].any(axis=1)
        starts = np.arange(0, len(pages), self.pages_per_chunk)
        least, most = (np.add.reduceat(per_page.astype(np.int64), starts) for per_page in (named, reached))
        return least, most

    def forget(self) -> None:
        """Drop remembered translations, so that the next visit sets the accessed bit again."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        for protection in (0, mmap.PROT_READ | mmap.PROT_WRITE):
            if libc.mprotect(self.start, self.n_bytes, protection) != 0:
                raise PagesUnavailableError("the system refuses mprotect on anonymous memory")

    def found(self, referenced: dict[int, int]) -> np.ndarray:
        """Pages per chunk that were visited; `referenced` = {address of a mapping: pages}."""
        chunk = self.pages_per_chunk * PAGE
        n_chunks = -(-self.n_bytes // chunk)
        out = np.zeros(n_chunks, dtype=np.int64)
        for address, n_pages in referenced.items():
            if self.start <= address < self.start + self.n_bytes:
                out[(address - self.start) // chunk] = n_pages
        return out


def visited(runnable: Runnable, tokens: np.ndarray, targets: np.ndarray, t: int) -> Visited:
    """Pages visited by the compiled engine at position t (from 1); PagesUnavailableError where nobody can tell."""
    _need_system()
    named = addresses(runnable, tokens, targets, t)
    weights, state = _Memory(runnable.weights[: len(named.weights)]), _Memory(named.before)
    engine = Engine(runnable.program, weights.bytes, state=state.bytes[: len(named.before)])
    step = np.asarray(tokens[t - 1 : t]), np.asarray(targets[t - 1 : t])
    for repeats in range(ATTEMPTS):
        if repeats:
            time.sleep(FIRST_PAUSE * 2 ** (repeats - 1))
        _look(engine, step, t, named.before, (weights, state))
        referenced = dict(_referenced())
        pairs = {
            "weights": (*weights.predicted(named.weights), weights.found(referenced)),
            "state": (*state.predicted(named.state), state.found(referenced)),
        }
        difference = _difference(t, pairs)
        if not difference:
            break
    predicted, found = ({key: int(pair[i].sum()) for key, pair in pairs.items()} for i in (0, 2))
    told = f"{difference}, and none of {ATTEMPTS} measurements agreed" if difference else ""
    return Visited(t, predicted, found, told, repeats)


def _look(
    engine: Engine, step: tuple[np.ndarray, np.ndarray], t: int, before: np.ndarray, memories: tuple[_Memory, ...]
) -> None:
    """The step twice: once to load the code and settle allocations, once with all accessed bits cleared before."""
    for measured in (False, True):
        engine.S[:] = before  # a step may leave a state from which it would go another way
        engine.registers[vm.T] = t - 1
        if measured:
            _CLEAR.write_text("1")
            for memory in memories:
                memory.forget()
        engine.score_stream(*step)


def _difference(t: int, pairs: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> str:
    for key, (predicted, most, found) in pairs.items():
        off = np.flatnonzero((found < predicted) | (found > most))
        if len(off):
            at = int(off[0])
            return (
                f"position {t}, {key}: {len(off)} of {len(found)} chunks differ, first chunk {at}: the log names "
                f"{int(predicted[at])} pages, the system saw {int(found[at])}"
            )
    return ""


def _referenced() -> Iterator[tuple[int, int]]:
    """(address, visited pages) of every mapping of this process."""
    address = 0
    for found in _SAID.finditer(_SMAPS.read_bytes()):  # names of mapped files need not be text
        if found[1]:
            address = int(found[1], 16)
        else:
            yield address, int(found[2]) * 1024 // PAGE


def _need_system() -> None:
    if mmap.PAGESIZE != PAGE:
        raise PagesUnavailableError(f"pages of {mmap.PAGESIZE} bytes; the counter expects {PAGE}")
    if not hasattr(mmap, "MADV_DONTDUMP"):
        raise PagesUnavailableError("this system has no madvise for anonymous memory (Linux has)")
    _need_files(_SMAPS, _CLEAR)


@cache
def _need_files(smaps: Path, clear: Path) -> None:
    """Raises PagesUnavailableError; what a system tells once it tells always, so it is asked once."""
    with _readable():
        smaps.open().close()
        clear.write_text("1")
    if not any(n_pages for _, n_pages in _referenced()):
        raise PagesUnavailableError("the system reports no accessed pages at all")


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PagesUnavailableError(f"{error.filename or '/proc/self'}: {error.strerror}") from error
