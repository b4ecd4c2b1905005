#!/usr/bin/env python3
"""Set up and run weightless with nothing but a Python of 3.11 to 3.14.

    ./do demo [options]        train, pack and weigh a few small models, and open the report
    ./do test [pytest options] the test suite without the slow tests (./do test -m slow for those)
    ./do check                 ruff, pyright and the rules of the house
    ./do run VERB [options]    any weightless command
    ./do setup [extras]        only prepare the environment (extras: dev hub track sweep search interop oracle gpu golf
                               inspect lm-eval serve web)
                               and compile what the models run on; deck: also .venv-deck, NumPy and nothing else,
                               in which solutions of the challenges are graded

The environment is .venv, beside this file. It is stamped last: an interrupted set-up is begun anew by the next
command, and a change of pyproject.toml, constraints.txt or the interpreter installs again.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent
VENV = ROOT / ".venv"
DECK = ROOT / ".venv-deck"
CACHE = ROOT / ".cache"
STAMP = VENV / "weightless-stamp.json"
UNDER_WAY = VENV / "weightless-setup-under-way"
LOG = CACHE / "setup.log"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
OLDEST, NEWEST = (3, 11), (3, 14)
EXTRAS = (
    "dev",
    "hub",
    "track",
    "sweep",
    "search",
    "interop",
    "oracle",
    "gpu",
    "golf",
    "inspect",
    "lm-eval",
    "web",
    "serve",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MOST_TEST_WORKERS = 8
COMPILE = "from weightless.lab.compiling import compile_families; compile_families()"


def stop(message):
    """Leave with one line on standard error and exit code 2."""
    sys.exit(print("do: " + message, file=sys.stderr) or 2)


def say(message):
    print("do: " + message, file=sys.stderr, flush=True)


def check_interpreter():
    """Refuse a Python that the dependencies have no wheels for, naming a better one when there is one."""
    version = sys.version_info[:2]
    if OLDEST <= version <= NEWEST:
        return
    names = ["python%d.%d" % (OLDEST[0], minor) for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    found = next((name for name in names if _runs(name)), None)
    remedy = "run it as: %s do ..." % found if found else "install one of 3.11 to 3.14 and run it as: python3.12 do ..."
    stop("this is Python %d.%d, weightless needs 3.11 to 3.14; %s" % (version[0], version[1], remedy))


def _runs(name):
    """Whether `name` starts (version managers leave shims on PATH that do not)."""
    if not shutil.which(name):
        return False
    silent = subprocess.DEVNULL
    return subprocess.call([name, "-c", ""], stdout=silent, stderr=silent) == 0


def prepare(wanted):
    """Make .venv hold weightless with at least the extras `wanted`; cheap when it does already."""
    with _lock():
        key = _requirements_hash()
        stamp = _read_stamp()
        have = set(stamp.get("extras", ())) if stamp.get("key") == key else None
        if have is not None and set(wanted) <= have and _venv_version() == _own_version():
            return
        extras = sorted(set(wanted) | set(stamp.get("extras", ())))
        began = time.monotonic()
        say("setting up .venv (%s); the first time takes some minutes" % ", ".join(["core", *extras]))
        STAMP.unlink(missing_ok=True)
        _make_venv()
        UNDER_WAY.touch()
        _install(extras)
        _check_extras(extras)
        _write_stamp({"key": key, "extras": extras})
        UNDER_WAY.unlink()
        say("environment ready after %.0f s" % (time.monotonic() - began))


def prepare_deck():
    """Make .venv-deck hold the pinned NumPy and nothing else, not even an installer; cheap when it does already."""
    with _lock():
        pins = (ROOT / "constraints.txt").read_text().splitlines()
        pin = next(line for line in pins if line.startswith("numpy=="))
        stamp = DECK / STAMP.name
        wanted = {"python": _own_version(), "numpy": pin}
        if _read_stamp(stamp) == wanted and _venv_version(DECK) == _own_version():
            return
        say("setting up .venv-deck (%s)" % pin)
        CACHE.mkdir(exist_ok=True)
        LOG.write_text("")
        base = getattr(sys, "_base_executable", None) or sys.executable
        _logged([base, "-m", "venv", "--clear", "--without-pip", str(DECK)], "remove .venv-deck and try again")
        remedy = "check the network and the package index (PIP_INDEX_URL), then run the same command again"
        if _uv():
            _logged([_uv(), "pip", "install", "--python", _python(DECK), pin], remedy)
        else:
            quiet = ["--no-compile", "--disable-pip-version-check", "--no-input"]
            _logged([_python(), "-m", "pip", "--python", _python(DECK), "install", *quiet, pin], remedy)
        # Workers may write nothing, and there are hundreds in a grading: what they import is compiled now.
        _logged([_python(DECK), "-I", "-m", "compileall", "-q", str(DECK)], "remove .venv-deck and try again")
        _write_stamp(wanted, stamp)


@contextlib.contextmanager
def _lock():
    """Let one set-up at a time touch .venv (advisory; where the system has no flock, nothing is locked)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "setup.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up of this folder to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _requirements_hash():
    """What the environment depends on; the folder counts because an editable install points to it."""
    digest = hashlib.sha256()
    for part in (_own_version(), str(ROOT)):
        digest.update(part.encode() + b"\0")
    for name in ("pyproject.toml", "constraints.txt"):
        digest.update((ROOT / name).read_bytes() + b"\0")
    return digest.hexdigest()


def _read_stamp(path=STAMP):
    try:
        stamp = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _write_stamp(stamp, path=STAMP):
    part = path.with_suffix(".part")
    part.write_text(json.dumps(stamp, indent=2) + "\n")
    os.replace(part, path)


def _own_version():
    return "%s %s" % (sys.implementation.name, ".".join(map(str, sys.version_info[:3])))


def _venv_version(folder=VENV):
    """Version of the interpreter in an environment, or None when it is missing or does not start."""
    code = "import sys; print(sys.implementation.name, '.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run([_python(folder), "-c", code], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _python(folder=VENV):
    return str(folder / BIN.name / ("python.exe" if os.name == "nt" else "python"))


def _make_venv():
    """Create .venv, or create it anew when its interpreter is another one or broken; keep a sound one.

    What a killed pip leaves is not sound: a package whose metadata is there but whose files are not counts as
    installed for ever.
    """
    CACHE.mkdir(exist_ok=True)
    LOG.write_text("")
    if VENV.is_file():
        stop("%s is a file; remove it, the environment belongs there" % VENV)
    if _venv_version() != _own_version() or UNDER_WAY.exists():
        base = getattr(sys, "_base_executable", None) or sys.executable
        _logged(
            [base, "-m", "venv", "--clear", str(VENV)],
            "this Python cannot make environments; install its venv module (Debian: apt install python3-venv)",
        )
    elif not _uv() and subprocess.call([_python(), "-c", "import pip"], stderr=subprocess.DEVNULL):
        _logged([_python(), "-m", "ensurepip"], "no pip in .venv; remove the folder .venv and try again")


def _uv():
    return shutil.which("uv")


def _install(extras):
    target = ".[%s]" % ",".join(extras) if extras else "."
    what = ["install", "--constraint", "constraints.txt", "--editable", target]
    remedy = "check the network and the package index (PIP_INDEX_URL), then run the same command again"
    if _uv():
        _logged([_uv(), "pip", *what, "--python", _python()], remedy)
    else:
        _logged([_python(), "-m", "pip", *what, "--no-compile", "--disable-pip-version-check", "--no-input"], remedy)


def _check_extras(extras):
    """Stop unless the package has extras of these very names: installers only warn, and install nothing, otherwise."""
    code = "from importlib.metadata import metadata; print(*metadata('weightless').get_all('Provides-Extra', []))"
    known = subprocess.run([_python(), "-c", code], capture_output=True, text=True).stdout.split()
    missing = [name for name in extras if name not in known]
    if missing:
        stop("nothing was installed for %s: pyproject.toml has no extra of that name" % ", ".join(missing))


def _logged(command, remedy):
    """Run quietly with the output in the log; on failure show the log's end and the remedy, and stop.

    An installer that fails by itself has tidied up, so its environment may be kept.
    """
    environment = dict(os.environ)
    if "PIP_FIND_LINKS" in environment:  # uv ignores pip's settings
        environment.setdefault("UV_FIND_LINKS", environment["PIP_FIND_LINKS"].replace(" ", ","))
    with open(LOG, "a") as log:
        code = subprocess.call(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if code:
        if code > 0:
            UNDER_WAY.unlink(missing_ok=True)
        tail = LOG.read_text(errors="replace").rstrip().splitlines()[-12:]
        print("\n".join("    " + line for line in tail), file=sys.stderr)
        stop("set-up failed (everything is in %s); %s" % (LOG.relative_to(ROOT), remedy))


def environment(processes=1):
    """Environment of a command: threads shared out over `processes`.

    Who wants no compiled sources beside the sources gets them in .cache: without any, every start of every process
    would read and compile all of PyTorch's again.
    """
    values = dict(os.environ)
    if values.pop("PYTHONDONTWRITEBYTECODE", ""):
        values.setdefault("PYTHONPYCACHEPREFIX", str(CACHE / "bytecode"))
    values.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    values["PATH"] = str(BIN) + os.pathsep + values.get("PATH", "")
    values["VIRTUAL_ENV"] = str(VENV)
    return values


def cores():
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_weightless(arguments):
    return _call([str(BIN / "weightless"), *arguments], environment())


def _call(command, values):
    """Exit code of a command in the foreground; an interrupt belongs to the child, which cleans up."""
    process = subprocess.Popen(command, env=values)
    while True:
        try:
            code = process.wait()
            return 128 - code if code < 0 else code
        except KeyboardInterrupt:
            continue


def demo(arguments):
    prepare([])
    return run_weightless(["demo", *arguments])


def run(arguments):
    prepare([])
    return run_weightless(arguments)


def test(arguments):
    """pytest over all cores, one file on one worker, without the slow tests unless -m says otherwise.

    One worker more than cores, since about a fifth of the time is spent waiting for processes under test.
    """
    prepare(["dev"])
    workers = 0 if "--pdb" in arguments else min(cores() + (cores() > 1), MOST_TEST_WORKERS)
    spread = ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else []
    os.chdir(ROOT)
    return _call([_python(), "-m", "pytest", *spread, "-m", "not slow", *arguments], environment(max(1, workers)))


def check(arguments):
    """Every check runs even when an earlier one fails; the exit code says whether all passed."""
    if arguments:
        stop("check takes no options")
    prepare(["dev"])
    os.chdir(ROOT)
    python = _python()
    commands = {
        "ruff check": [python, "-m", "ruff", "check", "."],
        "ruff format": [python, "-m", "ruff", "format", "--check", "."],
        "pyright": [python, "-m", "pyright"],
        "structure": [python, "-m", "pytest", "-q", "tests/structure"],
    }
    values = dict(environment(), PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    failed = []
    for name, command in commands.items():
        began = time.monotonic()
        ok = _call(command, values) == 0
        say("%s %s (%.1f s)" % (name, "passed" if ok else "FAILED", time.monotonic() - began))
        failed += [] if ok else [name]
    return 1 if failed else 0


def setup(arguments):
    arguments = [name.replace("_", "-") for name in arguments]
    for name in arguments:
        if name not in (*EXTRAS, "deck"):
            stop("unknown extra %r; known: %s" % (name, ", ".join((*EXTRAS, "deck"))))
    prepare([name for name in arguments if name != "deck"])
    if "deck" in arguments:
        prepare_deck()
    if "web" in arguments and not any(map(shutil.which, BROWSERS)):
        say("tests of pages need a browser, too, and there is none on the path (Debian: apt install chromium)")
    say("compiling the operators of all families, as far as they are not (some seconds, kept for this machine)")
    return _call([_python(), "-c", COMPILE], environment())


COMMANDS = {"demo": demo, "test": test, "check": check, "run": run, "setup": setup}


def main(arguments):
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__.strip())
        return 0 if arguments else 2
    if arguments[0] not in COMMANDS:
        stop("unknown command %r; known: %s" % (arguments[0], ", ".join(COMMANDS)))
    check_interpreter()
    return COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
