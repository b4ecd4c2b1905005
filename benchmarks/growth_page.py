"""docs/scale.md from the record of growth.py: the points, exponents with intervals, what more tokens take, what breaks.

    page(record) -> str                                    the record alone decides every word of it
    fitted(tokens, values) -> Line | None                  log value = a + b log tokens, by least squares
    Line.at(tokens) -> (value, low, high)                  on the line, with the 95 % prediction interval of one more
    Line.beyond(tokens) -> value                           from the largest point on

b +- its half-width is Student's interval with n - 2 degrees of freedom.  Values that are 0 take no part; with fewer
than three others there is no line.  `last` is the exponent between the two largest points: where a stage has a part
that does not grow, it is nearer to what larger texts show, so what is further than the data goes on from the largest
point with the greater of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightless.base.units import human_bytes, human_seconds
from weightless.countmix.shape import MOST_BITS
from weightless.data.shards.parts import MOST_PARTS
from weightless.data.shards.shards import LARGEST_VOCABULARY, MOST_TOKENS
from weightless.lab.report.interval import t_critical
from weightless.ngram import kneser_ney, suffix_array
from weightless.ngram.kneser_ney import MAX_TOKENS
from weightless.tokenizer.bpe_train import LARGEST_LAYOUT

FURTHER = (10**9, 10**10)
SHARE, SHARE_TOLD = 0.8, "80 %"
"""Of a machine's memory that one process may take."""
DIVIDED = {
    "encode": "shards in parts, `data prepare --part i/n`",
    "write shards": "shards in parts, `data prepare --part i/n`",
    "read shards": "each machine reads its own shards",
}
LIMITED: dict[str, int] = dict.fromkeys(("count Kneser-Ney", "suffix array", "open an artifact", "decode"), MAX_TOKENS)
HEAD = """# How cost grows

Written by `python benchmarks/growth.py --page docs/scale.md` from `runs/recorded/growth/growth.json`.
Every point is a single measurement in a fresh process, kernels compiled and loaded before its clock.
"""


@dataclass(frozen=True)
class Line:
    """log value = a + b log tokens; `half` of b's interval; residual deviation, and where the points lie.

    last    the exponent between the two largest points; largest: (tokens, value) of the largest
    """

    a: float
    b: float
    half: float
    deviation: float
    n: int
    middle: float
    spread: float
    last: float
    largest: tuple[float, float]

    def beyond(self, tokens: float) -> float:
        """The value from the largest point on, by the greater of both exponents."""
        n, value = self.largest
        return value * (tokens / n) ** max(self.b, self.last)

    def at(self, tokens: float) -> tuple[float, float, float]:
        """(value, low, high)."""
        x = math.log(tokens)
        wide = math.sqrt(1 + 1 / self.n + (x - self.middle) ** 2 / self.spread)
        around = t_critical(self.n - 2) * self.deviation * wide
        value = self.a + self.b * x
        return math.exp(value), math.exp(value - around), math.exp(min(700.0, value + around))

    def reaches(self, value: float) -> float:
        """The tokens at which `beyond` has that value; infinite if it does not rise."""
        n, known = self.largest
        power = max(self.b, self.last)
        return n * math.exp(min(700.0, math.log(value / known) / power)) if power > 0 else math.inf


def fitted(tokens: Sequence[float], values: Sequence[float]) -> Line | None:
    """The line through the points whose value is above 0; None with fewer than three."""
    points = sorted((math.log(t), math.log(v)) for t, v in zip(tokens, values) if v > 0)
    if len(points) < 3:
        return None
    n = len(points)
    middle, level = (math.fsum(p[i] for p in points) / n for i in (0, 1))
    spread = math.fsum((x - middle) ** 2 for x, _ in points)
    b = math.fsum((x - middle) * (y - level) for x, y in points) / spread
    a = level - b * middle
    deviation = math.sqrt(math.fsum((y - a - b * x) ** 2 for x, y in points) / (n - 2))
    (x, y), (x_last, y_last) = points[-2:]
    half = t_critical(n - 2) * deviation / math.sqrt(spread)
    last = (y_last - y) / (x_last - x)
    return Line(a, b, half, deviation, n, middle, spread, last, (math.exp(x_last), math.exp(y_last)))


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    points, machine, text = record["points"], record["machine"], record["text"]
    stages = list(dict.fromkeys(point["stage"] for point in points))
    lines = {stage: _lines([point for point in points if point["stage"] == stage]) for stage in stages}
    most = max(point["tokens"] for point in points)
    loads = [load for point in points for load in point["load"]]
    shared = f"others used it, with a load average between {min(loads):g} and {max(loads):g}"
    parts = [
        HEAD,
        f"Machine: {machine['processor']}, {machine['cores']} cores, {human_bytes(machine['memory_bytes'])} of memory, "
        f"Python {machine['python']}, NumPy {machine['numpy']}; {shared}, so processor time is what is fitted. "
        f"Text: {text['name']}, {text['tokens']:,} tokens of a vocabulary of 4,096, never repeated; points beyond "
        "its end, marked *, are of generated ids.\n",
        "## Measured\n",
        "Memory is what the stage added at its peak, pages of mapped files included; disk is the size of what it "
        "makes. BPE training makes 32,000 tokens from the text of so many tokens; the counted model has order 5; "
        "decoding draws 2,000 tokens from it; the ledger accounts for training on so many tokens.\n",
        _measured(points),
        "## Exponents\n",
        "Least squares of the logarithms, with 95 % Student intervals (n - 2 degrees of freedom), and in parentheses "
        "the exponent between the two largest points; a dash where fewer than three points are above zero. A stage "
        "with a part that does not grow (BPE training makes as many merges from any text) shows a smaller exponent "
        "than it has in the end.\n",
        _exponents(lines),
        "## What more would take\n",
        "One thread, from the largest point on by the greater of the two exponents; in parentheses the 95 % prediction "
        f"interval of the line. It is beyond the data by a factor of {FURTHER[0] / most:.0f} and more, and so a guess. "
        f"A machine is one like this, with {SHARE_TOLD} of its memory for one process.\n",
        *(_further(n, lines, machine["memory_bytes"]) for n in FURTHER),
        "## What breaks first\n",
        _breaks(lines, machine["memory_bytes"]),
    ]
    return "\n".join(parts).rstrip() + "\n"


def added_bytes(point: dict[str, Any]) -> float:
    """Resident memory that the stage added."""
    return max(0.0, point["peak_mb"] - point["before_mb"]) * 1e6


def _lines(points: list[dict[str, Any]]) -> dict[str, Line | None]:
    tokens = [point["tokens"] for point in points]
    return {
        "time": fitted(tokens, [point["processor"] for point in points]),
        "memory": fitted(tokens, [added_bytes(point) for point in points]),
        "disk": fitted(tokens, [point["disk_bytes"] for point in points]),
    }


def _measured(points: list[dict[str, Any]]) -> str:
    rows = [
        (
            point["stage"],
            f"{point['tokens']:,}" + ("" if point["text"] == "real" else " *"),
            f"{point['processor']:.3g} s",
            f"{point['wall']:.3g} s",
            human_bytes(added_bytes(point)),
            human_bytes(point["disk_bytes"]),
            f"{point['load'][0]:g}",
        )
        for point in points
    ]
    return _table(("stage", "tokens", "processor", "wall", "memory", "disk", "load"), rows)


def _exponents(lines: dict[str, dict[str, Line | None]]) -> str:
    def told(line: Line | None) -> str:
        return f"{line.b:.2f} ± {line.half:.2f} ({line.last:.2f})" if line else "–"

    rows = [(stage, *(told(found[what]) for what in ("time", "memory", "disk"))) for stage, found in lines.items()]
    return _table(("stage", "processor time", "memory", "disk"), rows)


def _further(n: int, lines: dict[str, dict[str, Line | None]], memory: int) -> str:
    rows = []
    for stage, found in lines.items():
        time, held, disk = (found[what] for what in ("time", "memory", "disk"))
        sizes = (human_bytes(line.beyond(n)) if line else "–" for line in (held, disk))
        seconds, needed = (line.beyond(n) if line else 0.0 for line in (time, held))
        rows.append((stage, _seconds(time, n), *sizes, _machines(stage, n, seconds, needed, memory)))
    return f"{n:,} tokens:\n\n" + _table(("stage", "processor time", "memory", "disk", "machines"), rows)


def _seconds(line: Line | None, n: int) -> str:
    if line is None:
        return "–"
    _, low, high = line.at(n)
    return f"{human_seconds(line.beyond(n))} ({human_seconds(low)} to {human_seconds(high)})"


def _machines(stage: str, n: int, seconds: float, needed: float, memory: int) -> str:
    if n > LIMITED.get(stage, n):
        return f"none: refused above {LIMITED[stage]:,} tokens"
    if stage in DIVIDED:
        hours = math.ceil(seconds / 3600)
        return f"1{f', or {hours} for one hour' if hours > 1 else ''}; can be divided: {DIVIDED[stage]}"
    return "1" if needed <= SHARE * memory else f"1 with {human_bytes(needed / SHARE)} of memory; not divided yet"


def _breaks(lines: dict[str, dict[str, Line | None]], memory: int) -> str:
    """The limits in the order in which a growing text meets them."""
    found: list[tuple[float, str, str, str]] = [
        (
            (1 << MOST_BITS - 1) * 4 / 3,
            f"the tables of count mixing stop: lists at 2^{MOST_BITS - 1} buckets, nodes at 2^{MOST_BITS}",
            "told while it counts: contexts push one another out, and the model learns less from more text",
            "none yet: larger tables need wider numbers of buckets",
        ),
        (
            MOST_TOKENS,
            f"one shard file: 32 bits for its tokens, {MOST_TOKENS:,}",
            "refused when the size of shards is set, and while writing",
            "exists: a corpus has any number of shards, 100,000,000 tokens each by default",
        ),
        (
            MAX_TOKENS,
            f"32-bit positions of n-gram nodes and suffixes, {MAX_TOKENS:,} tokens",
            "refused before counting or sorting begins",
            "none yet: counting and sorting by parts, and an external merge of the sorted runs",
        ),
        (
            MOST_PARTS * MOST_TOKENS,
            f"{MOST_PARTS} parts of a preparation, were each a single shard",
            "refused when the part is named; parts may have several shards",
            "exists: more shards per part",
        ),
    ]
    killed, least = "the system ends the process", "refused where {} bytes per token do not fit, else {}"
    for stage, why, shown, way in (
        (
            "count Kneser-Ney",
            "memory of the sorted n-grams",
            least.format(kneser_ney.LEAST_BYTES, killed),
            "a lower order; none yet: an external merge of sorted runs",
        ),
        (
            "suffix array",
            "memory of the sorted suffixes",
            least.format(suffix_array.LEAST_BYTES, killed),
            "none yet: sorting by parts and merging",
        ),
        ("train BPE", "memory of the distinct words and their pairs", killed, "exists: train on a part of the text"),
    ):
        line = lines.get(stage, {}).get("memory")
        if line is not None:
            what = f"{why} ({stage}): {SHARE_TOLD} of {human_bytes(memory)}"
            found.append((line.reaches(SHARE * memory), what, shown, way))
    rows = [(f"{tokens:.1e}" if tokens < 1e15 else "beyond 1e15", *told) for tokens, *told in sorted(found)]
    others = (
        f"Whatever the number of tokens: ids of shards are 16 bits, so a vocabulary has at most {LARGEST_VOCABULARY:,} "
        "tokens (refused before anything is written; no way out yet); the distinct words of a tokenizer's training "
        f"text have at most {LARGEST_LAYOUT:,} bytes (refused when they are counted; train on a part). The tokenizer's "
        "training and encoding read a text of any length as a stream; an artifact is one file, mapped into memory, and "
        "every byte of it is read once when it is checked.\n"
    )
    return _table(("tokens, about", "what", "how it shows", "way out"), rows) + "\n" + others


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"
