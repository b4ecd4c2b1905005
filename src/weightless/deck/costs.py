"""What a call costs beside the same call of our own solution: memory at its peak, processor seconds.

    growth of the peak    (solution) <= (ours) + spare bytes          else OOM
    processor seconds     (solution) <= factor (ours) + spare         else SLOW

Both are counted from outside the worker.  Memory includes what the arguments take there, which is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable

from weightless.deck.bench import Bench, Worker
from weightless.deck.outcome import Failed

Ask = Callable[[Worker], object]


def memory_beside(bench: Bench, what: str, small: Ask, large: Ask, spare_bytes: int) -> None:
    """Raise Failed (OOM) when `large` raises the peak that `small` left by `spare_bytes` more than ours does."""
    growth = []
    for opened in (bench.reference, bench.solution):
        with opened() as worker:
            small(worker)
            before = worker.peak_bytes
            large(worker)
            growth.append(worker.peak_bytes - before)
    ours, theirs = growth
    if theirs > ours + spare_bytes:
        told = f"the peak of memory grows by {theirs / 1e6:.1f} MB, ours by {ours / 1e6:.1f} MB"
        raise Failed("OOM", f"{what}: {told}, allowed {spare_bytes / 1e6:.1f} MB more")


def seconds_beside(
    bench: Bench, what: str, ask: Ask, factor: float, spare_seconds: float, warm: Ask = lambda worker: None
) -> None:
    """Raise Failed (SLOW) when `ask` takes more than `factor` times the processor seconds of ours, and some spare."""
    seconds = []
    for opened in (bench.reference, bench.solution):
        with opened() as worker:
            warm(worker)
            before = worker.cpu_seconds
            ask(worker)
            seconds.append(worker.cpu_seconds - before)
    ours, theirs = seconds
    allowed = factor * ours + spare_seconds
    if theirs > allowed:
        raise Failed("SLOW", f"{what}: {theirs:.2f} s of processor time, ours {ours:.2f} s, allowed {allowed:.2f} s")
