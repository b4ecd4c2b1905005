"""Workers and the walls around them: values cross whole or not at all, costs are counted, nothing is left.

Oracle for values: themselves, bit for bit.  For walls: what a worker says it can reach, with a planted file, variable
and listening socket that a worker without walls does reach.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.deck import sandbox
from weightless.deck.bench import Handle, Limits
from weightless.deck.copying import readable_by_all
from weightless.deck.interpreter import worker_interpreter
from weightless.deck.isolation import MOST_PROCESSES
from weightless.deck.outcome import Failed
from weightless.deck.sandbox import Backend, opened, strongest
from weightless.deck.watching import children, generations, has_ended

SOLUTION = """
import os
import sys
import time

import numpy as np


def same(x):
    return x


def twice(values, hook):
    return [hook(value, scale=2) for value in values]


def hold(n):
    return float(np.ones(n).sum())


def spin(n):
    return sum(i * i for i in range(n))


def folders():
    return sorted(os.listdir("/"))


def user():
    return [os.getuid(), os.getpid(), sorted(os.environ)]


def change(x):
    x[0] = 7.0


def raises_value():
    raise ValueError("no")


def forks():
    n = 0
    try:
        while n < 100:
            if not os.fork():
                time.sleep(60)
            n += 1
    except OSError:
        pass
    return n


class Mute(Exception):
    def __str__(self):
        raise KeyboardInterrupt


def raises_mute():
    raise Mute


def answers_and_waits():
    frame = sys._getframe()
    while "self" not in frame.f_locals:
        frame = frame.f_back
    loaded = frame.f_locals["self"]
    loaded.channel.send(b"DONE", loaded.sequence, b'{"value":true,"arrays":[]}', [])
    time.sleep(0.3)


class Counter:
    def __init__(self, start):
        self.n = start

    def add(self, n):
        self.n += n
        return self.n


def read(counter):
    return counter.n


def pair(x):
    return (x, x.flags["C_CONTIGUOUS"])
"""
NAMES = ("bwrap", "unshare", "plain")


def backend_named(name):
    if name == "plain":
        return Backend("plain", worker_interpreter(), ("UNSANDBOXED",))
    try:
        return strongest(only=name)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("card")
    (made / "solution.py").write_text(SOLUTION)
    readable_by_all(made)
    return made


@pytest.fixture(scope="module")
def worker(folder):
    with opened(folder, strongest(), Limits(seconds=10, memory_bytes=600_000_000)) as worker:
        yield worker


ARRAYS = [
    np.zeros((0, 4)),
    np.array(3.5, np.float32),
    np.arange(6, dtype=np.int16).reshape(2, 3).T,
    np.array([True, False]),
    np.array([1.5, np.nan, -np.inf], np.float16),
    np.arange(4, dtype=">i4"),
    np.array([1 + 2j], np.complex64),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype}{value.shape}")
def test_arrays_cross_whole(worker, value):
    found = worker.call("same", value)
    assert found.shape == value.shape and found.dtype == value.dtype.newbyteorder("=") and found.flags.writeable
    np.testing.assert_array_equal(found, value)


def test_plain_values_cross(worker):
    value = [None, True, -(2**63), 2**64 - 1, 0.1, -0.0, float("inf"), "a\x00\ud800é", (1, (2,)), {"k": [], "": ()}]
    found = worker.call("same", value)
    assert repr(found) == repr(value)
    assert worker.call("same", [np.float32(0.5), np.int8(3), np.bool_(True)]) == [0.5, 3, True]


def test_hooks_run_here(worker):
    seen = []

    def hook(value, scale):
        seen.append((os.getpid(), value))
        return value * scale

    assert worker.call("twice", [1, np.arange(2.0), "a"], hook)[0] == 2
    assert [pid for pid, _ in seen] == [os.getpid()] * 3
    with pytest.raises(Failed, match="CRASH: ValueError: IndexError: gone"):
        worker.call("twice", [1], lambda value, scale: [].pop() if 0 else (_ for _ in ()).throw(IndexError("gone")))
    assert worker.call("same", 1) == 1


def test_a_failure_of_a_hook_is_the_checks(folder):
    def hook(value, scale):
        raise Failed("WRONG_NUMERIC", "asked for too much")

    with opened(folder, strongest()) as worker:
        with pytest.raises(Failed, match="WRONG_NUMERIC: asked for too much"):
            worker.call("twice", [1], hook)
        with pytest.raises(Failed, match="asked for too much"):
            worker.call("same", 1)


def test_objects_stay_there(worker):
    counter = worker.make("Counter", 3)
    assert isinstance(counter, Handle) and worker.method(counter, "add", 4) == 7 and worker.call("read", counter) == 7
    array = worker.hold(np.ones(3))
    worker.call("change", array)
    assert worker.read(array).tolist() == [7.0, 1.0, 1.0]
    wide = worker.hold(np.arange(6.0).reshape(2, 3), strided=True)
    both = worker.make("pair", wide)
    assert worker.read(worker.take(both, 1)) is False
    assert worker.read(worker.take(both, 0)).tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    with pytest.raises(Failed, match="WRONG_SHAPE"):
        worker.take(both, 2)


def test_what_is_raised_and_what_is_not_there(worker):
    assert worker.raises("raises_value") == "ValueError" and worker.raises("same", 1) is None
    assert worker.raises("same") == "TypeError" and worker.raises("same", 1, more=2) == "TypeError"
    for name, arguments, status in (
        ("raises_value", (), "CRASH"),
        ("nothing", (), "CONTRACT"),
        ("same", (), "CONTRACT"),
    ):
        with pytest.raises(Failed) as caught:
            worker.call(name, *arguments)
        assert caught.value.status == status
    with pytest.raises(Failed, match="CONTRACT"):
        worker.raises("nothing")


def test_an_exception_that_cannot_say_what_it_is(worker):
    with pytest.raises(Failed, match="CRASH: Mute: .its text cannot be had."):
        worker.call("raises_mute")


def test_a_second_answer_shows_when_it_comes_late(folder):
    with pytest.raises(Failed, match="TAMPER"):
        with opened(folder, strongest()) as worker:
            assert worker.call("answers_and_waits") is True


@pytest.mark.parametrize("name", ["bwrap", "unshare"])
def test_processes_are_few(folder, name):
    with opened(folder, backend_named(name), Limits(seconds=10)) as worker:
        assert 1 <= worker.call("forks") < MOST_PROCESSES


def test_costs_are_counted_from_outside(worker):
    before = worker.peak_bytes
    worker.call("hold", 10_000_000)
    grown = worker.peak_bytes - before
    assert 78e6 < grown < 95e6  # 80 MB of ones, and the kernel counts pages in batches
    seconds, began = worker.cpu_seconds, time.process_time()
    worker.call("spin", 1_000_000)
    taken = worker.cpu_seconds - seconds
    assert 0.005 < taken < 5 and time.process_time() - began < taken + 1


@pytest.mark.parametrize("name", NAMES)
def test_each_backend_works_and_leaves_nothing(folder, name):
    backend, before = backend_named(name), set(children(os.getpid()))
    with opened(folder, backend, Limits(seconds=10)) as worker:
        user, pid, environment = worker.call("user")
        assert (set(worker.call("folders")) <= EVERYTHING) == backend.isolates
        assert set(environment) <= {"PATH", "LC_ALL", "TMPDIR", "PWD", "LD_LIBRARY_PATH", *THREADS}
        assert not backend.isolates or (pid < 10 and (os.geteuid() != 0 or user >= 2_000_000_000))
    assert set(children(os.getpid())) == before


EVERYTHING = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "packages", "python", "sbin", "submission"}
EVERYTHING |= {"tmp", "usr", "worker.py"}
THREADS = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}


def test_a_probe_sees_what_no_wall_hides():
    told = sandbox._tried(backend_named("plain"))
    assert told == ""  # plain promises nothing, so that its probe asks only whether it answers
    pretended = replace(backend_named("plain"), name="bwrap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sandbox._STARTS, "bwrap", sandbox._STARTS["plain"])
        assert "files" in sandbox._tried(pretended) and "network" in sandbox._tried(pretended)


def test_without_bubblewrap_the_next_works_and_says_so(monkeypatch):
    backend_named("unshare")
    found = sandbox.shutil.which
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None if name == "bwrap" else found(name))
    backend = strongest()
    assert backend.name == "unshare" and backend.isolates
    assert backend.stamps[0] == "not bwrap: bwrap is not installed"


def test_where_nothing_isolates_it_refuses_unless_asked(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="install bubblewrap, or give --unsandboxed"):
        strongest()
    backend = strongest(unsandboxed=True)
    assert backend.name == "plain" and not backend.isolates and backend.stamps[0].startswith("UNSANDBOXED")
    with pytest.raises(ConfigError, match="no sandbox 'bwarp'"):
        strongest(only="bwarp")


def test_a_worker_that_cannot_start_is_no_verdict(folder):
    with pytest.raises(WeightlessError, match="a worker does not start here"):
        with opened(folder, strongest(), Limits(memory_bytes=1_000_000)):
            pass


GRADER = """
import sys
from pathlib import Path
from weightless.deck.interpreter import worker_interpreter
from weightless.deck.sandbox import Backend, opened

with opened(Path(sys.argv[1]), Backend(sys.argv[2], worker_interpreter(), ())) as worker:
    print("ready", flush=True)
    worker.call("sleep")
"""


@pytest.mark.parametrize("name", NAMES)
def test_workers_end_with_a_grader_that_is_killed(tmp_path, name):
    backend_named(name)
    (tmp_path / "solution.py").write_text("import time\n\n\ndef sleep():\n    time.sleep(600)\n")
    readable_by_all(tmp_path)
    command = [sys.executable, "-c", GRADER, str(tmp_path), name]
    left_here = os.environ | {"TMPDIR": str(tmp_path)}  # whoever is killed cannot clear away
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=left_here) as grader:
        assert grader.stdout is not None and grader.stdout.readline() == "ready\n"
        tree = [pid for generation in generations(grader.pid) for pid in generation]
        assert len(tree) >= 3
        grader.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not all(map(has_ended, tree)):
        time.sleep(0.01)
    assert all(map(has_ended, tree))


def test_a_file_in_a_folder_is_loaded_with_its_neighbours(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src/beam.py").write_text(
        "from other import two\nfrom top import three\n\n\ndef five():\n    return two + three\n"
    )
    (tmp_path / "src/other.py").write_text("two = 2\n")
    (tmp_path / "top.py").write_text("three = 3\n")
    readable_by_all(tmp_path)
    with opened(tmp_path, strongest(), file="src/beam.py") as worker:
        assert worker.call("five") == 5


def test_a_worker_has_the_distributions_that_are_named_and_what_they_require():
    """Oracle: that numba requires llvmlite.  What is not named is not there, and nothing is asked of one with NumPy."""
    plain = strongest()
    given = sandbox.with_packages(plain, ("numba",))
    names = {name for name, _ in given.interpreter.packages}
    assert {"numpy", "numba", "llvmlite"} <= names and not {"torch", "pytest", "weightless"} & names
    assert "numba" in given.stamps[-1] and sandbox.with_packages(plain, ()) is plain


def test_distributions_that_cannot_be_had_are_named():
    with pytest.raises(ConfigError, match="no-such-thing is not installed.*cannot be judged here"):
        sandbox.with_packages(strongest(), ("no-such-thing",))
    other = replace(strongest(), interpreter=replace(worker_interpreter(), numpy="1.0"))
    with pytest.raises(ConfigError, match="workers have .* and 1.0"):
        sandbox.with_packages(other, ("numba",))
