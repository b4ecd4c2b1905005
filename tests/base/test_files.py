"""Files are whole or absent. Oracle: the file system itself after a simulated failure, a full disk or SIGKILL."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from weightless.base import files
from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.base.files import (
    append_line,
    atomic_write,
    atomic_writer,
    json_line,
    read_json,
    sha256_file,
    text_lines,
    write_json,
)

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and signals")


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "deep" / "target.bin"
    atomic_write(path, b"before")
    return path


def names(path):
    return sorted(item.name for item in path.parent.iterdir())


@pytest.mark.parametrize("size", [0, 1, 63, 1023, (1 << 20) + 1])
def test_content_comes_back(target, size):
    content = bytes(i % 251 for i in range(size))
    atomic_write(target, content)
    assert target.read_bytes() == content
    assert sha256_file(target) == hashlib.sha256(content).hexdigest()
    assert names(target) == ["target.bin"]


def test_text_mode_writes_utf8(tmp_path):
    with atomic_writer(tmp_path / "x.txt", "w") as file:
        file.write("né\n")
    atomic_write(tmp_path / "y.txt", "né\n")
    assert (tmp_path / "x.txt").read_bytes() == (tmp_path / "y.txt").read_bytes() == b"n\xc3\xa9\n"


def test_a_writer_may_go_back_to_its_header(target):
    with atomic_writer(target) as file:
        file.write(b"....body")
        file.seek(0)
        file.write(b"head")
    assert target.read_bytes() == b"headbody"


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, ZeroDivisionError])
def test_a_failure_of_the_caller_leaves_what_was_there(target, failure):
    with pytest.raises(failure), atomic_writer(target) as file:
        file.write(b"half")
        raise failure
    assert target.read_bytes() == b"before"
    assert names(target) == ["target.bin"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(target, monkeypatch, where):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, where, full)
    with pytest.raises(WeightlessError, match=r"target\.bin: No space left on device; .* untouched"):
        atomic_write(target, b"after")
    assert target.read_bytes() == b"before"
    assert names(target) == ["target.bin"]


def test_a_folder_that_cannot_be_synced_is_no_failure(target, monkeypatch):
    opened = os.open

    def refuse_folders(path, *rest):
        if os.path.isdir(path):
            raise OSError(errno.EINVAL, "Invalid argument", str(path))
        return opened(path, *rest)

    monkeypatch.setattr(files.os, "open", refuse_folders)
    atomic_write(target, b"after")
    assert target.read_bytes() == b"after"


def test_trouble_with_another_file_keeps_its_own_name(target, tmp_path):
    with pytest.raises(FileNotFoundError, match="another"), atomic_writer(target):
        (tmp_path / "another").read_bytes()
    assert target.read_bytes() == b"before"


@pytest.mark.parametrize("path", ["folder", "file/below"])
def test_a_path_that_cannot_be_a_file_is_told_in_one_line(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(WeightlessError, match="cannot write") as caught:
        atomic_write(tmp_path / path, b"x")
    assert "\n" not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder"]


def test_the_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("é" * 127)  # 254 bytes of the 255 that file systems allow
    atomic_write(path, b"x")
    assert path.read_bytes() == b"x"


KILLED = """
import os, signal, sys
from weightless.base.files import atomic_writer
with atomic_writer(sys.argv[1]) as file:
    file.write(b"half" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@posix
def test_a_killed_process_leaves_what_was_there(target):
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"before"
    left = [name for name in names(target) if name != "target.bin"]
    assert len(left) == 1
    assert left[0].endswith(".part")
    atomic_write(target, b"after")
    assert target.read_bytes() == b"after"


@posix
def test_permissions_are_those_of_open(target):
    plain = target.parent / "plain"
    plain.write_bytes(b"")
    atomic_write(target.parent / "fresh", b"x")
    assert (target.parent / "fresh").stat().st_mode == plain.stat().st_mode
    target.chmod(0o640)
    atomic_write(target, b"after")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@posix
def test_threads_do_not_change_the_umask(target):
    before = os.umask(0o022)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: atomic_write(target, bytes([i % 256]) * 100), range(2000)))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert len(set(target.read_bytes())) == 1, "a reader sees one writer's bytes, never a mixture"


def test_json_comes_back(tmp_path):
    value = {"b": [1, 2.5, None, True], "a": "né"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value
    assert (tmp_path / "x.json").read_text(encoding="utf-8").startswith('{\n  "b"')


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1} x', b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_told_in_one_line(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"x\.json is not valid JSON") as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_missing_files_are_told_in_one_line(tmp_path):
    for read in (read_json, sha256_file):
        with pytest.raises(WeightlessError, match=r"cannot read .*gone: No such file"):
            read(tmp_path / "gone")
    with pytest.raises(WeightlessError, match="cannot append"):
        append_line(tmp_path / "gone" / "log", "x")


def test_a_torn_line_does_not_swallow_the_next(tmp_path):
    log = tmp_path / "log"
    append_line(log, "one")
    with open(log, "ab") as file:
        file.write(b"tw")  # what a kill in the middle of a write leaves
    append_line(log, "three")
    append_line(log, "né")
    assert log.read_text(encoding="utf-8").splitlines() == ["one", "tw", "three", "né"]


def test_a_line_of_json_is_one_line_for_every_reader():
    value = {"text": "a\u2028b\u2029c\x85d\x1ce\x0cf\rg\nh", "ä": 1}
    assert len(json_line(value).splitlines()) == 1 and json.loads(json_line(value)) == value


def test_lines_end_at_line_feeds_only():
    """Oracle: the list written here; str.splitlines would find seven lines in the second."""
    within = "a\u2028b\x0cc\x85d\re\x1cf\x0bg"
    content = "\ufefffirst\n".encode() + f"{within}\r\n\nlast".encode()
    assert text_lines(content) == ["first", within, "", "last"]
    assert text_lines(b"") == [] and text_lines(b"\n") == [""] and text_lines(b"one\n") == ["one"]


@posix
def test_what_a_killed_writer_left_goes_when_the_file_is_written_again(target):
    """A writer that is still alive keeps its temporary file: its lock says so."""
    stale = target.parent / f".{target.name}.0badcafe.part"
    stale.write_bytes(b"half")
    other = target.parent / ".other.bin.0badcafe.part"
    other.write_bytes(b"half of another file")
    with atomic_writer(target) as slow:
        slow.write(b"slow")
        atomic_write(target, b"quick")
        assert not stale.exists() and other.exists()
    assert target.read_bytes() == b"slow"
    assert sorted(path.name for path in target.parent.iterdir()) == [other.name, target.name]


@posix
def test_a_device_or_pipe_is_never_replaced_by_a_file(tmp_path):
    """As root, a file renamed onto /dev/null would take its place for everybody."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(WeightlessError, match="is a device or a pipe"):
            atomic_write(tmp_path / name, b"x")
        assert stat.S_ISFIFO((tmp_path / name).stat().st_mode)
    assert names(tmp_path / "pipe") == ["link", "pipe"]
