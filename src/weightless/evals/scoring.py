"""Score windows of a token stream, by one of three paths that give the same nats.

    stepped    the compiled engine, token after token: as decoding works, and the only path that counts what the text
               decides (bytes of walks, early exits)
    blocked    many positions per weight read (`program.blocked`): several times as fast where the engine waits for
               memory, and never counted as touched
    batched    many windows per product, in PyTorch, also on a GPU and in bf16 (`batched.py`): by name only

`auto` takes the blocked path for FEWEST_BLOCKED targets or more of a model that it gives the same nats for: one with
no exits, nothing that the text decides and nothing that chooses by comparing sums.  Then some stretches of the windows
are stepped, too: their time is the speed of decoding, and their nats have to be those of the blocked path; if they are
not, all windows are stepped.  Asked for by name, a path is taken or refused; batches are judged before the rest of
the windows is scored.

Windows are independent: threads take them in turn, each with a state of its own and BLAS held to one thread.
Errors: ConfigError for an unknown path and for a model that cannot be scored in blocks or batches; WeightlessError
when these, asked for by name, give other nats.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.base.progress import progress
from weightless.export.packed import Packed
from weightless.program.blocked import PATHS, Blocked, why_not
from weightless.program.decoded import Decoded
from weightless.program.interpreter import N_TRAFFIC

if TYPE_CHECKING:
    from weightless.evals.batched import Batching

SCORING_PATHS = (*PATHS, "batched")
WARM_UP_TOKENS = 17
FEWEST_BLOCKED = 1024
"""Targets from which on decoding the weights beforehand pays."""
STRETCHES, STRETCH_TOKENS = 8, 16
"""Of one window per thread that are stepped behind blocks: positions all along it."""
ROOM_EXACT, ROOM_ROUNDED, LARGE = 1e-3, 0.05, 1e-4
"""Nats by which the stepped stretches may differ at a token: far above what an order of sums does, where no memory is
rounded and where one is; and the share of nats that are very many."""
ROOM_BF16, LARGE_BF16 = 0.3, 0.02
"""The same where products are made in bf16: 8 bits of every factor, which single tokens feel and a mean hardly does."""
MEAN_SHARE = 0.1
"""Of the room of a token, what batches may differ by in the mean over the stretches."""
Window = tuple[int, int, int]
Tick = Callable[[float], None]


@dataclass(frozen=True)
class Checked:
    """What the engine, stepped, said of some targets: the largest and the mean difference in nats, and the room that
    a single one has (`room`, and `large` times the nats themselves)."""

    n_targets: int
    largest: float
    mean: float
    room: float
    large: float
    agrees: bool
    decoded_per_second: float

    def to_plain(self) -> dict[str, Any]:
        """As JSON."""
        found = {"targets": self.n_targets, "largest_difference": self.largest, "mean_difference": self.mean}
        return {**found, "room": self.room, "room_per_nat": self.large, "room_of_the_mean": MEAN_SHARE * self.room}

    def __str__(self) -> str:
        return (
            f"{self.n_targets:,} targets stepped by the engine: largest difference {self.largest:.1e} nats "
            f"({self.room:g} + {self.large:g} of the nats allowed), mean {self.mean:+.1e} "
            f"({MEAN_SHARE * self.room:g} allowed)"
        )


@dataclass(frozen=True)
class Scored:
    """At every token of the stream: nats, bytes that the data decides, position, exits taken; and how that was found.

    `tokens_per_second` is the speed of scoring, `decoded_per_second` that of the engine, token after token.
    """

    nats: np.ndarray
    data: np.ndarray
    positions: np.ndarray
    paths: np.ndarray
    path: str
    tokens_per_second: float = 0.0
    decoded_per_second: float = 0.0
    checked: Checked | None = None

    @staticmethod
    def nothing(n_tokens: int, path: str) -> Scored:
        positions, paths = np.zeros((2, n_tokens), dtype=np.int64)
        return Scored(np.zeros(n_tokens), np.zeros((n_tokens, N_TRAFFIC), np.int64), positions, paths, path)


def check_path(path: str) -> None:
    """ConfigError naming the nearest for anything but a way to score a text."""
    if path not in SCORING_PATHS:
        raise ConfigError(f"path {path!r}: {nearest(path, SCORING_PATHS)}")


def score_windows(
    packed: Packed,
    tokens: np.ndarray,
    todo: list[Window],
    n_threads: int,
    label: str,
    path: str = "auto",
    batching: Batching | None = None,
) -> Scored:
    """All the windows (first token fed, first target scored, end of targets), on so many threads at most."""
    check_path(path)
    n_threads, n_targets = min(n_threads, len(todo)), sum(end - scored for _, scored, end in todo)
    if path == "batched":
        return _batched(packed, tokens, todo, n_threads, label, batching)
    if _is_blocked(packed, n_targets, path):
        found = _blocked(packed, tokens, todo, n_threads, label)
        if found is not None:
            return found
        if path == "blocked":
            raise WeightlessError("this model's nats in blocks are not those of its engine: score it stepped")
    return _stepped(packed, tokens, todo, n_threads, label)


def _is_blocked(packed: Packed, n_targets: int, path: str) -> bool:
    if path == "blocked" and (told := why_not(packed.program, scoring=True, exactly=False)):
        raise ConfigError(f"path blocked: {packed.family} cannot be scored in blocks, because {told}; use stepped")
    return path == "blocked" or (
        path == "auto" and n_targets >= FEWEST_BLOCKED and not why_not(packed.program, scoring=True)
    )


def _stepped(packed: Packed, tokens: np.ndarray, todo: list[Window], n_threads: int, label: str) -> Scored:
    found = Scored.nothing(len(tokens), "stepped")
    first, end = todo[0][0], min(todo[0][2], todo[0][0] + WARM_UP_TOKENS)
    packed.engine().score_stream_with_traffic(tokens[first : end - 1], tokens[first + 1 : end])

    def worker() -> Callable[[Window], None]:
        engine = packed.engine()

        def work(window: Window) -> None:
            first, scored, end = window
            engine.reset()
            fed, traffic = engine.score_stream_with_traffic(tokens[first : end - 1], tokens[first + 1 : end])
            done = scored - first - 1
            found.nats[scored:end], found.data[scored:end] = fed[done:], traffic[done:]
            found.positions[scored:end] = np.arange(scored - first, end - first)
            found.paths[scored:end] = engine.paths[done:]

        return work

    speed = _shared_out(worker, todo, n_threads, label)
    return replace(found, tokens_per_second=speed, decoded_per_second=speed)


def _blocked(packed: Packed, tokens: np.ndarray, todo: list[Window], n_threads: int, label: str) -> Scored | None:
    """None when the engine gives other nats."""
    found, program = Scored.nothing(len(tokens), "blocked"), packed.program
    decoded = Decoded(program.layout, packed.weights)

    def worker() -> Callable[[Window], None]:
        blocked = Blocked(program, packed.weights, decoded)

        def work(window: Window) -> None:
            first, scored, end = window
            blocked.reset()
            done = scored - first - 1
            found.nats[scored:end] = blocked.score(tokens[first : end - 1], tokens[first + 1 : end], done)
            found.positions[scored:end] = np.arange(scored - first, end - first)

        return work

    with _one_blas_thread():
        first, end = todo[0][0], min(todo[0][2], todo[0][0] + WARM_UP_TOKENS)
        worker()((first, first + 1, end))  # what is decoded, compiled or mapped once is in no rate
        speed = _shared_out(worker, todo, n_threads, label)
        checked = _checked(packed, decoded, tokens, _some(todo, n_threads), found.nats)
    if not checked.agrees:
        return None
    return replace(found, tokens_per_second=speed, decoded_per_second=checked.decoded_per_second, checked=checked)


def _batched(
    packed: Packed, tokens: np.ndarray, todo: list[Window], n_threads: int, label: str, batching: Batching | None
) -> Scored:
    """WeightlessError when the engine gives other nats."""
    from threadpoolctl import threadpool_limits

    from weightless.evals.batched import Batching, score_batched

    batching = Batching() if batching is None else batching
    bf16 = batching.autocast == "bf16"

    def judge(decoded: Decoded, windows: Sequence[Window], nats: np.ndarray) -> Checked:
        with threadpool_limits(1, "blas"):
            said = _checked(packed, decoded, tokens, windows, nats, bf16)
        if not (said.agrees and abs(said.mean) <= MEAN_SHARE * said.room):
            raise WeightlessError(
                f"this model's nats in batches are not those of its engine ({said}): score it stepped"
                + (", or in float32" if bf16 else "")
            )
        return said

    some = _some(todo, n_threads)
    nats, checked, speed = score_batched(packed, tokens, todo, some, judge, n_threads, label, batching)
    found = Scored.nothing(len(tokens), "batched")
    for first, scored, end in todo:
        found.positions[scored:end] = np.arange(scored - first, end - first)
    rates = {"tokens_per_second": speed, "decoded_per_second": checked.decoded_per_second}
    return replace(found, nats=nats, checked=checked, **rates)


def _some(todo: list[Window], n: int) -> list[Window]:
    """So many windows, spread over all of them."""
    return todo[:: max(1, len(todo) // n)][:n]


def _checked(
    packed: Packed,
    decoded: Decoded,
    tokens: np.ndarray,
    windows: Sequence[Window],
    nats: np.ndarray,
    bf16: bool = False,
) -> Checked:
    """The engine, a thread for each of these windows, over stretches of them beside the nats at every token."""
    with ThreadPoolExecutor(len(windows)) as pool:
        steps = list(pool.map(lambda window: _step_stretches(packed, decoded, tokens, window), windows))
    at, said = (np.concatenate([step[part] for step in steps]) for part in (0, 1))
    known = np.concatenate([step[0] >= window[1] for window, step in zip(windows, steps, strict=True)])
    said, scored = said[known], nats[at[known]]
    room, large = (ROOM_BF16, LARGE_BF16) if bf16 else (_room(packed), LARGE)
    apart = np.where(np.isnan(said) & np.isnan(scored), 0.0, scored - said)
    return Checked(
        len(said),
        float(np.abs(apart).max(initial=0.0)),
        float(apart.mean()) if len(apart) else 0.0,
        room,
        large,
        bool(np.allclose(said, scored, rtol=large, atol=room, equal_nan=True)),
        sum(len(at) / seconds for at, _, seconds in steps),
    )


def _one_blas_thread() -> AbstractContextManager[Any]:
    """BLAS held to one thread per window; a bare environment has no means to ask for it, and is only slower."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(1, "blas")


def _step_stretches(
    packed: Packed, decoded: Decoded, tokens: np.ndarray, window: Window
) -> tuple[np.ndarray, np.ndarray, float]:
    """(targets, their nats, seconds) of stretches all along a window; blocks feed what lies between them."""
    first, _, end = window
    n = end - 1 - first
    engine = packed.engine()
    engine.score_stream(tokens[first : first + 1], tokens[first + 1 : first + 2])  # compiles, or loads
    blocked = Blocked(packed.program, packed.weights, decoded, engine.S)
    size = STRETCH_TOKENS if n >= STRETCHES * STRETCH_TOKENS else n
    begins = np.linspace(0, n - size, STRETCHES if size < n else 1).astype(int).tolist()
    found, seconds = [], 0.0
    for begin in begins:
        blocked.feed(tokens[first + blocked.position : first + begin])
        fed = slice(first + begin, first + begin + size)
        engine.resume(begin)
        started = time.perf_counter()
        found.append(engine.score_stream(tokens[fed], tokens[fed.start + 1 : fed.stop + 1]))
        seconds += time.perf_counter() - started
        blocked.take_over(tokens[fed])
    at = np.concatenate([np.arange(first + begin + 1, first + begin + size + 1) for begin in begins])
    return at, np.concatenate(found), seconds


def _room(packed: Packed) -> float:
    """Nats that an order of sums, and what is rounded to whole codes in between, may move a target by."""
    kept = {name for op in packed.program.body for name in op.kept()}
    rounded = any(packed.program.by_name[name].format not in ("f32", "u32") for name in kept)
    rounded = rounded or any(op.rounds() for op in packed.program.operators("score"))
    return ROOM_ROUNDED if rounded else ROOM_EXACT


def _shared_out(
    worker: Callable[[], Callable[[Window], None]], todo: list[Window], n_threads: int, label: str
) -> float:
    """Have every window worked by one of the threads; targets per second.  An interrupt ends them at their window."""
    stopped = threading.Event()
    started = time.perf_counter()
    n_targets = sum(end - scored for _, scored, end in todo)
    with progress(label, n_targets, "tokens") as tick, ThreadPoolExecutor(n_threads) as pool:

        def part(windows: list[Window]) -> None:
            work = worker()
            for window in windows:
                if stopped.is_set():
                    return
                work(window)
                tick(window[2] - window[1])

        try:
            for finished in [pool.submit(part, todo[i::n_threads]) for i in range(n_threads)]:
                finished.result()
        finally:
            stopped.set()
    return n_targets / (time.perf_counter() - started)
