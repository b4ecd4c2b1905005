"""What several cards ask of a worker: does it take an option, leave its inputs alone, grow with N (floor 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weightless.deck.bench import Worker
from weightless.deck.outcome import Failed

MOST_GROWTH, MOST_SHARE = 2.2, 0.2
SHARE_WHEN_CAUSAL = 0.85
"""Of the time without a mask.  Half of the tiles have work in them, which comes to 0.6; all of them come to 1.2."""


def takes(worker: Worker, name: str, *arguments: Any, **named: Any) -> bool:
    """Whether `name` has the parameters it is called with here: False when the call raises TypeError."""
    return worker.raises(name, *arguments, **named) != "TypeError"


def leaves_alone(worker: Worker, name: str, arrays: Sequence[np.ndarray], *rest: Any, what: str = "QKV") -> None:
    """Call `name(*arrays, *rest)` on arrays that live in the worker, and look at them again.

    Raises Failed (WRONG_NUMERIC) when one has changed; `what` names them by one letter each.
    """
    there = [worker.hold(array) for array in arrays]
    worker.call(name, *there, *rest)
    unchanged(worker, there, arrays, list(what))


def unchanged(worker: Worker, there: Sequence[Any], arrays: Sequence[np.ndarray], names: Sequence[str]) -> None:
    """Raise Failed (WRONG_NUMERIC) unless what the handles `there` stand for still equals the arrays."""
    for name, handle, array in zip(names, there, arrays):
        left = worker.read(handle)
        if not isinstance(left, np.ndarray) or not np.array_equal(left, array):
            raise Failed("WRONG_NUMERIC", f"{name} is written to")


def processor_seconds(worker: Worker, ask: Callable[[Worker], Any]) -> float:
    """The processor time of the worker for `ask`."""
    before = worker.cpu_seconds
    ask(worker)
    return worker.cpu_seconds - before


def tiles_are_skipped(worker: Worker, ask: Callable[[Worker, bool], Any]) -> None:
    """Raise Failed (SLOW) when `ask(worker, causal)` is hardly cheaper with the causal mask, measured twice."""
    for last in (False, True):
        seconds = {False: float("inf"), True: float("inf")}
        for causal in (True, False) * 4:  # by turns, since the machine may be slower for a while
            seconds[causal] = min(seconds[causal], processor_seconds(worker, lambda w, c=causal: ask(w, c)))
        share = seconds[True] / max(seconds[False], 1e-9)
        if share <= SHARE_WHEN_CAUSAL:
            return
        if last:
            told = f"causal takes {share:.0%} of the time of causal=False, allowed {SHARE_WHEN_CAUSAL:.0%}"
            raise Failed("SLOW", f"{told}; tiles above the diagonal are not skipped")


def grows_linearly(worker: Worker, sizes: tuple[int, int, int], ask: Callable[[Worker, int], Any], square: int) -> None:
    """Memory at the sizes (small, N, 2N): 2N takes at most 2.2 times what N takes, and 20 % of one (2N, 2N) array more.

    `square` is the bytes of such an array.  The first size pays for what any call needs.  Raises Failed (OOM); says
    nothing where nobody counts.
    """
    peaks = [worker.peak_bytes]
    for size in sizes:
        ask(worker, size)
        peaks.append(worker.peak_bytes)
    small, one, two = peaks[1:]
    if one == 0:
        return
    if two > MOST_GROWTH * one:
        told = f"from N = {sizes[1]} to {sizes[2]}; at most {MOST_GROWTH} times"
        raise Failed("OOM", f"memory grows {two / one:.1f} times {told}")
    if two - small > MOST_SHARE * square:
        share = (two - small) / square
        raise Failed("OOM", f"N = {sizes[2]} takes {share:.0%} of an (N, N) array; at most {MOST_SHARE:.0%}")
