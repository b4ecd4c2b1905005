"""One writer per folder.  Oracles: real processes, killed and alive, and what the folder holds afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from weightless.base.errors import WeightlessError
from weightless.base.folder_lock import LOCK, folder_lock, is_lock

HOLDER = """
import sys, time
from weightless.base.folder_lock import folder_lock
with folder_lock(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def hold():
    """Start another process that holds a folder (or a share of it); all are killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path, share: str = "", script: str = HOLDER) -> subprocess.Popen[bytes]:
        holder = subprocess.Popen([sys.executable, "-c", script, str(folder), share], stdout=subprocess.PIPE)
        started.append(holder)
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        return holder

    yield start
    for holder in started:
        holder.kill()
        holder.communicate()


def test_a_second_process_is_told_who_holds_the_folder(tmp_path, hold):
    holder = hold(tmp_path / "run")
    with pytest.raises(WeightlessError) as refused, folder_lock(tmp_path / "run"):
        pass
    told = str(refused.value)
    assert f"{tmp_path / 'run'} is in use: process {holder.pid} on " in told and " since 20" in told
    assert "\n" not in told and "choose another folder" in told


def test_a_killed_holder_is_taken_over_and_named_and_nothing_stays(tmp_path, hold, capsys):
    holder = hold(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK).exists(), "a kill leaves the file"
    with folder_lock(tmp_path):
        assert f"taken over from process {holder.pid} on " in capsys.readouterr().err
    with folder_lock(tmp_path):
        assert capsys.readouterr().err == "", "told once"
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_a_living_process_in_a_leftover_file_holds_nothing(tmp_path):
    """After a restart of the machine the number of a dead holder may be somebody else's."""
    (tmp_path / LOCK).write_text(f'{{"pid": {os.getpid()}, "host": "h", "command": "c", "since": "s"}}')
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1]", b'{"pid": 1}', b"[" * 4000, b'{"a": "\\ud800"}'])
def test_a_lock_file_of_any_content_is_no_obstacle(tmp_path, content, capsys):
    (tmp_path / LOCK).write_bytes(content)
    with folder_lock(tmp_path):
        pass
    assert capsys.readouterr().err == ""


def test_shares_work_side_by_side_and_exclude_the_whole(tmp_path, hold):
    first = hold(tmp_path, "part-001")
    with folder_lock(tmp_path, "part-002"):
        pass
    with pytest.raises(WeightlessError, match=f"process {first.pid} "), folder_lock(tmp_path, "part-001"):
        pass
    with pytest.raises(WeightlessError, match=f"process {first.pid} "), folder_lock(tmp_path):
        pass
    first.kill()
    first.wait()
    whole = hold(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [LOCK], "what the killed share left is gone"
    with pytest.raises(WeightlessError, match=f"process {whole.pid} "), folder_lock(tmp_path, "part-001"):
        pass


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with pytest.raises(ValueError), folder_lock(tmp_path / "a" / "b"):
        assert is_lock(next((tmp_path / "a" / "b").iterdir()))
        raise ValueError
    assert list(tmp_path.iterdir()) == []
    with folder_lock(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "kept").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["kept"]


def test_a_holder_may_take_its_folder_again_and_keeps_it_until_the_outer_end(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    with folder_lock(tmp_path / "real"):
        with folder_lock(tmp_path / "link"), folder_lock(tmp_path / "real", "part-001"):
            pass
        assert _refused_in_a_thread(tmp_path / "real")
    assert not _refused_in_a_thread(tmp_path / "real")


def _refused_in_a_thread(folder: Path) -> bool:
    """Threads are rivals like processes: they write at the same time."""
    outcome = []

    def attempt() -> None:
        try:
            with folder_lock(folder):
                outcome.append(False)
        except WeightlessError:
            outcome.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return outcome[0]


def test_processes_that_come_together_hold_the_folder_one_at_a_time(tmp_path):
    """Each adds one to a number 20 times under the lock; the sum is right only if no two did so at once."""
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from weightless.base.errors import WeightlessError
        from weightless.base import folder_lock
        folder_lock._WRITER_SAYS_WHO = 0.0
        number, done = Path(sys.argv[1]) / "number", 0
        while done < 20:
            try:
                with folder_lock.folder_lock(Path(sys.argv[1]) / "held"):
                    value = int(number.read_text())
                    time.sleep(0.0005)
                    number.write_text(str(value + 1))
                    done += 1
            except WeightlessError:
                time.sleep(0.0002)
    """)
    (tmp_path / "number").write_text("0")
    running = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    assert (tmp_path / "number").read_text() == "80"
    assert not list(tmp_path.glob("held/*"))


def test_a_forked_child_does_not_release_the_lock_of_its_parent(tmp_path, hold):
    script = HOLDER.replace(
        "    time.sleep",
        "    import os\n    if not os.fork(): sys.exit()\n    os.wait()\n"
        '    print("forked", flush=True)\n    time.sleep',
    )
    holder = hold(tmp_path, "", script)
    assert holder.stdout is not None and holder.stdout.readline() == b"forked\n"
    with pytest.raises(WeightlessError, match=f"process {holder.pid} "), folder_lock(tmp_path):
        pass


def test_what_is_started_by_a_holder_does_not_hold_the_folder(tmp_path, hold):
    script = HOLDER.replace(
        "    print",
        "    import subprocess\n    child = subprocess.Popen(['sleep', '60'])\n"
        "    print(child.pid, file=sys.stderr)\n    print",
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), ""], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stderr is not None
    assert holder.stdout.readline() == b"held\n"
    child = int(holder.stderr.readline())
    holder.kill()
    holder.wait()
    try:
        with folder_lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.communicate()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with folder_lock(tmp_path):
            pass
        with pytest.raises(WeightlessError, match="Permission denied"), folder_lock(tmp_path / "new"):
            pass
    finally:
        tmp_path.chmod(0o755)


def test_what_cannot_be_a_folder_is_told(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "target").write_text("precious")
    (tmp_path / LOCK).symlink_to(tmp_path / "target")
    with pytest.raises(WeightlessError, match="it is a file, not a folder"), folder_lock(tmp_path / "file"):
        pass
    with pytest.raises(WeightlessError, match="cannot write into"), folder_lock(tmp_path):
        pass
    assert (tmp_path / "target").read_text() == "precious"


def test_a_file_system_without_locks_is_told_about(tmp_path, monkeypatch, capsys):
    import errno
    import fcntl

    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with folder_lock(tmp_path):
        assert "has no locks" in capsys.readouterr().err
