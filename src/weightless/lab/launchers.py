"""Where a unit of work runs: a local process, a Slurm job (submitit), a Ray task.  All three run the same command.

A launcher starts a unit, says whether it has ended, and stops what runs; lab/launch.py does the rest.  submitit and
ray are imported when they are asked for; without them, one line says how to get them.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from weightless.base.cores import cores
from weightless.base.errors import WeightlessError
from weightless.base.files import append_line

GRACE_SECONDS = 10.0
LOST = 70  # exit code of a unit whose job or worker went away


@dataclass(frozen=True)
class Unit:
    """One command, and where its log and its record go."""

    name: str
    arguments: tuple[str, ...]
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def done(self) -> Path:
        return self.folder / f"{self.name}.done.json"


@dataclass(frozen=True)
class Resources:
    """What one unit asks a cluster for; local processes ask for nothing."""

    cpus: int = 1
    mem_gb: float = 4.0
    minutes: int = 240
    partition: str = ""
    cluster: str = ""  # submitit's: slurm, or local and debug for trying it out
    address: str = ""  # of a Ray cluster ("auto" finds a running one); empty starts one on this machine


class Launcher(Protocol):
    """Used in a with block; a handle is what `start` returned."""

    def __init__(self, folder: Path, resources: Resources, width: int) -> None: ...

    @staticmethod
    def width(n_units: int) -> int:
        """How many units run at a time when nobody says."""
        ...

    def start(self, unit: Unit, attempt: int) -> Any: ...

    def poll(self, handle: Any) -> int | None:
        """The exit code, None while it runs."""
        ...

    def stop(self, handles: Sequence[Any]) -> None:
        """End what runs; the units may go on another time."""
        ...

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> None: ...


@dataclass(frozen=True)
class Command:
    """A unit on its way to another process or machine: call it there.  (submitit asks for `checkpoint` when a job is
    preempted or out of time, and puts it into the queue again.)"""

    arguments: tuple[str, ...]
    log: str
    folder: str
    attempt: int

    def __call__(self) -> int:
        process = begin(self)
        try:
            return process.wait()
        except BaseException:
            end([process])
            raise

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def command_of(unit: Unit, attempt: int) -> Command:
    return Command(unit.arguments, str(unit.log), os.getcwd(), attempt)


def program() -> list[str]:
    """How weightless is started where this code runs; nothing is imported from the folder that it is started in."""
    return [sys.executable, "-P", "-m", "weightless"]


def begin(command: Command) -> subprocess.Popen[bytes]:
    """Start the process of a unit in a session of its own, with everything it prints in its log."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    append_line(command.log, f"--- attempt {command.attempt}, {now}, {platform.node()}")
    with open(command.log, "ab") as log:
        return subprocess.Popen(
            [*program(), *command.arguments],
            cwd=command.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Interrupt, wait for clean exits, then terminate and kill, whole sessions at a time."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_SECONDS
        alive = [process for process in processes if process.poll() is None]
        for process in alive:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                continue
        while any(process.poll() is None for process in alive) and time.monotonic() < deadline:
            time.sleep(0.02)


class LocalLauncher:
    """Processes on this machine."""

    def __init__(self, folder: Path, resources: Resources, width: int) -> None:
        pass

    @staticmethod
    def width(n_units: int) -> int:
        return cores()

    def start(self, unit: Unit, attempt: int) -> subprocess.Popen[bytes]:
        return begin(command_of(unit, attempt))

    def poll(self, handle: subprocess.Popen[bytes]) -> int | None:
        return handle.poll()

    def stop(self, handles: Sequence[subprocess.Popen[bytes]]) -> None:
        end(handles)

    def __enter__(self) -> LocalLauncher:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class SlurmLauncher:
    """Slurm jobs through submitit, whose files go to LOGS/submitit."""

    def __init__(self, folder: Path, resources: Resources, width: int) -> None:
        try:
            import submitit
        except ImportError:
            raise WeightlessError("launching under Slurm needs the package submitit: ./do setup sweep") from None
        if resources.cluster in ("", "slurm") and not shutil.which("sbatch"):
            raise WeightlessError("there is no Slurm here (no sbatch on the path); launch with local or ray instead")
        self.executor = submitit.AutoExecutor(folder=str(folder / "submitit"), cluster=resources.cluster or "slurm")
        asked: dict[str, Any] = {
            "timeout_min": resources.minutes,
            "cpus_per_task": resources.cpus,
            "mem_gb": resources.mem_gb,
            "tasks_per_node": 1,
            "nodes": 1,
        }
        if resources.partition:
            asked["slurm_partition"] = resources.partition
        self.executor.update_parameters(name="weightless", **asked)

    @staticmethod
    def width(n_units: int) -> int:
        return n_units

    def start(self, unit: Unit, attempt: int) -> tuple[Unit, Any]:
        return unit, self.executor.submit(command_of(unit, attempt))

    def poll(self, handle: tuple[Unit, Any]) -> int | None:
        unit, job = handle
        if not job.done():
            return None
        problem = job.exception()
        if problem is None:
            return int(job.result())
        append_line(unit.log, f"job {job.job_id} did not end by itself: {problem}")
        return LOST

    def stop(self, handles: Sequence[tuple[Unit, Any]]) -> None:
        for _, job in handles:
            job.cancel(check=False)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not all(job.done() for _, job in handles):
            time.sleep(0.1)

    def __enter__(self) -> SlurmLauncher:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class RayLauncher:
    """Tasks of a Ray cluster: one that runs already (also within this process), or one of this machine."""

    def __init__(self, folder: Path, resources: Resources, width: int) -> None:
        try:
            import ray
        except ImportError:
            raise WeightlessError("launching on Ray needs the package ray: ./do setup sweep") from None
        self.ray, self.resources = ray, resources
        self.n_cpus = max(resources.cpus, min(width * resources.cpus, cores()))
        self.is_ours = False

    @staticmethod
    def width(n_units: int) -> int:
        return n_units

    def start(self, unit: Unit, attempt: int) -> tuple[Unit, Any]:
        command = command_of(unit, attempt)
        task = self.ray.remote(num_cpus=self.resources.cpus, max_retries=0)(Command.__call__)
        return unit, task.remote(command)

    def poll(self, handle: tuple[Unit, Any]) -> int | None:
        unit, task = handle
        if not self.ray.wait([task], timeout=0)[0]:
            return None
        try:
            return int(self.ray.get(task))
        except self.ray.exceptions.RayError as error:
            append_line(unit.log, f"the task did not end by itself: {error}")
            return LOST

    def stop(self, handles: Sequence[tuple[Unit, Any]]) -> None:
        for _, task in handles:
            self.ray.cancel(task)  # a KeyboardInterrupt inside Command.__call__, which ends its process
        self.ray.wait([task for _, task in handles], num_returns=len(handles), timeout=GRACE_SECONDS)

    def __enter__(self) -> RayLauncher:
        if self.ray.is_initialized():
            return self
        where = self.resources.address
        asked = {"address": where} if where else {"num_cpus": self.n_cpus, "include_dashboard": False}
        try:
            self.ray.init(log_to_driver=False, configure_logging=False, **asked)
        except ConnectionError as error:
            raise WeightlessError(f"no Ray cluster at {where}: {error}; start one with `ray start --head`") from None
        self.is_ours = True
        return self

    def __exit__(self, *error: Any) -> None:
        if self.is_ours:
            self.ray.shutdown()


LAUNCHERS: dict[str, type[Launcher]] = {"local": LocalLauncher, "slurm": SlurmLauncher, "ray": RayLauncher}
