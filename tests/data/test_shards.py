"""Oracles: the header written out by hand with struct; plain NumPy arrays for views and streams."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.shards.corpus import corpus
from weightless.data.shards.shards import TokenView, read_shard, shard_writer, write_shard


@pytest.mark.parametrize("n", [0, 1, 1023])
def test_layout_is_that_of_llm_c(tmp_path, n):
    tokens = np.arange(n, dtype=np.uint16) * 60
    write_shard(tmp_path / "a.bin", tokens)
    expected = struct.pack("<3i", 20240520, 1, n) + bytes(1024 - 12) + struct.pack(f"<{n}H", *tokens.tolist())
    assert (tmp_path / "a.bin").read_bytes() == expected
    assert np.array_equal(read_shard(tmp_path / "a.bin", 65_536), tokens)


def test_damaged_shards_are_refused(tmp_path):
    path = tmp_path / "a.bin"
    write_shard(path, np.array([1, 2, 300]))
    whole = path.read_bytes()
    for content, message in [
        (whole[:500], "no token shard: 500 bytes"),
        (b"\0" + whole[1:], "starts with"),
        (whole[:4] + b"\2" + whole[5:], "version 2"),
        (whole[:-1], "promises 3 tokens but has 1029 bytes"),
        (whole + b"\0\0", "promises 3 tokens but has 1032 bytes"),
        (whole[:8] + b"\xff" * 4 + whole[12:], "promises -1 tokens"),
    ]:
        path.write_bytes(content)
        with pytest.raises(CorruptFileError, match=message):
            read_shard(path)
    path.write_bytes(whole)
    with pytest.raises(CorruptFileError, match="token 2 is 300, but the vocabulary has 300"):
        read_shard(path, vocab_size=300)
    assert len(read_shard(path, vocab_size=301)) == 3
    with pytest.raises(WeightlessError, match="no such shard"):
        read_shard(tmp_path / "b.bin")


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), shard_writer(tmp_path / "a.bin", 10) as writer:
        writer.append(np.array([1, 2]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="does not fit its vocabulary"):
        write_shard(tmp_path / "a.bin", np.array([1, 10]), vocab_size=10)
    with pytest.raises(ConfigError, match="65536 is the most"):
        write_shard(tmp_path / "a.bin", np.array([1]), vocab_size=65_537)
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.data())
def test_token_view_is_the_concatenation(lengths, data):
    whole = np.arange(sum(lengths), dtype=np.uint16)
    view = TokenView(np.split(whole, np.cumsum(lengths)[:-1]))
    n = len(whole)
    edge = st.none() | st.integers(-n - 2, n + 2)
    part = slice(data.draw(edge), data.draw(edge), data.draw(st.sampled_from([None, 1, 2, -1, -3])))
    assert np.array_equal(view[part], whole[part]) and view[part].dtype == np.uint16
    at = np.array(data.draw(st.lists(st.integers(-n, n - 1))), np.int64)
    assert np.array_equal(view[at], whole[at])
    assert view[-1] == n - 1 and len(view) == n and np.array_equal(np.asarray(view), whole)
    with pytest.raises(IndexError):
        view[n]


def _manifest(folder, **changes):
    write_shard(folder / "a.bin", np.array([1, 2, 3]))
    shard = {"file": "a.bin", "tokens": 3, "sha256": "0" * 64}
    split = {"documents": 1, "bytes": 9, "tokens": 3, "shards": [shard]}
    content = {
        "format": "weightless-shards",
        "version": 1,
        "name": "a",
        "source": {},
        "tokenizer_sha256": "t",
        "vocab_size": 10,
        "end_of_text": 0,
        "corpus_sha256": "c",
        "splits": {"train": split, "val": split},
    }
    (folder / "manifest.json").write_text(json.dumps({**content, **changes}))


def test_manifests_are_checked(tmp_path):
    with pytest.raises(WeightlessError, match="holds no prepared corpus"):
        corpus(tmp_path)
    _manifest(tmp_path)
    assert corpus(tmp_path).n_tokens("val") == 3
    for read in (lambda: corpus(tmp_path, check_hashes=True), lambda: corpus(tmp_path).tokens("val")):
        with pytest.raises(CorruptFileError, match="SHA-256"):
            read()
    with pytest.raises(ConfigError, match="no split 'test'"):
        corpus(tmp_path).tokens("test")
    shard = {"file": "../a.bin", "tokens": 3, "sha256": ""}
    outside = {"documents": 1, "bytes": 9, "tokens": 3, "shards": [shard]}
    more = {"documents": 1, "bytes": 9, "tokens": 4, "shards": [{**shard, "file": "a.bin", "tokens": 4}]}
    for changes, message in [
        ({"format": "x"}, "no manifest"),
        ({"version": 2}, "version 2"),
        ({"name": 3}, "name is missing or not str"),
        ({"splits": {"train": more}}, "splits.val is missing"),
        ({"splits": {"train": outside, "val": outside}}, "not a plain file name"),
        ({"splits": {"train": more, "val": more}}, "has 3 tokens, the manifest says 4"),
        ({"splits": {"train": {**more, "tokens": 5}, "val": more}}, "do not add up"),
        ({"end_of_text": 10}, "out of range"),
    ]:
        _manifest(tmp_path, **changes)
        with pytest.raises(CorruptFileError, match=message):
            corpus(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(CorruptFileError, match="not valid JSON"):
        corpus(tmp_path)


_RULE = {"method": "hash", "fraction": 0.1, "max_overlap": 0.2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": 7}, "split is missing or not dict"),
        ({"split": {**_RULE, "method": 7}}, "split.method"),
        ({"split": {**_RULE, "fraction": 0}}, "split.fraction"),
        ({"split": {"method": "hash"}}, "split.fraction"),
        ({"split": {**_RULE, "overlapping_documents": "4"}}, "split.overlapping_documents"),
        ({"split": {**_RULE, "dropped_documents": 3, "max_overlap": None}}, "split.max_overlap"),
        ({"content": 7}, "content is missing or not list of tables"),
        ({"left_out": [3]}, "left_out is missing or not table of counts"),
        ({"noticed": {"a": None}}, "noticed"),
        ({"bytes_are": 7}, "bytes_are"),
        ({"vocab_size": -1}, "vocab_size"),
        ({"of_each": {"tokens": -3}}, "splits.train.tokens"),
        ({"of_each": {"bytes": 10**400}}, "splits.train.bytes"),
        ({"of_each": {"bytes": None}}, "splits.train.bytes is null"),
        ({"of_each": {"documents": None}, "split": {"equal_documents": 1}}, "splits.train.documents is null"),
        ({"of_each": {"source_bytes": 9}}, "splits.train.unknown_tokens"),
        ({"of_each": {"tokens": 0, "shards": []}}, "splits.train.bytes is 9, of no tokens"),
        ({"of_each": {}, "more": {"test": 5}}, "splits.test is none of train and val"),
    ],
)
def test_a_manifest_is_checked_whole_when_it_is_opened(tmp_path, changes, message):
    """Oracle: the types and ranges that the readers of each key need."""
    _manifest(tmp_path)
    splits = json.loads((tmp_path / "manifest.json").read_text())["splits"]
    wrong, more = changes.pop("of_each", {}), changes.pop("more", {})
    _manifest(tmp_path, **changes, splits={**{name: {**split, **wrong} for name, split in splits.items()}, **more})
    with pytest.raises(CorruptFileError, match=message):
        corpus(tmp_path)


def test_a_manifest_of_before_its_later_keys_is_opened(tmp_path):
    later = {
        "split": {"method": "imported", "train": {"limit": 3}},
        "content": [None],
        "left_out": {"empty": 2},
        "noticed": {},
        "bytes_are": None,
    }
    _manifest(tmp_path)
    assert corpus(tmp_path).parting["method"] is None
    _manifest(tmp_path, **later)
    assert corpus(tmp_path).parting["method"] == "imported"
