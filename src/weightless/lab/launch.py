"""Run many commands of weightless as units of work: on this machine, under Slurm, or on a Ray cluster.

    launch(commands, logs, how="local" | "slurm" | "ray", n_parallel=None, retries=1)

A command is the list of arguments behind `weightless`.  It must be idempotent (what is done is not done again, what
was killed goes on), as `data prepare … --shard i/n` is; so a unit may be killed, lost with its machine, tried again
or run twice.  Folders and files that it names have to be seen by the machines it may run on.

    LOGS/unit-003.log         what the unit printed, all attempts one behind the other
    LOGS/unit-003.done.json   it ended with exit code 0; the same launch again skips it (`again` does not)

A unit that fails is tried again `retries` times; then the others still run to their end, and one WeightlessError
names what failed.  Ctrl-C and SIGTERM stop every unit that runs and leave what is finished.
"""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError, nearest
from weightless.base.files import read_json, write_json
from weightless.base.folder_lock import folder_lock
from weightless.base.progress import progress
from weightless.lab.launchers import LAUNCHERS, Launcher, Resources, Unit

POLL_SECONDS = 0.05
LAST_LINES = 5


@dataclass(frozen=True)
class Outcome:
    """How one unit ended; `attempts` is 0 when it was done before."""

    unit: Unit
    code: int
    attempts: int
    seconds: float


def launch(
    commands: Sequence[Sequence[str]],
    logs: str | Path,
    how: str = "local",
    *,
    names: Sequence[str] = (),
    n_parallel: int | None = None,
    retries: int = 1,
    again: bool = False,
    resources: Resources | None = None,
    show_progress: bool = True,
) -> list[Outcome]:
    """Run the commands; the outcomes in their order, or WeightlessError when a unit failed for good.

    At most `n_parallel` units run at a time (local: as many as there are cores; slurm and ray: all that the cluster
    takes).  ConfigError for an unknown `how`, WeightlessError when its package or cluster is not there.
    """
    if how not in LAUNCHERS:
        raise ConfigError(f"no way to launch {how!r}: {nearest(how, LAUNCHERS)}")
    if retries < 0 or (n_parallel is not None and n_parallel < 1):
        raise ConfigError(f"retries = {retries} and n_parallel = {n_parallel}: at least 0 and 1 are needed")
    folder = Path(logs).absolute()
    names = names or [f"unit-{i:03d}" for i in range(1, len(commands) + 1)]
    units = [Unit(name, tuple(map(str, command)), folder) for name, command in zip(names, commands, strict=True)]
    with folder_lock(folder):
        before = [unit for unit in units if not again and _is_done(unit)]
        todo = deque((unit, 1) for unit in units if unit not in before)
        outcomes = {unit.name: Outcome(unit, 0, 0, 0.0) for unit in before}
        if todo:
            width = n_parallel or LAUNCHERS[how].width(len(todo))
            launcher = LAUNCHERS[how](folder, resources or Resources(), width)
            label = f"launch ({how})"
            shown = progress(label, len(units), "units", len(before)) if show_progress else nullcontext(_silent)
            with launcher, _terminated_like_interrupted(), shown as tick:
                for outcome in _run(todo, launcher, width, retries):
                    outcomes[outcome.unit.name] = outcome
                    n_failed = sum(other.code != 0 for other in outcomes.values())
                    tick(1, f"{n_failed} failed" if n_failed else "")
    ended = [outcomes[unit.name] for unit in units]
    _complain(ended)
    return ended


def _silent(amount: float = 1, note: str = "") -> None:
    """A progress display that shows nothing."""


def _run(todo: deque[tuple[Unit, int]], launcher: Launcher, width: int, retries: int) -> Iterator[Outcome]:
    """Outcomes as they come; on any error or interrupt, what runs is stopped."""
    running: list[tuple[Unit, int, float, Any]] = []
    try:
        while todo or running:
            while todo and len(running) < width:
                unit, attempt = todo.popleft()
                unit.done.unlink(missing_ok=True)
                running.append((unit, attempt, time.monotonic(), launcher.start(unit, attempt)))
            time.sleep(POLL_SECONDS)
            for entry in list(running):
                unit, attempt, began, handle = entry
                code = launcher.poll(handle)
                if code is None:
                    continue
                running.remove(entry)
                if code and attempt <= retries:
                    todo.append((unit, attempt + 1))
                    continue
                if code == 0:
                    write_json(unit.done, {"arguments": list(unit.arguments)})
                yield Outcome(unit, code, attempt, time.monotonic() - began)
    finally:
        if running:
            launcher.stop([handle for _, _, _, handle in running])


def _is_done(unit: Unit) -> bool:
    try:
        return unit.done.exists() and read_json(unit.done) == {"arguments": list(unit.arguments)}
    except CorruptFileError:
        return False


def _complain(outcomes: list[Outcome]) -> None:
    """Show the end of the log of each failed unit, and raise one error for all."""
    failed = [outcome for outcome in outcomes if outcome.code]
    for outcome in failed:
        unit = outcome.unit
        print(f"{unit.name}: weightless {shlex.join(unit.arguments)}", file=sys.stderr)
        print(
            f"  exit code {outcome.code} after {outcome.attempts} attempt(s); the end of {unit.log}:", file=sys.stderr
        )
        for line in last_lines(unit.log):
            print(f"    {line}", file=sys.stderr)
    if failed:
        names = ", ".join(f"{outcome.unit.name} (exit {outcome.code})" for outcome in failed[:8])
        more = ", …" if len(failed) > 8 else ""
        raise WeightlessError(
            f"{len(failed)} of {len(outcomes)} units failed: {names}{more}; logs are in {failed[0].unit.folder}; the "
            "same command runs only what is not done"
        )


def last_lines(path: Path, n: int = LAST_LINES) -> list[str]:
    """The last lines of a log; a progress bar's returns count as line ends."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 4096))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return [f"(the log cannot be read: {error.strerror})"]
    return [line for line in text.splitlines() if line.strip()][-n:]


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM interrupts, so that units do not outlive their launcher (signals belong to the main thread only)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def filled_in(template: Sequence[str], n: int) -> list[list[str]]:
    """n commands from one: {i} becomes 1 … n, {i0} becomes 0 … n - 1, {n} becomes n; other braces stay."""
    if n < 1:
        raise ConfigError(f"n = {n} units; at least one is needed")
    if n > 1 and not any("{i}" in word or "{i0}" in word for word in template):
        raise ConfigError(f"all {n} units would run the same command: put {{i}} (1 … {n}) where they differ")
    return [
        [word.replace("{i}", str(i)).replace("{i0}", str(i - 1)).replace("{n}", str(n)) for word in template]
        for i in range(1, n + 1)
    ]
