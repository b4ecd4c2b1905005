"""Questions that several cards ask of a worker: does it take an option, leave its inputs alone, what does it use.

Stands on floor 9, beside `bench.py`.  Where a worker cannot be asked (no NumPy under a known name, no memory counted)
the check says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from weightless.deck.bench import Bench, Handle, Worker
from weightless.deck.outcome import Failed

ARRAY_MAKERS = ("np.array", "numpy.array")


def takes(worker: Worker, name: str, *arguments: Any, **named: Any) -> bool:
    """Whether `name` has the parameters it is called with here: False when the call raises TypeError."""
    return worker.raises(name, *arguments, **named) != "TypeError"


def kept_there(worker: Worker, array: np.ndarray) -> Handle | None:
    """A copy of `array` that lives in the worker, made by the NumPy that the solution imported; None without one."""
    for maker in ARRAY_MAKERS:
        try:
            return worker.make(maker, array)
        except Failed as failed:
            if failed.status != "CONTRACT":
                raise
    return None


def leaves_alone(worker: Worker, name: str, arrays: Sequence[np.ndarray], *rest: Any, what: str = "QKV") -> None:
    """Call `name(*arrays, *rest)` on arrays that live in the worker, and look at them again.

    Raises Failed (WRONG_NUMERIC) when one has changed; `what` names them by one letter each.
    """
    there = [kept_there(worker, array) for array in arrays]
    if any(handle is None for handle in there):
        return
    worker.call(name, *there, *rest)
    for letter, handle, array in zip(what, there, arrays):
        left = worker.method(handle, "copy")
        if not isinstance(left, np.ndarray) or not np.array_equal(left, array):
            raise Failed("WRONG_NUMERIC", f"{name} writes to its argument {letter}")


def processor_seconds(worker: Worker, ask: Callable[[Worker], Any], times: int = 1) -> float:
    """The least processor time of the worker for `ask`, of so many times."""
    least = float("inf")
    for _ in range(times):
        before = worker.cpu_seconds
        ask(worker)
        least = min(least, worker.cpu_seconds - before)
    return least


def not_much_slower(bench: Bench, ask: Callable[[Worker], Any], factor: float, grace: float = 1.0) -> None:
    """Raise Failed (SLOW) when the solution takes more than `grace` seconds and `factor` times what ours takes."""
    with bench.reference() as ours:
        allowed = factor * processor_seconds(ours, ask) + grace
    with bench.solution() as theirs:
        taken = processor_seconds(theirs, ask)
    if taken > allowed:
        raise Failed("SLOW", f"{taken:.2f} s of processor time; allowed are {allowed:.2f} s, {factor:g} times ours")


def grows_linearly(worker: Worker, sizes: tuple[int, int, int], ask: Callable[[Worker, int], Any], square: int) -> None:
    """Memory at the sizes (small, N, 2N): 2N takes at most 2.2 times what N takes, and 20 % of one (2N, 2N) array more.

    `square` is the bytes of such an array.  The first size pays for what any call needs.  Raises Failed (OOM).
    """
    peaks = []
    for size in sizes:
        ask(worker, size)
        peaks.append(worker.peak_bytes)
    small, one, two = peaks
    if not all(peaks):  # nobody counts here
        return
    if two > 2.2 * one:
        raise Failed("OOM", f"memory grows {two / one:.1f} times from N = {sizes[1]} to {sizes[2]}; at most 2.2 times")
    if two - small > 0.2 * square:
        share = (two - small) / square
        raise Failed("OOM", f"N = {sizes[2]} takes {share:.0%} of an (N, N) array; at most 20 %")
