"""Oracle: with a byte tokenizer the stream of a split can be written down from its documents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from data.fake_tokenizer import ByteTokenizer, stream_of

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.shards.corpus import corpus
from weightless.data.shards.prepare import prepare
from weightless.data.text.split import split_by_hash


def documents_of(n: int) -> list[bytes]:
    rng = np.random.default_rng(5)
    return [" ".join(f"w{i}" for i in rng.integers(0, 999, rng.integers(1, 60))).encode() for _ in range(n)]


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def prepared(folder: Path, **options):
    return prepare(documents_of(50), ByteTokenizer(), folder, "t", fraction=0.2, show_progress=False, **options)


@pytest.mark.parametrize("shard_tokens", [97, 100_000])
def test_the_stream_and_the_counts(tmp_path, shard_tokens):
    found = prepared(tmp_path, shard_tokens=shard_tokens)
    documents, split = documents_of(50), split_by_hash(documents_of(50), 0.2)
    for role in ("train", "val"):
        own = [text for number, text in enumerate(documents) if split.role(number) == role]
        assert np.array_equal(np.asarray(found.tokens(role)), stream_of(own))
        assert (found.n_documents(role), found.n_bytes(role)) == (len(own), sum(map(len, own)))
        assert found.n_tokens(role) == len(found.tokens(role))
        assert all(shard["tokens"] <= shard_tokens for shard in found.manifest["splits"][role]["shards"])
    assert corpus(tmp_path, check_hashes=True).sha256 == split.corpus_sha256
    assert not list(tmp_path.glob("*.progress.json")) and (tmp_path / "tokenizer.json").exists()


def test_a_repetition_encodes_nothing_and_another_corpus_is_refused(tmp_path):
    prepared(tmp_path)
    before = content_of(tmp_path)
    tokenizer = ByteTokenizer()
    options = {"fraction": 0.2, "show_progress": False}
    prepare(iter(documents_of(50)), tokenizer, tmp_path, "t", **options)
    assert tokenizer.n_encoded == 0 and content_of(tmp_path) == before
    with pytest.raises(WeightlessError, match="already holds a corpus"):
        prepare(documents_of(49), tokenizer, tmp_path, "t", **options)
    prepare(documents_of(49), tokenizer, tmp_path, "u", overwrite=True, **options)
    assert sorted(content_of(tmp_path)) == ["manifest.json", "tokenizer.json", "u_train_000000.bin", "u_val_000000.bin"]


def test_a_damaged_shard_is_made_again(tmp_path):
    prepared(tmp_path)
    before = content_of(tmp_path)
    path = tmp_path / "t_train_000000.bin"
    path.write_bytes(before[path.name][:-2])
    with pytest.raises(CorruptFileError):
        corpus(tmp_path)
    prepared(tmp_path)
    assert content_of(tmp_path) == before


def test_given_validation(tmp_path):
    options = {"validation": documents_of(3)[1:], "show_progress": False}
    found = prepare(documents_of(1), ByteTokenizer(), tmp_path, "t", **options)
    assert np.array_equal(found.tokens("val"), stream_of(documents_of(3)[1:]))
    assert found.manifest["split"]["method"] == "given"


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="65536 is the most"):
        prepare(documents_of(9), ByteTokenizer(65_537), tmp_path)
    with pytest.raises(ConfigError, match="no name for files"):
        prepare(documents_of(9), ByteTokenizer(), tmp_path, "../x")
    without = ByteTokenizer()
    without.end_of_text = None  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="no <|endoftext|>"):
        prepare(documents_of(9), without, tmp_path)
    found = prepared(tmp_path)
    with pytest.raises(WeightlessError, match="was made with tokenizer"):
        found.check_tokenizer(ByteTokenizer(300))
    found.check_tokenizer(ByteTokenizer())


PROGRAM = """
    import sys
    sys.path[:0] = {path!r}
    from data.fake_tokenizer import ByteTokenizer
    from data.test_prepare import documents_of
    from weightless.data.shards import shard_series
    from weightless.data.shards.prepare import prepare
    shard_series.BLOCK_BYTES = 100  # so that this little text is many blocks
    prepare(documents_of(50), ByteTokenizer(seconds_per_document=0.02), {folder!r}, "t", fraction=0.2, shard_tokens=200,
            workers=2)
"""


def test_killed_and_resumed_gives_the_same_bytes(tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    prepared(whole, shard_tokens=200)
    text = textwrap.dedent(PROGRAM).format(path=sys.path, folder=str(torn))
    process = subprocess.Popen([sys.executable, "-c", text])
    deadline = time.monotonic() + 60
    while len(list(torn.glob("*.bin"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (torn / "manifest.json").exists()
    listed = json.loads((torn / "t.progress.json").read_text())["shards"]["train"]
    assert len(listed) >= 5
    torn.joinpath(listed[3]["file"]).write_bytes(b"damaged")  # everything from the fourth shard on is made again
    tokenizer = ByteTokenizer()
    prepare(documents_of(50), tokenizer, torn, "t", fraction=0.2, shard_tokens=200, show_progress=False)
    assert content_of(torn) == content_of(whole)
    assert tokenizer.n_encoded < 50
