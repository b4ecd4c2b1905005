"""What has happened, for Prometheus: counters, gauges and histograms in its text form (version 0.0.4).  Floor 10."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds up to which a histogram counts, each bucket holding those before it."""
ABOUT = {
    "weightless_requests_total": ("counter", "answers by path and status"),
    "weightless_prompt_tokens_total": ("counter", "tokens of prompts, by model"),
    "weightless_generated_tokens_total": ("counter", "tokens drawn, by model"),
    "weightless_bytes_touched_total": ("counter", "bytes touched to draw them (docs/bytes.md), by model"),
    "weightless_cancelled_total": ("counter", "texts whose reader went away, by model"),
    "weightless_first_token_seconds": ("histogram", "from the request to its first token, by model"),
    "weightless_token_seconds": ("histogram", "from one token of a text to its next, by model"),
}


class Metrics:
    """Counted by two threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._histograms: dict[str, dict[str, list[float]]] = defaultdict(dict)

    def count(self, name: str, n: int = 1, **labels: str) -> None:
        with self._lock:
            self._counts[name][_labels(labels)] += n

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """One more number into a histogram: buckets, their sum, their number."""
        with self._lock:
            cells = self._histograms[name].setdefault(_labels(labels), [0.0] * (len(BOUNDS) + 2))
            for i, bound in enumerate(BOUNDS):
                cells[i] += seconds <= bound
            cells[-2] += seconds
            cells[-1] += 1

    def drawn(self, model: str, is_first: bool, seconds: float) -> None:
        """One token, and how long it was waited for."""
        self.observe("weightless_first_token_seconds" if is_first else "weightless_token_seconds", seconds, model=model)
        self.count("weightless_generated_tokens_total", model=model)

    def text(self, gauges: Iterable[tuple[str, str, float]] = ()) -> str:
        """All of it; `gauges` = (name, what it is, its value now)."""
        lines = []
        for name, about, value in gauges:
            lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {value:g}"]
        with self._lock:
            for name, (kind, about) in ABOUT.items():
                lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
                lines += [f"{name}{labels} {n}" for labels, n in sorted(self._counts[name].items())]
                for labels, cells in sorted(self._histograms[name].items()):
                    lines += _histogram(name, labels, cells)
        return "\n".join(lines) + "\n"


def _histogram(name: str, labels: str, cells: list[float]) -> list[str]:
    inner = labels[1:-1] + "," if labels else ""
    bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
    counts = [*cells[:-2], cells[-1]]
    lines = [f'{name}_bucket{{{inner}le="{bound}"}} {n:.0f}' for bound, n in zip(bounds, counts, strict=True)]
    return [*lines, f"{name}_sum{labels} {cells[-2]:.6f}", f"{name}_count{labels} {cells[-1]:.0f}"]


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items())) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
