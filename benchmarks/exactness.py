"""Who is right, before anything is timed: float64, and nobody less exact.

    held(title, exact, ours, peers, allowed)      every side's error is printed; ours decides whether there is a figure
    exact_engine(program, weights)                a program's operators in float64, from any engine's memory
    gap_of(text, log_probs)                       how far greedy tokens are from the most probable ones

A peer in float32 has errors of its own (torch.softmax of 50,257 logits is off by 3e-6 or 8e-6, as the processor is), so
a comparison with it would say who differs, not who is wrong.  A peer is left out of the verdict unless it is so far
off (PEER_ALLOWED) that it must be doing other work; then no ratio would mean anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from weightless.program.arena import Arena
from weightless.program.engine import AuditEngine
from weightless.program.program import Program

PEER_ALLOWED = 3e-2
"""Of the largest entry: what bfloat16 is off by, and far below what another computation would be."""
RED = "no time is reported on a red check"


def error_of(found: Any, exact: Any) -> float:
    """Largest difference over all parts, each relative to its largest entry; infinite for other shapes and for NaN."""
    worst = 0.0
    for mine, right in zip(found, exact, strict=True):
        a, b = np.asarray(mine, dtype=np.float64), np.asarray(right, dtype=np.float64)
        if a.shape != b.shape or not np.isfinite(a).all():
            return float("inf")
        worst = max(worst, float(np.abs(a - b).max()) / max(float(np.abs(b).max()), 1e-300))
    return worst


def verdict(errors: Mapping[str, float], ours: Sequence[str], allowed: float) -> str:
    """Why nothing may be timed, or nothing: a side of ours beyond `allowed`, or a peer that does other work."""
    for name, error in errors.items():
        limit = allowed if name in ours else max(allowed, PEER_ALLOWED)
        if not error <= limit:
            return f"{name} is off by {error:.2g} from float64, allowed is {limit:.2g}"
    return ""


def told(errors: Mapping[str, float]) -> str:
    """The errors of all sides in one line."""
    return ", ".join(f"{name} {error:.1e}" for name, error in errors.items())


def held(title: str, exact: Any, ours: Mapping[str, Any], peers: Mapping[str, Any], allowed: float) -> None:
    """Print how far every side is from float64; stop when one of ours is further than `allowed`."""
    errors = {name: error_of(found, exact) for name, found in {**ours, **peers}.items()}
    print(f"{title}: error against float64, of the largest entry: {told(errors)}")
    if wrong := verdict(errors, list(ours), allowed):
        sys.exit(f"{title}: {wrong}; {RED}")


class ExactArena(Arena):
    """Operators read float64, and what one leaves for the next in a vector stays float64; caches keep their format."""

    def __init__(self, program: Program, weights: np.ndarray) -> None:
        super().__init__(program.layout, weights)
        self.kept: dict[str, np.ndarray] = {}

    def rows(self, name: str, first: int = 0, n: int | None = None) -> np.ndarray:
        found = super().rows(name, first, n)
        if name in self.kept:
            return self.kept[name][None].copy()
        return found.astype(np.float64) if found.dtype.kind == "f" else found

    def put_rows(self, name: str, first: int, values: np.ndarray) -> None:
        values = np.asarray(values)
        super().put_rows(name, first, values.astype(np.float32) if values.dtype.kind == "f" else values)
        if self.tensor(name).shape[0] == 1 and self.tensor(name).format == "f32":
            self.kept[name] = values[0].astype(np.float64)

    def span(self, name: str, first: int, n: int) -> np.ndarray:
        found = super().span(name, first, n)
        return self.kept[name][first : first + n].copy() if name in self.kept else found

    def put_span(self, name: str, first: int, values: Any) -> None:
        super().put_span(name, first, values)
        if name in self.kept:
            values = np.atleast_1d(values)
            self.kept[name][first : first + len(values)] = values


def exact_engine(program: Program, weights: np.ndarray) -> AuditEngine:
    """The readable engine with every operator in float64."""
    engine = AuditEngine(program, weights)
    engine.arena = ExactArena(program, weights)
    return engine


def nats_from(exact: AuditEngine, state: np.ndarray, position: int, token: int, target: int) -> float:
    """Nats of one step in float64, from the memory that another engine had before it.

    (Left alone, two engines drift: a cache row in int8 or bf16 may round to the next code, and every layer carries
    that on.)
    """
    exact.arena.kept.clear()  # type: ignore[attr-defined]
    exact.arena.state[:], exact.arena.registers.t = state, position
    return float(exact.score_stream(np.array([token]), np.array([target]))[0])


def gap_of(prompt: Sequence[int], text: Sequence[int], log_probs: Callable[[list[int]], np.ndarray]) -> float:
    """The most that a token of a greedy text is less probable than the best one, in nats; `log_probs` gives [n, V]."""
    fed = [*prompt, *text]
    log_p = log_probs(fed[:-1])[len(prompt) - 1 :]
    chosen = log_p[np.arange(len(text)), np.asarray(text)]
    return float(np.max(log_p.max(axis=1) - chosen))
