"""Oracles: streams written out by hand; corpora damaged on purpose in one known way each."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data.fake_tokenizer import ByteTokenizer, stream_of
from hypothesis import given
from hypothesis import strategies as st

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.data.imports.row_sets import open_rows
from weightless.data.imports.token_parquet import Reading
from weightless.data.shards import inspect
from weightless.data.shards.corpus import corpus
from weightless.data.shards.prepare import prepare
from weightless.data.shards.shards import write_shard


def words(seed: int, n: int = 60) -> bytes:
    return " ".join(f"w{i}" for i in np.random.default_rng(seed).integers(0, 999, n)).encode()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    def load(corpus):
        corpus.check_tokenizer(ByteTokenizer())
        return ByteTokenizer()

    monkeypatch.setattr("weightless.data.shards.corpus.Corpus.tokenizer", load)
    options = {"fraction": 0.2, "shard_tokens": 3000, "show_progress": False}
    prepare([words(i) for i in range(30)], ByteTokenizer(), tmp_path, "t", **options)
    return tmp_path


def failed(folder) -> list[str]:
    return [check.name for check in inspect.verify(folder) if not check.ok]


def test_a_page_shows_every_boundary():
    pieces = [b"Hel", b"lo", b"\n", "é".encode()[:1], "é".encode(), b"\0", b"<|endoftext|>"]
    assert inspect.page(np.arange(7), pieces) == "Hel·lo·⏎\n·<C3>·é·<00>·<|endoftext|>"
    assert inspect.page(np.arange(7), pieces, 1, 2) == "lo·⏎\n"
    with pytest.raises(ConfigError, match="token 7 is not in the split, which has 7"):
        inspect.page(np.arange(7), pieces, 7)


@given(st.lists(st.binary(max_size=5), min_size=1, max_size=9), st.integers(1, 6))
def test_documents_come_back_whole(documents, block):
    tokens = stream_of(documents)
    before, inspect._BLOCK = inspect._BLOCK, block
    try:
        found = [bytes(document.astype(np.uint8)) for document in inspect.documents_in(tokens, 256)]
    finally:
        inspect._BLOCK = before
    assert found == documents


def test_a_sound_corpus_passes_every_check(folder):
    checks = inspect.verify(folder)
    assert len(checks) == 8 and all(check.ok for check in checks), checks


def test_each_kind_of_damage_is_named(folder):
    path = folder / "t_val_000000.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + b"\7\0")
    assert failed(folder) == ["SHA-256 of the shards"]
    path.write_bytes(whole[:-2] + b"\1\1")  # id 257
    assert failed(folder) == ["shards"]
    path.write_bytes(whole[:-2])
    assert failed(folder) == ["shards"]
    path.write_bytes(whole)
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = {**manifest, "tokenizer_sha256": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps(changed))
    assert failed(folder) == ["tokenizer of the manifest"]
    (folder / "manifest.json").unlink()
    assert failed(folder) == ["shards"]


def test_a_training_document_in_validation_is_found(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    train = inspect.corpus(folder).tokens("train")
    stolen = next(inspect.documents_in(train, 256))
    entry = manifest["splits"]["val"]
    for tokens, names in [
        (np.concatenate(([256], stolen)), ["splits share no document", "validation repeats little of training"]),
        (
            np.concatenate(([256], stolen[: len(stolen) // 2], stream_of([words(99, 30)])[1:])),
            ["validation repeats little of training"],
        ),
    ]:
        write_shard(folder / "t_val_000000.bin", tokens)
        sha256 = inspect.sha256_file(folder / "t_val_000000.bin")
        shard = {"file": "t_val_000000.bin", "tokens": len(tokens), "sha256": sha256}
        n_bytes = int((tokens != 256).sum())
        entry.update(documents=1, tokens=len(tokens), bytes=n_bytes, shards=[shard])
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert failed(folder) == names
    entry.update(documents=2, bytes=n_bytes + 1)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert {"documents of the manifest", "val ids hold the text"} <= set(failed(folder))


def test_a_flipped_bit_is_never_read_as_ids(folder):
    """It leaves a valid id behind: only the SHA-256 of the manifest can know."""
    path = folder / "t_val_000000.bin"
    damaged = bytearray(path.read_bytes())
    damaged[1024] ^= 1
    path.write_bytes(damaged)
    assert len(corpus(folder).tokens("train"))
    with pytest.raises(CorruptFileError, match=r"t_val_000000\.bin does not have the SHA-256"):
        corpus(folder).tokens("val")
    with pytest.raises(CorruptFileError, match="SHA-256"):
        open_rows(str(folder), Reading(0, None)).source("val")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "../a", ""])
def test_a_manifest_cannot_name_what_is_no_file(folder, name):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["splits"]["val"]["shards"][0]["file"] = name
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptFileError, match="is not a plain file name"):
        corpus(folder)
