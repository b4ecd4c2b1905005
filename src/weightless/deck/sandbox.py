"""Where a solution runs: the strongest backend that works here, tried by really running something in it.  Floor 9.

    backend = strongest(unsandboxed=False)
    with opened(folder, backend, limits) as worker:
        worker.call("layer_norm", x)

A backend counts as working when a worker started in it answers, does not see a file planted beside it, nor a variable
planted in the environment, and cannot reach a socket that listens here.  `plain` isolates nothing and is refused unless
it is asked for; its stamp says UNSANDBOXED.  Nothing degrades silently: every stamp goes into the result.
"""

from __future__ import annotations

import functools
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from weightless.base.errors import ConfigError, WeightlessError, nearest
from weightless.deck import isolation
from weightless.deck.bench import Limits
from weightless.deck.copying import readable_by_all
from weightless.deck.interpreter import Interpreter, with_distributions, worker_interpreter
from weightless.deck.outcome import Failed
from weightless.deck.remote import Remote
from weightless.deck.syscall_filter import filter_program

_STARTS: dict[str, Callable[[Interpreter, isolation.Place], isolation.Start]] = {
    "bwrap": isolation.bwrap,
    "unshare": isolation.unshare,
    "plain": isolation.plain,
}
_NEEDS = {"bwrap": "bwrap", "unshare": "unshare", "plain": ""}
_SOLUTION = '''
import os, socket

def sees(path, variable, port):
    """What of the grader can be reached from here."""
    found = ["files"] if os.path.exists(path) else []
    found += ["environment"] if variable in os.environ else []
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.5).close()
        found.append("network")
    except OSError:
        pass
    if os.path.exists(f"/proc/{os.getppid()}/environ") and os.access(f"/proc/{os.getppid()}/environ", os.R_OK):
        found.append("processes")
    return found
'''


@dataclass(frozen=True)
class Backend:
    """A way to run workers: its name, the interpreter in it, and the stamps that every result carries."""

    name: str
    interpreter: Interpreter
    stamps: tuple[str, ...]

    @property
    def isolates(self) -> bool:
        return self.name != "plain"


def strongest(unsandboxed: bool = False, only: str | None = None) -> Backend:
    """The first of bwrap, unshare, plain that works here (`only`: that one).

    Raises ConfigError when nothing isolates and `unsandboxed` was not asked for, saying why each failed.
    """
    if only is not None and only not in _STARTS:
        raise ConfigError(f"no sandbox {only!r}: {nearest(only, _STARTS)}")
    failed = {}
    for name in [only] if only else _STARTS:
        if name == "plain":
            break
        problem = _probed(name, shutil.which(_NEEDS[name]))
        if not problem:
            return _backend(name, failed)
        failed[name] = problem
    told = "; ".join(f"{name}: {problem}" for name, problem in failed.items())
    if not unsandboxed:
        why = f" ({told})" if told else ""
        raise ConfigError(
            f"nothing here can lock a solution in{why}; install bubblewrap, or give --unsandboxed to run code of "
            "strangers with your own rights"
        )
    if problem := _probed("plain", ""):
        raise WeightlessError(f"a worker does not start here: {problem}")
    return _backend("plain", failed)


def _backend(name: str, failed: dict[str, str]) -> Backend:
    interpreter = worker_interpreter()
    stamps = [f"not {other}: {problem}" for other, problem in failed.items()]
    if name == "plain":
        stamps.insert(0, "UNSANDBOXED: the solution ran with the rights of whoever graded it")
    stamps += [interpreter.stamp] if interpreter.stamp else []
    stamps += [] if filter_program() else ["no filter of system calls for this machine"]
    return Backend(name, interpreter, tuple(stamps))


def with_packages(backend: Backend, names: tuple[str, ...]) -> Backend:
    """The same walls around a worker that has these distributions of the running interpreter, too; a stamp says so.

    Raises ConfigError when one of them is not installed, or the worker's Python or NumPy is another one.
    """
    if not names:
        return backend
    told = f"the worker has {' and '.join(names)} beside NumPy, with what is needed for that"
    return Backend(backend.name, with_distributions(backend.interpreter, names), (*backend.stamps, told))


@functools.cache
def _probed(name: str, tool: str | None) -> str:
    """Why a backend does not work here; empty when it does.  `tool` is where its program was found."""
    if not sys.platform.startswith("linux"):
        return "only Linux has it" if name != "plain" else "workers need Linux"
    if tool is None:
        return f"{_NEEDS[name]} is not installed"
    try:
        return _tried(Backend(name, worker_interpreter(), ()))
    except Failed as error:
        return error.told
    except WeightlessError as error:
        return str(error)
    except OSError as error:
        return f"it does not start: {error.strerror or error}"


def _tried(backend: Backend) -> str:
    variable = f"DECK_{secrets.token_hex(8)}"
    with tempfile.TemporaryDirectory(prefix="deck-probe-") as name, socket.create_server(("127.0.0.1", 0)) as server:
        folder = Path(name) / "card"
        folder.mkdir()
        (folder / "solution.py").write_text(_SOLUTION)
        planted = Path(name) / "planted"
        planted.write_text("seen")
        readable_by_all(folder)
        limits = Limits(seconds=20.0, cpu_seconds=10, memory_bytes=1 << 30)
        with opened(folder, backend, limits, extra={variable: "seen"}) as worker:
            found = worker.call("sees", str(planted), variable, server.getsockname()[1])
    if not isinstance(found, list) or (found and backend.isolates):
        return f"a worker in it reaches {found}"
    return ""


@contextmanager
def opened(
    folder: Path,
    backend: Backend,
    limits: Limits | None = None,
    file: str = "solution.py",
    extra: dict[str, str] | None = None,
) -> Iterator[Remote]:
    """A fresh worker that has loaded `file` of `folder`; afterwards nothing of it runs.

    `folder` is shown as it is, so it should be a copy (`copying.copy_submission`).  `extra` goes into the environment
    of the wrapper, never into the worker's: a probe plants there what must not be seen.  Raises Failed.
    """
    limits = limits or Limits()
    with tempfile.TemporaryDirectory(prefix="deck-") as scratch, tempfile.TemporaryFile() as said:
        place = isolation.Place(folder.resolve(), Path(scratch), limits.memory_bytes, limits.cpu_seconds)
        start = _STARTS[backend.name](backend.interpreter, place)
        process = subprocess.Popen(
            start.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            bufsize=0,
            env=start.environment | (extra or {}),
            cwd="/",
            start_new_session=True,
        )
        worker = Remote(process, limits, start.outer)
        try:
            worker.load(file, lambda: _last_line(said))
            yield worker
            worker.part()
        except BaseException:
            with _tampering_ignored():
                worker.close()
            raise
        worker.close()


@contextmanager
def _tampering_ignored() -> Iterator[None]:
    """The first failure is the one that is told."""
    try:
        yield
    except Failed:
        pass


def _last_line(said: IO[bytes]) -> str:
    """The last line that a wrapper wrote before the worker closed its descriptors to the solution."""
    said.seek(0)
    lines = said.read(1 << 16).decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
