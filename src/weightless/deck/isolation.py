"""The walls around a worker, one backend each: what is started so that a solution sees and takes little.  Floor 9.

    bwrap      bubblewrap: new pid, net, ipc, uts and mount namespaces; a root that holds /usr, Python, NumPy and the
               submission, all read-only, and a /tmp of limited size; no /proc, no home, no repository
    unshare    the same root, built by `stage.py` in the namespaces that util-linux's unshare makes
    plain      no namespaces: limits of the system and a clean environment; stamped UNSANDBOXED

As root the worker becomes a user that nobody else is (a number drawn anew for each), because root is exempt from the
limit on processes; as another user it stands in a user namespace.  In every backend the worker limits itself before the
solution's first line, and takes a filter of system calls.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from weightless.deck.interpreter import Interpreter
from weightless.deck.syscall_filter import filter_program

WORKER = Path(__file__).parent / "worker.py"
STAGE = Path(__file__).parent / "stage.py"
TMP_BYTES = 64 << 20
FILE_BYTES = 64 << 20
MOST_PROCESSES = 24
PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
_FIRST_USER, _USERS = 2_000_000_000, 100_000_000
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True)
class Start:
    """What to start: the command and its environment, and how many generations of the tree are the wrapper's."""

    command: list[str]
    environment: dict[str, str]
    outer: int


@dataclass(frozen=True)
class Place:
    """What the worker is shown: the submission's copy, a private folder for the backend, and its limits."""

    submission: Path
    scratch: Path
    memory_bytes: int
    cpu_seconds: int


ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "TMPDIR": "/tmp",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def bwrap(interpreter: Interpreter, place: Place) -> Start:
    """Bubblewrap; two generations of wrapper: itself and its first process in the namespace, then the worker."""
    prefix = _shown_prefix(interpreter)
    command = [_tool("bwrap"), "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]
    if os.geteuid():
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    else:
        command += ["--cap-drop", "ALL", *(f"--cap-add CAP_{name}" for name in ("SETUID", "SETGID", "SETPCAP"))]
        command = [part for word in command for part in word.split(" ")]
    command += ["--perms", "0755", "--dir", "/packages"]
    for source, target in _binds(interpreter, place):
        command += ["--ro-bind", source, target]
    for target, name in _links():
        command += ["--symlink", target, name]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--dev", "/dev"]
    for path in _covered(interpreter):
        command += ["--tmpfs", path, "--remount-ro", path]
    command += ["--perms", "1777", "--size", str(TMP_BYTES), "--tmpfs", "/tmp"]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/submission"]
    for name, value in _environment(prefix).items():
        command += ["--setenv", name, value]
    nobody = [] if os.geteuid() else _as_nobody()  # bubblewrap drops an ordinary user's capabilities itself
    worker = [*nobody, *_python(interpreter, place, "/worker.py", "/packages", "/submission")]
    return Start([*command, "--", *worker], {"PATH": PATH}, 2)


def unshare(interpreter: Interpreter, place: Place) -> Start:
    """The same root by `stage.py`: unshare, the stage in the pid namespace, the worker."""
    root = place.scratch / "root"
    root.mkdir()
    plan = {
        "root": str(root),
        "binds": _binds(interpreter, place),
        "links": _links(),
        "covered": _covered(interpreter),
        "tmp_bytes": TMP_BYTES,
        "cwd": "/submission",
        "command": [*_as_nobody(), *_python(interpreter, place, "/worker.py", "/packages", "/submission")],
        "environment": _environment(_shown_prefix(interpreter)),
    }
    spaces = ["--net", "--ipc", "--uts", "--pid", "--fork", "--mount", "--kill-child"]
    spaces += ["--user", "--map-root-user"] if os.geteuid() else []
    # unshare itself would outlive a grader that is killed, and the namespaces with it
    return Start(
        [_tool("setpriv"), "--pdeathsig", "KILL", _tool("unshare"), *spaces, *_stage(interpreter, plan)],
        {"PATH": PATH},
        2,
    )


def plain(interpreter: Interpreter, place: Place) -> Start:
    """No walls: the worker can read what the user can.  Its folder is a copy; what it starts is found and killed."""
    packages = place.scratch / "packages"
    packages.mkdir()
    for name, source in interpreter.packages:
        (packages / name).symlink_to(source)
    own = place.scratch / "tmp"
    own.mkdir()
    plan = {
        "root": None,
        "cwd": str(place.submission),
        "command": _python(interpreter, place, str(WORKER), str(packages), str(place.submission), inside=False),
        "environment": ENVIRONMENT | {"TMPDIR": str(own)},
    }
    return Start(_stage(interpreter, plan), ENVIRONMENT, 1)


def _tool(name: str) -> str:
    return shutil.which(name) or name


def _stage(interpreter: Interpreter, plan: dict) -> list[str]:
    return [str(interpreter.program), "-I", "-S", "-P", "-B", str(STAGE), json.dumps(plan)]


def _python(
    interpreter: Interpreter, place: Place, worker: str, packages: str, folder: str, inside: bool = True
) -> list[str]:
    """The worker's command line; without walls, as root, there is no limit on processes that would hold."""
    program = str(interpreter.program)
    if inside:
        program = _shown_prefix(interpreter) + str(interpreter.program.relative_to(interpreter.prefix).as_posix())
    numbers = (place.memory_bytes, place.cpu_seconds, MOST_PROCESSES if inside else 0, FILE_BYTES)
    return [program, "-I", "-S", "-P", "-B", worker, packages, folder, *map(str, numbers), filter_program().hex()]


def _shown_prefix(interpreter: Interpreter) -> str:
    """Where the base interpreter is seen, with a slash at its end; one outside /usr gets a name of its own."""
    prefix = interpreter.prefix
    return f"{prefix}/" if prefix.is_relative_to("/usr") else "/python/"


def _binds(interpreter: Interpreter, place: Place) -> list[tuple[str, str]]:
    """(what is there, where it is seen), all read-only."""
    found = [("/usr", "/usr")]
    found += [
        (f"/{name}", f"/{name}") for name in _SYSTEM if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}")
    ]
    if not interpreter.prefix.is_relative_to("/usr"):
        found.append((str(interpreter.prefix), "/python"))
    found += [(str(source), f"/packages/{name}") for name, source in interpreter.packages]
    return [*found, (str(WORKER), "/worker.py"), (str(place.submission), "/submission")]


def _links() -> list[tuple[str, str]]:
    """/bin and its like, where they are links into /usr."""
    return [(os.readlink(f"/{name}"), f"/{name}") for name in _SYSTEM if os.path.islink(f"/{name}")]


def _covered(interpreter: Interpreter) -> list[str]:
    """Folders of other packages, as the worker would see them."""
    own = str(interpreter.prefix)
    inside = _shown_prefix(interpreter).rstrip("/")
    paths = [str(path) for path in interpreter.foreign_packages()]
    return [inside + path.removeprefix(own) if path.startswith(own + "/") else path for path in paths]


def _environment(prefix: str) -> dict[str, str]:
    return ENVIRONMENT | ({} if prefix.startswith("/usr") else {"LD_LIBRARY_PATH": f"{prefix}lib"})


def _as_nobody() -> list[str]:
    """Another user and no capability, for ever; in a user namespace the number stays and the capabilities go."""
    command = [_tool("setpriv"), "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    if os.geteuid():
        return [*command, "--securebits=+noroot,+noroot_locked"]
    user = str(_FIRST_USER + secrets.randbelow(_USERS))
    return [*command, "--reuid", user, "--regid", user, "--clear-groups"]
