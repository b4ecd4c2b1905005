"""The smallest card: what attacks and the grader's own tests are tried on.

row_energy(x)            mean of squares along the last axis
walk(start, n, step)     step(start), step(step(start)), … n values, by a hook that runs in the grader
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from weightless.deck.bench import Bench, Limits, Worker
from weightless.deck.card import Card, Check, Mutant, Pinned
from weightless.deck.comparing import array_of, close
from weightless.deck.copying import readable_by_all
from weightless.deck.grade import Ours
from weightless.deck.outcome import Failed

LIMITS = Limits(seconds=1.5, cpu_seconds=4, memory_bytes=300_000_000)
SOLUTION = '''"""Mean squares of rows, and a walk."""

import numpy as np


def row_energy(x):
    return np.square(x).mean(-1)


def walk(start, n, step):
    found = []
    for _ in range(n):
        start = step(start)
        found.append(start)
    return found
'''
TESTS = """
import numpy as np
from solution import row_energy, walk

def test_of_two():
    assert np.allclose(row_energy(np.array([[1.0, 3.0]])), [5.0])

def test_walk():
    assert walk(1, 3, lambda value: value + 1) == [2, 3, 4]

def test_that_is_wrong():
    assert row_energy(np.ones((1, 2)))[0] == 2
"""
MUTANTS = (
    Mutant("sum in place of mean", "solution.py", ".mean(-1)", ".sum(-1)"),
    Mutant("walks one step less", "solution.py", "range(n)", "range(n - 1)"),
    Mutant("absolute values wrong above 100", "solution.py", "np.square(x)", "np.square(np.minimum(x, 100))"),
)


def _held(worker: Worker, x: np.ndarray) -> None:
    close(worker.call("row_energy", x), np.square(x).mean(-1), f"row_energy of {x.shape}", terms=x.shape[-1])


def answers(bench: Bench) -> None:
    with bench.solution(LIMITS) as worker:
        array_of(worker.call("row_energy", np.ones((2, 3))), (2,), np.float64, "row_energy")


def prompt(bench: Bench) -> None:
    with bench.solution(LIMITS) as worker:
        for shape in ((2, 3), (4, 8)):
            _held(worker, bench.rng.standard_normal(shape))
        steps: list[int] = []

        def step(value: int) -> int:
            steps.append(value)
            return 3 * value + 1

        found = worker.call("walk", 2, 4, step)
    if found != [7, 22, 67, 202]:
        raise Failed("WRONG_NUMERIC", f"walk gives {found!r:.100}")
    if steps != [2, 7, 22, 67]:
        raise Failed("WRONG_NUMERIC", "walk does not take the steps it answers with")


def drawn(bench: Bench) -> None:
    with bench.solution(LIMITS) as worker:
        for shape in ((1, 1), (3, 5, 7), (2, 3), (0, 4)):
            _held(worker, bench.rng.standard_normal(shape) * 1000)


CARD = Card(
    name="toy",
    title="Toy",
    difficulty="medium",
    order=0,
    checks=(
        Check("contract", "shapes and dtypes", answers),
        Check("prompt", "examples", prompt),
        Check("hidden", "drawn anew", drawn),
    ),
    pinned=(
        Pinned("row_energy", ("x",), also=("energy", "row_power")),
        Pinned("walk", ("start", "n", "step"), parameter_also=(("step", ("function", "f")),)),
    ),
)


def submit(folder: Path, text: str = SOLUTION, **more: str) -> Path:
    """A folder with a solution.py, and with more files by stem."""
    folder.mkdir(parents=True)
    for stem, content in {"solution": text, **more}.items():
        (folder / f"{stem}.py").write_text(content)
    return folder


def ours(folder: Path) -> Ours:
    """Our own solution of the toy card."""
    submit(folder)
    readable_by_all(folder)
    return Ours(folder, MUTANTS)
