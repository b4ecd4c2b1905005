"""`njit` for the compiled kernels, whose cache is keyed by all the sources that they are made of.

numba keeps machine code by the file that a function stands in, and does not notice a change in another file that the
function calls or takes a constant from.  So each function is cached in a folder named by every file that defines
kernels and every file that those import: numba-KEY, whichever way the package was started, and only for our functions.

The folder lies in NUMBA_CACHE_DIR if that is set; else in .cache of a checkout, else in the user's cache folder, else
(a read-only installation without a usable home) in a temporary folder of this user's alone, which is told once.  The
caches are unpickled by numba, therefore nobody else may write there.

Processes that want one function for the same types at the same time take turns: the first compiles, the others load.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
KEPT_CACHES = 4
LONGEST_WAIT, BETWEEN_LOOKS = 60.0, 0.02
"""Seconds for which somebody else may compile what is wanted, who may have been stopped, and between two looks."""
_NAME = re.compile(r"numba-[0-9a-f]{16}")
_IMPORT = re.compile(rb"^\s*(?:from|import)\s+(weightless[\w.]*)(?:\s+import\s+(\([^)]*|[\w, ]+))?", re.MULTILINE)


def njit(**options: Any) -> Callable[[Any], Any]:
    """numba.njit(**options), with our cache folder and files where the options ask for a cache."""
    import numba

    def decorate(function: Any) -> Any:
        before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
        numba.config.CACHE_DIR = str(cache_folder()) if options.get("cache") else before  # type: ignore[attr-defined]
        try:
            compiled: Any = numba.njit(**options)(function)
        finally:
            numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
        if options.get("cache"):
            compiled._cache._cache_file.__class__ = _files_by_key()
            compiled.compile = _by_turns(compiled.compile, f"{function.__module__}.{function.__qualname__}")
        compiled.compile = _uncollected(compiled.compile)
        return compiled

    return decorate


def _uncollected(compile_it: Callable[..., Any]) -> Callable[..., Any]:
    """`compile_it` without garbage collection, which takes a tenth of the time: compilers make many objects."""

    @functools.wraps(compile_it)
    def compile_alone(*arguments: Any, **options: Any) -> Any:
        if not gc.isenabled():
            return compile_it(*arguments, **options)
        gc.disable()
        try:
            return compile_it(*arguments, **options)
        finally:
            gc.enable()

    return compile_alone


def _by_turns(compile_it: Callable[..., Any], name: str) -> Callable[..., Any]:
    """`compile_it`, which looks into the cache first, when no other process compiles the same."""

    @functools.wraps(compile_it)
    def compile_in_turn(*arguments: Any, **options: Any) -> Any:
        with _turn(f"{name} {arguments}"):
            return compile_it(*arguments, **options)

    return compile_in_turn


@contextmanager
def _turn(what: str) -> Iterator[None]:
    """Hold a lock named `what` of all processes with this cache, or none after `LONGEST_WAIT`: it saves work and
    protects nothing.  A name is a byte of one file; locks of bytes go with the process that holds them."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    at, until = int(hashlib.sha256(what.encode()).hexdigest()[:12], 16), time.monotonic() + LONGEST_WAIT
    file = _file_of_turns()
    while file is not None:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
            break
        except BlockingIOError:
            file = file if time.monotonic() < until else None
            time.sleep(BETWEEN_LOOKS)
        except OSError:  # a file system without locks
            file = None
    try:
        yield
    finally:
        if file is not None:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, at)


@functools.cache
def _file_of_turns() -> int | None:
    """Opened once: whoever closes such a file gives up all locks that its process holds there."""
    try:
        return os.open(cache_folder() / "turns", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError:
        return None


@functools.cache
def _files_by_key() -> type:
    """numba's cache files, with data files named by what they hold.

    numba numbers them: two processes that compile one function for different types at the same time both take the next
    number, and then the one's machine code answers to the other's types.  Here such a race could lose an entry of the
    index at most, which would be compiled again; so indices are written by turns as well.
    """
    from numba.core.caching import IndexDataCacheFile

    class FilesByKey(IndexDataCacheFile):
        def save(self, key: Any, data: Any) -> None:
            name = self._data_name(int(hashlib.sha256(repr(key).encode()).hexdigest()[:15], 16))
            self._save_data(name, data)
            with _turn(f"index {self._index_path}"):
                self._save_index({**self._load_index(), key: name})

    return FilesByKey


@functools.cache
def cache_folder() -> Path:
    """The folder of this version of the kernels; older versions but the newest few are removed."""
    base, name = writable_folder("NUMBA_CACHE_DIR", "compiled kernels"), f"numba-{source_key(PACKAGE)}"
    folder = base / name
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
        os.utime(folder)
        versions = [entry for entry in base.iterdir() if _NAME.fullmatch(entry.name) and not entry.is_symlink()]
        for old in sorted(versions, key=_age)[KEPT_CACHES:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _age(folder: Path) -> float:
    try:
        return -folder.stat().st_mtime
    except OSError:  # another process was quicker
        return 0.0


def source_key(package: Path) -> str:
    """Hash of the files of `package` that define kernels, and of all that these import from it, by name and content."""
    contents = {path: path.read_bytes() for path in sorted(package.rglob("*.py"))}
    waiting = [path for path, content in contents.items() if b"njit" in content or b"numba" in content]
    found = set(waiting)
    while waiting:
        new = set(_imported(contents[waiting.pop()], package)) & contents.keys() - found
        found |= new
        waiting += new
    digest = hashlib.sha256()
    for path in sorted(found):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + contents[path] + b"\0")
    return digest.hexdigest()[:16]


def _imported(content: bytes, package: Path) -> Iterator[Path]:
    """Files that may stand behind the import statements of a source."""
    for module, names in _IMPORT.findall(content):
        words = module.decode().split(".")[1:]
        for name in ("", *(word.split()[0] for word in names.decode().strip("(").split(",") if word.split())):
            path = package.joinpath(*words, *([name] if name else []))
            yield from (path.with_suffix(".py"), path / "__init__.py")


def writable_folder(variable: str, what: str) -> Path:
    """The first of these that can be written: the folder that `variable` names (alone, if it is set), .cache of a
    checkout, the user's cache folder; else a private temporary folder, told on standard error with `what` it holds."""
    for folder in _places(variable):
        if _can_write(folder):
            return folder
    own = Path(tempfile.gettempdir(), f"weightless-{os.getuid() if hasattr(os, 'getuid') else os.getpid()}")
    is_new = not os.path.lexists(own)
    if not _is_private(own):
        own, is_new = Path(tempfile.mkdtemp(prefix="weightless-")), True  # somebody else took the name
    if is_new:
        print(
            f"weightless: {what} are kept in {own}, because neither the installation nor a home folder can be "
            f"written; {variable} names another place",
            file=sys.stderr,
        )
    return own


def _places(variable: str) -> Iterator[Path]:
    if os.environ.get(variable):
        yield Path(os.environ[variable]).absolute()
        return
    checkout = PACKAGE.resolve().parents[1]
    if (checkout / "src" / "weightless").is_dir() and (checkout / "pyproject.toml").is_file():
        yield checkout / ".cache"
    if os.name == "nt":
        homes = [os.environ.get("LOCALAPPDATA", "")]
    else:
        homes = [os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~/.cache")]
    yield from (Path(home) / "weightless" for home in homes if os.path.isabs(home))


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _is_private(folder: Path) -> bool:
    """Whether `folder`, made here if it is missing, is a folder of this user's that nobody else can enter."""
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()
        mine = not hasattr(os, "getuid") or found.st_uid == os.getuid()
        closed = os.name == "nt" or not found.st_mode & 0o077
        return stat.S_ISDIR(found.st_mode) and mine and closed and _can_write(folder)
    except OSError:
        return False
