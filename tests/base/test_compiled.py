"""The cache of compiled kernels: keyed by all sources, wherever the program starts, in a place that can be written.

Oracle of staleness: the value that the changed source computes, in a fresh process that finds the old cache.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from weightless.base import compiled

INNER = (
    "from weightless.base.compiled import njit\nfrom weightless.constants import STEP\n\n"
    "@njit(cache=True)\ndef inner(x):\n    return x + STEP\n"
)
OUTER = (
    "from weightless.base.compiled import njit\nfrom weightless.inner import inner\n\n"
    "@njit(cache=True)\ndef outer(x):\n    return inner(x)\n"
)


@pytest.fixture
def package(tmp_path):
    """A small package of our name with two kernels, one of which calls the other, and a constant."""
    folder = tmp_path / "site" / "weightless"
    (folder / "base").mkdir(parents=True)
    for name in ("__init__.py", "base/__init__.py", "base/compiled.py"):
        shutil.copy(compiled.PACKAGE / name, folder / name)
    (folder / "constants.py").write_text("STEP = 1\n")
    (folder / "inner.py").write_text(INNER)
    (folder / "outer.py").write_text(OUTER)
    return folder


def outer_of_zero(package, **variables):
    """(what a fresh process computes, its standard error)."""
    own = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    environment = own | {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-c", "from weightless.outer import outer; print(outer(0))"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return int(done.stdout), done.stderr


@pytest.mark.parametrize("file, old, new", [("inner.py", "x + STEP", "x + 7 * STEP"), ("constants.py", "= 1", "= 7")])
def test_a_change_in_a_file_that_a_kernel_uses_is_noticed(package, tmp_path, file, old, new):
    cache = tmp_path / "cache"
    assert outer_of_zero(package, NUMBA_CACHE_DIR=str(cache))[0] == 1
    (package / file).write_text((package / file).read_text().replace(old, new))
    assert outer_of_zero(package, NUMBA_CACHE_DIR=str(cache))[0] == 7
    versions = sorted(cache.iterdir())
    assert len(versions) == 2 and all(list(version.rglob("*.nbi")) for version in versions)


def test_the_key_follows_what_kernels_import_and_nothing_else(package):
    before = compiled.source_key(package)
    (package / "other.py").write_text("X = 1\n")
    assert compiled.source_key(package) == before
    (package / "inner.py").write_text(INNER.replace("import STEP", "import (\n    STEP,\n)"))
    before = compiled.source_key(package)
    (package / "constants.py").write_text("STEP = 2\n")
    assert compiled.source_key(package) != before


def test_without_a_home_kernels_are_kept_in_a_private_folder_and_it_is_told_once(package, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = {"HOME": "/dev/null/none", "TMPDIR": str(temporary)}
    value, told = outer_of_zero(package, **variables)
    (folder,) = (entry for entry in temporary.iterdir() if entry.name.startswith("weightless-"))
    assert value == 1 and told.count("\n") == 1 and str(folder) in told
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and folder.stat().st_uid == os.getuid()
    assert list(folder.rglob("*.nbi"))
    assert outer_of_zero(package, **variables) == (1, "")


@pytest.mark.parametrize("taken", ["open", "link", "file"])
def test_a_folder_that_somebody_else_prepared_is_not_used(taken, tmp_path, monkeypatch, capsys):
    own, elsewhere = tmp_path / f"weightless-{os.getuid()}", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if taken == "open":
        own.mkdir()
        own.chmod(0o777)
    elif taken == "link":
        own.symlink_to(elsewhere)
    else:
        own.write_text("")
    monkeypatch.setattr(compiled.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(compiled, "_places", lambda variable: iter([Path("/dev/null/none")]))
    found = compiled.writable_folder("NUMBA_CACHE_DIR", "compiled kernels")
    assert found not in (own, elsewhere) and stat.S_IMODE(found.stat().st_mode) == 0o700
    assert str(found) in capsys.readouterr().err


def test_old_versions_are_removed_but_the_newest(package, tmp_path, monkeypatch):
    for i in range(6):
        folder = tmp_path / f"numba-{i:016x}"
        folder.mkdir()
        os.utime(folder, (i + 1, i + 1))
    (tmp_path / "numba-mine").mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    compiled.cache_folder.cache_clear()
    try:
        newest = compiled.cache_folder()
    finally:
        compiled.cache_folder.cache_clear()
    left = {entry.name for entry in tmp_path.glob("numba-*")}
    assert left == {newest.name, "numba-mine", *(f"numba-{i:016x}" for i in (3, 4, 5))}


def test_functions_of_others_keep_their_cache():
    import numba

    before = numba.config.CACHE_DIR
    compiled.njit(cache=True)(outer_of_zero)
    assert before == numba.config.CACHE_DIR


def test_two_processes_that_save_at_once_never_take_each_others_code(tmp_path, monkeypatch):
    """Both have read the index before either wrote it: a lost entry is compiled again, a wrong one would run."""
    files = compiled._files_by_key()(str(tmp_path), "kernel", "stamp")
    for key in ("float32", "float64"):
        monkeypatch.setattr(files, "_load_index", dict)
        files.save(key, f"code for {key}")
    monkeypatch.undo()
    assert {key: files.load(key) for key in ("float32", "float64")} == {"float32": None, "float64": "code for float64"}
    files.save("float32", "code for float32")
    assert [files.load(key) for key in ("float32", "float64")] == ["code for float32", "code for float64"]


ASKED_AT_ONCE = """
import sys, time
from pathlib import Path
from weightless.outer import outer
Path(sys.argv[1], sys.argv[2]).touch()
while len(list(Path(sys.argv[1]).iterdir())) < 3:
    time.sleep(0.001)
print(outer(0), sum(outer.stats.cache_misses.values()))
"""


def test_processes_that_want_the_same_compile_it_once(package, tmp_path):
    """Oracle: numba's own count of what its cache did not have.  Saving is slow here, so that others look meanwhile:
    without turns all three find nothing."""
    source = package / "base/compiled.py"
    before = "            self._save_data(name, data)\n"
    assert before in source.read_text()
    source.write_text(source.read_text().replace(before, f"            time.sleep(2)\n{before}"))
    (tmp_path / "ready").mkdir()
    environment = os.environ | {"PYTHONPATH": str(package.parent), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", ASKED_AT_ONCE, str(tmp_path / "ready")]
    asked = [subprocess.Popen([*command, str(i)], env=environment, stdout=subprocess.PIPE, text=True) for i in range(3)]
    told = [process.communicate(timeout=120)[0].split() for process in asked]
    assert [value for value, _ in told] == ["1"] * 3
    assert sum(int(misses) for _, misses in told) == 1


def test_turns_end_with_whoever_has_them_and_are_not_waited_for_without_end(tmp_path, monkeypatch):
    """Another process holds a name and is stopped, then killed.  Oracle: the clock, and fcntl itself."""
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(compiled, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(compiled, "LONGEST_WAIT", 2.0)
    compiled._file_of_turns.cache_clear()
    holds = f"""
import sys, time
from pathlib import Path
from weightless.base import compiled
compiled.cache_folder = lambda: Path({str(tmp_path)!r})
with compiled._turn("a"):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", holds], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        os.kill(other.pid, signal.SIGSTOP)
        for name, is_held in (("a", True), ("b", False)):
            began = time.monotonic()
            with compiled._turn(name):
                assert (time.monotonic() - began >= compiled.LONGEST_WAIT) is is_held
        other.kill()
    file = compiled._file_of_turns()
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # all of it: whoever was killed holds nothing
    with compiled._turn("a"):
        pass
    compiled._file_of_turns.cache_clear()


def test_kernels_keep_their_files_by_key():
    from weightless.kernels.numba.rows import decode_f32

    assert type(decode_f32._cache._cache_file) is compiled._files_by_key()
