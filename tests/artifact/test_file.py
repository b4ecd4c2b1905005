"""Writing and opening: round trip, layout known to the byte, and what stays on disk when writing fails."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import weightless
from weightless.artifact import StoredTensor, open_artifact, write_artifact
from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError


def test_what_was_written_is_read(packed, meta, tensors):
    artifact = open_artifact(packed)
    assert artifact.meta == meta
    assert artifact.file_bytes == packed.stat().st_size
    assert list(artifact.entries) == [tensor.name for tensor in tensors]
    for tensor in tensors:
        entry, view = artifact.entries[tensor.name], artifact.view(tensor.name)
        wanted = np.concatenate([np.zeros(0, np.uint8), *tensor.parts()])
        assert (entry.format, entry.shape, entry.row_bytes) == (tensor.format, tensor.shape, tensor.row_bytes)
        assert view.shape == (tensor.shape[0], tensor.row_stride) and view.tobytes() == wanted.tobytes()
        assert entry.offset % 64 == 0
        assert artifact.data[entry.offset : entry.offset + entry.nbytes].tobytes() == wanted.tobytes()


def test_the_map_is_read_only_and_aligned(packed):
    artifact = open_artifact(packed)
    assert not artifact.data.flags.writeable and artifact.data.ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        artifact.view("head")[0, 0] = 1


def test_layout_to_the_byte(packed, meta):
    """The header's docstring, decoded by hand."""
    content = packed.read_bytes()
    assert content[:8] == b"\x89WL\r\n\x1a\n\0"
    version, header, size, data, n_meta, table = struct.unpack("<II4Q", content[8:48])
    assert (version, header, size, header + data + n_meta + table) == (1, 128, len(content), len(content))
    meta_text, table_text = content[128 + data : 128 + data + n_meta], content[-table:]
    assert content[48:80] == hashlib.sha256(meta_text).digest()
    assert content[80:112] == hashlib.sha256(table_text).digest()
    assert content[112:128] == hashlib.sha256(content[:112]).digest()[:16]
    assert json.loads(meta_text) == meta
    rows = json.loads(table_text)
    assert [row["offset"] for row in rows] == [0, 320, 320, 512, 512, 576]
    for row in rows:
        section = content[128 + row["offset"] : 128 + row["offset"] + row["nbytes"]]
        assert hashlib.sha256(section).hexdigest() == row["sha256"]


def test_same_input_same_bytes(tmp_path, packed, meta, tensors):
    write_artifact(tmp_path / "again.wl", meta, tensors)
    assert (tmp_path / "again.wl").read_bytes() == packed.read_bytes()


def test_an_artifact_of_nothing(tmp_path, tensors):
    write_artifact(tmp_path / "nothing.wl", {}, [])
    artifact = open_artifact(tmp_path / "nothing.wl")
    assert artifact.meta == {} and not artifact.entries and artifact.data.size == 0
    write_artifact(tmp_path / "hollow.wl", {}, tensors[1:2])
    assert open_artifact(tmp_path / "hollow.wl").view("empty").shape == (0, 256)


def test_unknown_tensor_names_the_nearest(packed):
    with pytest.raises(WeightlessError, match="no tensor 'embd': did you mean 'embed'"):
        open_artifact(packed).view("embd")


def test_large_files_are_checked_on_threads_with_progress(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("weightless.artifact.file.THREADS_FROM_BYTES", 1000)
    monkeypatch.setattr("weightless.artifact.file.PROGRESS_FROM_BYTES", 1000)
    monkeypatch.setattr("weightless.artifact.file.BLOCK_BYTES", 100)
    tensors = [StoredTensor(f"t{i}", "u8", (3, 333), 333, 333, np.full(999, i, np.uint8)) for i in range(20)]
    path = tmp_path / "many.wl"
    write_artifact(path, {}, tensors)
    assert (open_artifact(path).view("t7") == 7).all()
    assert "checking many.wl" in capsys.readouterr().err
    damaged = bytearray(path.read_bytes())
    damaged[128 + 10 * 1024 + 5] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptFileError, match="damaged bytes in 't10'"):
        open_artifact(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "name '' does not match"),
        ({"name": "naïve"}, "does not match"),
        ({"name": "a b"}, "does not match"),
        ({"name": "x" * 201}, "does not match"),
        ({"format": "INT4"}, "format 'INT4' does not match"),
        ({"row_bytes": 65}, "rows of 65 bytes do not fit a stride of 64"),
        ({"row_bytes": -1}, "row_bytes is -1, not a size"),
        ({"shape": (2, 64)}, "2 rows of stride 64 are not 192 bytes"),
        ({"data": np.zeros(191, np.uint8)}, "3 rows of stride 64 are not 191 bytes"),
        ({"data": np.zeros(192, np.int8)}, "must be uint8, got int8"),
        ({"data": np.zeros(24, np.float64)}, "must be uint8, got float64"),
        ({"name": "embed"}, "two sections are called 'embed'"),
    ],
)
def test_the_writer_refuses_what_no_reader_would_accept(tmp_path, tensors, change, message):
    fields = {
        "name": "good",
        "format": "u8",
        "shape": (3, 64),
        "row_bytes": 64,
        "row_stride": 64,
        "data": np.zeros(192, np.uint8),
        **change,
    }
    with pytest.raises(ConfigError, match=message):
        write_artifact(tmp_path / "bad.wl", {}, [tensors[0], StoredTensor(**fields)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("meta", [{"x": float("nan")}, {1: "x"}, {"x": {2}}, {"x": np.int64(3)}, {"x": b"y"}])
def test_the_writer_refuses_meta_that_json_would_change(tmp_path, meta):
    with pytest.raises(ConfigError, match="must be plain JSON"):
        write_artifact(tmp_path / "bad.wl", meta, [])
    with pytest.raises(ConfigError, match="is a dict"):
        write_artifact(tmp_path / "bad.wl", [meta], [])


def test_the_writer_refuses_deep_and_huge_meta(tmp_path, monkeypatch):
    deep: dict = {}
    for _ in range(100_000):
        deep = {"x": deep}
    with pytest.raises(ConfigError, match="nested deeper than 64"):
        write_artifact(tmp_path / "bad.wl", deep, [])
    while deep:  # freed from the outside in: destroying it at once would recurse
        deep = deep["x"]
    monkeypatch.setattr("weightless.artifact.file.MAX_META_BYTES", 100)
    with pytest.raises(ConfigError, match="100 is the limit"):
        write_artifact(tmp_path / "bad.wl", {"x": "y" * 100}, [])


class Interrupted(Exception):
    pass


def test_an_interrupted_writer_leaves_the_old_file(packed):
    before = packed.read_bytes()

    class Pieces(list):
        def __iter__(self):
            yield np.zeros(64, np.uint8)
            raise Interrupted

    with pytest.raises(Interrupted):
        write_artifact(packed, {}, [StoredTensor("a", "u8", (2, 64), 64, 64, Pieces())])
    assert packed.read_bytes() == before and [path.name for path in packed.parent.iterdir()] == ["model.wl"]


def test_a_file_that_is_still_being_written_is_refused(tmp_path):
    """The writer's own temporary file, copied while the data is half written."""
    copies = []

    class Pieces(list):
        def __iter__(self):
            yield np.ones(64, np.uint8)
            (part,) = tmp_path.glob(".model.wl.*.part")
            copies.append(part.read_bytes())
            yield np.ones(64, np.uint8)

    write_artifact(tmp_path / "model.wl", {}, [StoredTensor("a", "u8", (2, 64), 64, 64, Pieces())])
    complete = (tmp_path / "model.wl").read_bytes()
    for content in (*copies, b"WL-PART\0" + bytes(120) + complete[128:]):
        if content:
            (tmp_path / "copy.wl").write_bytes(content)
            with pytest.raises(CorruptFileError, match="never finished"):
                open_artifact(tmp_path / "copy.wl")


FILL_THE_DISK = """
import resource, signal, sys
import numpy as np
from weightless.artifact import StoredTensor, write_artifact
from weightless.base.errors import WeightlessError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    write_artifact(sys.argv[1], {}, [StoredTensor("a", "u8", (1000, 100), 100, 100, np.ones(100_000, np.uint8))])
except WeightlessError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.skipif(os.name != "posix", reason="file size limits are a POSIX notion")
@pytest.mark.parametrize("limit", [0, 100, 50_000, 100_100, 100_300])
def test_a_full_disk_leaves_the_old_file(packed, limit):
    """RLIMIT_FSIZE makes write() fail as a full disk does, at any chosen byte (last: inside the table)."""
    before = packed.read_bytes()
    source = str(Path(weightless.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(packed), str(limit)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout.startswith(f"cannot write {packed}: ") and done.stdout.count("\n") == 1
    assert packed.read_bytes() == before and [path.name for path in packed.parent.iterdir()] == ["model.wl"]
