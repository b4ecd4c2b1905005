"""Oracles: the ids themselves as NumPy arrays, header by struct; an undisturbed import for every disturbed one."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from data.fake_tokenizer import ByteTokenizer
from data.hub_server import masked_rows, table_bytes, value_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.imports import import_plan, import_tokens, token_parquet
from weightless.data.imports.row_sets import open_rows
from weightless.data.imports.token_parquet import Reading
from weightless.data.shards import inspect
from weightless.data.shards.corpus import corpus
from weightless.data.shards.growing_shard import part_of

V, MARK = 257, 256


class Tokenizer(ByteTokenizer):
    special_tokens = {"<|endoftext|>": MARK}


def bins(folder: Path, n: int = 5000, n_val: int = 700) -> np.ndarray:
    """nanoGPT's train.bin and val.bin of documents that end with MARK."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    ids = rng.integers(0, 256, n + n_val).astype(np.uint16)
    ids[rng.random(n + n_val) < 0.02] = MARK
    ids[:n].tofile(folder / "train.bin")
    ids[n:].tofile(folder / "val.bin")
    return ids


def imported(source: Path, out: Path, **options):
    rows = open_rows(str(source), Reading(V, MARK))
    return import_tokens.import_tokens(rows, out, **{"name": "t", "show_progress": False, **options})


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def documents(ids: np.ndarray) -> int:
    return sum(bool(len(part)) for part in "".join("|" if i == MARK else "x" for i in ids).split("|"))


def test_shards_manifest_and_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(import_tokens, "BLOCK_TOKENS", 13)  # documents are counted across blocks and shards
    ids = bins(tmp_path / "in")
    found = imported(tmp_path / "in", tmp_path / "out", tokenizer=Tokenizer(), shard_tokens=1999)
    assert np.array_equal(found.tokens("train"), ids[:5000]) and np.array_equal(found.tokens("val"), ids[5000:])
    assert [shard["tokens"] for shard in found.manifest["splits"]["train"]["shards"]] == [1999, 1999, 1002]
    first = (tmp_path / "out/t_train_000000.bin").read_bytes()
    assert first[:12] == struct.pack("<3i", 20240520, 1, 1999) and not any(first[12:1024])
    for split, own in (("train", ids[:5000]), ("val", ids[5000:])):
        assert found.n_documents(split) == documents(own)
        assert found.n_bytes(split) == int((own != MARK).sum())  # a byte tokenizer: one byte for each ordinary id
    assert corpus(tmp_path / "out", check_hashes=True).sha256 == found.sha256
    names = sorted(content_of(tmp_path / "out"))
    assert names == [
        "manifest.json",
        *(f"t_train_00000{i}.bin" for i in range(3)),
        "t_val_000000.bin",
        "tokenizer.json",
    ]


def test_the_imported_corpus_passes_verification(tmp_path, monkeypatch):
    monkeypatch.setattr("weightless.data.shards.corpus.Corpus.tokenizer", lambda _: Tokenizer())
    bins(tmp_path / "in")
    for number, (options, n) in enumerate((({"tokenizer": Tokenizer()}, 8), ({}, 6))):
        imported(tmp_path / "in", tmp_path / str(number), **options)
        checks = inspect.verify(tmp_path / str(number))
        assert len(checks) == n and all(check.ok for check in checks), checks


def test_without_a_tokenizer_what_needs_text_says_so(tmp_path):
    bins(tmp_path / "in")
    found = imported(tmp_path / "in", tmp_path / "out")
    assert found.manifest["tokenizer_sha256"] is None and found.manifest["splits"]["val"]["bytes"] is None
    assert not found.has_tokenizer and found.end_of_text == MARK and not found.tokenizer_path.exists()
    for action in (found.tokenizer, lambda: found.n_bytes("val"), lambda: found.check_tokenizer(Tokenizer())):
        with pytest.raises(WeightlessError, match="import it again with --tokenizer"):
            action()
    rows = open_rows(str(tmp_path / "in"), Reading(V))  # nor is the id between documents known
    bare = import_tokens.import_tokens(rows, tmp_path / "bare", "t", show_progress=False)
    assert bare.end_of_text is None and bare.n_documents("train") is None
    assert all(check.ok for check in inspect.verify(tmp_path / "bare"))


@pytest.mark.parametrize("most", [None, 900, 4000, 4001])
@pytest.mark.parametrize("where", ["first", "last"])
def test_validation_is_cut_off_at_a_document(tmp_path, where, most):
    ids = bins(tmp_path / "in")[:5000]
    found = imported(tmp_path / "in/train.bin", tmp_path / "out", validation=f"{where}:1000", max_tokens=most)
    begin = 1000 if where == "first" else 4000
    cut = begin + int(np.argmax(ids[begin:] == MARK))
    val, train = (ids[:cut], ids[cut:]) if where == "first" else (ids[cut:], ids[:cut])
    train = train[:most]
    assert np.array_equal(found.tokens("val"), val) and np.array_equal(found.tokens("train"), train)


def test_the_cut_is_not_moved_far(tmp_path):
    np.arange(200, dtype=np.uint16).tofile(tmp_path / "train.bin")  # no document begins anywhere
    found = imported(tmp_path / "train.bin", tmp_path / "a", validation="first:50")
    assert found.n_tokens("val") == 100 and found.tokens("train")[0] == 100  # moved by N, no further
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_plan, "SHORT", 7)
        found = imported(tmp_path / "train.bin", tmp_path / "b", validation="last:50", max_tokens=9)
    assert found.tokens("val")[0] == 157 and found.n_tokens("train") == 9
    rows = open_rows(str(tmp_path / "train.bin"), Reading(V))
    found = import_tokens.import_tokens(rows, tmp_path / "c", validation="first:50", show_progress=False)
    assert found.n_tokens("val") == 50


def test_a_projection_and_another_source(tmp_path, capsys):
    ids = bins(tmp_path / "in")
    other = open_rows(str(tmp_path / "in/val.bin"), Reading(V, MARK))
    found = imported(tmp_path / "in", tmp_path / "a", max_tokens=1234, max_validation_tokens=99, validation=other)
    assert np.array_equal(found.tokens("train"), ids[:1234]) and np.array_equal(found.tokens("val"), ids[5000:5099])
    assert imported(tmp_path / "in", tmp_path / "b", max_tokens=9999).n_tokens("train") == 5000
    assert "train: the source ends after 5,000 of the 9,999 tokens" in capsys.readouterr().err
    assert imported(tmp_path / "in", tmp_path / "c", validation="none").n_tokens("val") == 0
    again = open_rows(str(tmp_path / "a"), Reading(0))  # a corpus of ours is a source like any other
    found = import_tokens.import_tokens(again, tmp_path / "d", max_tokens=100, show_progress=False)
    assert np.array_equal(found.tokens("train"), ids[:100]) and found.vocab_size == V


@pytest.mark.parametrize(
    "options, message",
    [
        ({"validation": "last:5000"}, "validation last:5000: the source has 5000 tokens"),
        ({"validation": "vall"}, "no 'vall' split .did you mean 'val'"),
        ({"split": "tarin"}, "no split 'tarin': did you mean 'train'"),
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"shard_tokens": 0}, "shard_tokens is 0"),
        ({"name": "../x"}, "is no name for files"),
        ({"tokenizer": ByteTokenizer(300)}, "tokenizer has 300 tokens, the rows are read with a vocabulary of 257"),
        ({"validation": "first:5000"}, "holds no tokens to train on"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, message):
    bins(tmp_path / "in")
    with pytest.raises(WeightlessError, match=message):
        imported(tmp_path / "in", tmp_path / "out", **options)
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_source_without_validation_asks_for_one(tmp_path):
    bins(tmp_path / "in")
    with pytest.raises(ConfigError, match="has no validation split .it has train.: say --validation last:N"):
        imported(tmp_path / "in/train.bin", tmp_path / "out")
    rows = open_rows(str(tmp_path / "in"), Reading(1 << 17))
    with pytest.raises(ConfigError, match="65536 is the most"):
        import_tokens.import_tokens(rows, tmp_path / "out")


def test_a_repetition_does_nothing_and_another_corpus_is_refused(tmp_path, monkeypatch):
    bins(tmp_path / "in")
    imported(tmp_path / "in", tmp_path / "out", shard_tokens=999)
    before = content_of(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(import_tokens, "_write", None)
        imported(tmp_path / "in", tmp_path / "out", shard_tokens=999)
    assert content_of(tmp_path / "out") == before
    with pytest.raises(WeightlessError, match="already holds a corpus made from another source"):
        imported(tmp_path / "in", tmp_path / "out", shard_tokens=999, max_tokens=2000)
    imported(tmp_path / "in", tmp_path / "out", max_tokens=2000, overwrite=True)
    assert sorted(content_of(tmp_path / "out")) == ["manifest.json", "t_train_000000.bin", "t_val_000000.bin"]
    (tmp_path / "out/t_train_000000.bin").write_bytes(b"damaged")
    imported(tmp_path / "in", tmp_path / "out", max_tokens=2000)
    assert corpus(tmp_path / "out", check_hashes=True).n_tokens("train") == 2000


class Killed(BaseException):
    pass


def parquet_source(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train-00000-of-00002.parquet").write_bytes(masked_rows(60, V, 1)[0])
    (folder / "train-00001-of-00002.parquet").write_bytes(masked_rows(50, V, 2)[0])
    (folder / "test-00000-of-00001.parquet").write_bytes(masked_rows(25, V, 3)[0])
    return folder


SMALL = {"shard_tokens": 300, "checkpoint_tokens": 70}


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk():
    """A process that is killed loses nothing that it has written; only a power cut would need fsync."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    source = parquet_source(folder / "in")
    found = imported(source, folder / "out", **SMALL)
    kept = masked_rows(60, V, 1)[1] + masked_rows(50, V, 2)[1]
    assert found.tokens("train")[:].tolist() == kept
    assert found.manifest["splits"]["train"]["pads_left_out"] == 110 * 33 - len(kept)
    return source, content_of(folder / "out")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=3), st.booleans())
def test_disturbed_anywhere_the_bytes_are_the_same(undisturbed, tmp_path_factory, stops, torn):
    """Several interruptions, each after so many pieces; `torn` also damages what stands behind the checkpoint."""
    source, whole = undisturbed
    out = tmp_path_factory.mktemp("torn")
    for stop in stops:
        left, plain = [stop], import_tokens.GrowingShard.append

        def append(self, ids, left=left, plain=plain):
            if not left[0]:
                raise Killed
            left[0] -= 1
            plain(self, ids)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(import_tokens.GrowingShard, "append", append)
            try:
                imported(source, out, **SMALL)
            except Killed:
                assert not (out / "manifest.json").exists()
        for path in out.glob("*.bin") if torn else ():
            if part_of(path).exists():
                part_of(path).write_bytes(part_of(path).read_bytes() + b"torn")
    imported(source, out, **SMALL)
    assert content_of(out) == whole


def test_a_damaged_checkpoint_or_shard_is_written_anew(undisturbed, tmp_path, monkeypatch):
    source, whole = undisturbed
    monkeypatch.setattr(import_tokens, "_finished", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        imported(source, tmp_path, **SMALL)
    monkeypatch.undo()
    (tmp_path / "t_train_000002.bin").write_bytes(b"damaged")
    imported(source, tmp_path, **SMALL)
    assert content_of(tmp_path) == whole


def interrupted(source: Path, out: Path, after: int, **options) -> dict:
    """An import that ends after so many pieces; the journal of the training split."""
    left, plain = [after], import_tokens.GrowingShard.append

    def append(self, ids):
        if not left[0]:
            raise Killed
        left[0] -= 1
        plain(self, ids)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(import_tokens.GrowingShard, "append", append)
        imported(source, out, **{**SMALL, **options})
    return json.loads((out / "t.import.json").read_text())["roles"]["train"]


def test_a_damaged_part_is_not_gone_on_with(undisturbed, tmp_path):
    source, whole = undisturbed
    is_open = interrupted(source, tmp_path, 20)["open"]
    path = part_of(tmp_path / is_open["file"])
    content = bytearray(path.read_bytes())
    content[1030] ^= 1  # inside the checkpoint
    path.write_bytes(content)
    imported(source, tmp_path, **SMALL)
    assert content_of(tmp_path) == whole


def test_what_another_import_left_is_not_taken(undisturbed, tmp_path):
    source, whole = undisturbed
    assert interrupted(source, tmp_path, 20, shard_tokens=150)["shards"]
    imported(source, tmp_path, **SMALL)
    assert content_of(tmp_path) == whole


PROGRAM = """
    import sys, time
    sys.path[:0] = {path!r}
    from data.test_import_tokens import SMALL, imported
    from weightless.data.imports import token_parquet
    from pathlib import Path
    token_parquet.BATCH_ROWS = 2
    plain = token_parquet.ParquetRows._block
    def slow(self, *arguments):
        time.sleep(0.02)
        return plain(self, *arguments)
    token_parquet.ParquetRows._block = slow
    imported(Path({source!r}), Path({out!r}), **SMALL)
"""


def test_killed_in_the_middle_of_a_shard(undisturbed, tmp_path, monkeypatch):
    source, whole = undisturbed
    text = textwrap.dedent(PROGRAM).format(path=sys.path, source=str(source), out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", text])
    journal, is_open, deadline = tmp_path / "t.import.json", None, time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        role = json.loads(journal.read_text())["roles"]["train"] if journal.exists() else {"shards": [], "open": None}
        if len(role["shards"]) >= 3 and (is_open := role["open"]):
            break
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert is_open and not (tmp_path / "manifest.json").exists()
    for path in tmp_path.glob("*.bin"):
        assert content_of(tmp_path)[path.name] == whole[path.name]  # what has a shard's name is a whole shard
    begun = []
    plain = token_parquet.ParquetRows.blocks
    monkeypatch.setattr(
        token_parquet.ParquetRows, "blocks", lambda self, place=None: begun.append(place) or plain(self, place)
    )
    imported(source, tmp_path, **SMALL)
    assert content_of(tmp_path) == whole
    assert max(begun) >= tuple(is_open["next"]) > (0, 0, 0, 0)  # it went on inside the shard, not at its beginning


def test_what_is_written_stays_when_the_source_fails(tmp_path):
    """A corrupt second file, a wrong mask, an id too large: a clear error, and the repaired source goes on."""
    source = parquet_source(tmp_path / "in")
    second = source / "train-00001-of-00002.parquet"
    sound = second.read_bytes()
    imported(source, tmp_path / "whole", **SMALL)
    ids = table_bytes({"input_ids": [[1, V]], "pad_mask": [[1, 1]]})
    mask = table_bytes({"input_ids": [[1, 2]], "pad_mask": [[1]]})
    faults = {
        "cannot be read as parquet": sound[:200] + bytes(400) + sound[600:],
        "pad_mask has 1 values for 2": mask,
        f"id {V}, but the vocabulary": ids,
    }
    for message, damaged in faults.items():
        second.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=message):
            imported(source, tmp_path / "out", **SMALL)
        assert len(list((tmp_path / "out").glob("t_train_*.bin"))) >= 3
        assert not (tmp_path / "out/manifest.json").exists()
    second.write_bytes(sound)
    imported(source, tmp_path / "out", **SMALL)
    same = [name for name in content_of(tmp_path / "whole") if name.endswith(".bin")]
    assert all(content_of(tmp_path / "out")[name] == content_of(tmp_path / "whole")[name] for name in same)


def test_a_full_disk_keeps_the_checkpoint(undisturbed, tmp_path, monkeypatch):
    source, whole = undisturbed
    left = [9]

    def fsync(handle):
        left[0] -= 1
        if left[0] <= 0:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("weightless.data.shards.growing_shard.os.fsync", fsync)
        with pytest.raises(WeightlessError, match="No space left on device; .*goes on from there|what was there"):
            imported(source, tmp_path, **SMALL)
    imported(source, tmp_path, **SMALL)
    assert content_of(tmp_path) == whole


def test_rows_of_any_length_are_packed_again(tmp_path):
    content, kept = value_rows(80, V, 5)
    for number in range(2):
        (tmp_path / f"train_00000{number}-00000-of-00001.parquet").write_bytes(content)
    found = imported(tmp_path, tmp_path / "out", validation="last:500", shard_tokens=64)
    stream = [*found.tokens("train")[:].tolist(), *found.tokens("val")[:].tolist()]
    assert stream == kept + kept and found.n_tokens("val") <= 500
    assert import_plan.OWN_VALIDATION[0] == "validation"
