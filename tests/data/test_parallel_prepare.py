"""Workers and parts change nothing but time.  Oracles: one worker; the preparation without parts."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from data.fake_tokenizer import ByteTokenizer
from data.test_prepare import content_of, documents_of

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.shards import parts, shard_series
from weightless.data.shards.corpus import corpus
from weightless.data.shards.parts import Part, merge, part_of, prepare_part
from weightless.data.shards.prepare import prepare
from weightless.data.text import fables
from weightless.data.text.sources import open_source
from weightless.data.text.split import split_by_hash
from weightless.tokenizer import Tokenizer

OPTIONS = {"fraction": 0.2, "show_progress": False}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(shard_series, "BLOCK_BYTES", 300)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(fables.documents(seed=1, n_bytes=60_000), 400)


def same_corpus(found, whole):
    """Everything but the names and the limits of the shard files."""
    for role in ("train", "val"):
        assert np.array_equal(np.asarray(found.tokens(role)), np.asarray(whole.tokens(role)))
    differing = {"splits"}
    plain = [{k: v for k, v in c.manifest.items() if k not in differing} for c in (found, whole)]
    assert plain[0] == plain[1]
    for role in ("train", "val"):
        entries = [dict(c.manifest["splits"][role], shards=None) for c in (found, whole)]
        assert entries[0] == entries[1]


# Workers


@pytest.mark.parametrize("shard_tokens", [1023, 10**6])
def test_any_number_of_workers_writes_the_same_bytes(tmp_path, tokenizer, small_blocks, shard_tokens):
    documents = list(fables.documents(seed=2, n_bytes=40_000))
    for workers in (1, 2, 3):
        prepare(
            documents, tokenizer, tmp_path / str(workers), "t", workers=workers, shard_tokens=shard_tokens, **OPTIONS
        )
    assert content_of(tmp_path / "1") == content_of(tmp_path / "2") == content_of(tmp_path / "3")
    expected = [tokenizer.end_of_text, *tokenizer.encode(documents[0])]
    found = corpus(tmp_path / "3")
    streams = [np.asarray(found.tokens(role))[: len(expected)].tolist() for role in ("train", "val")]
    assert expected in streams


def test_few_documents_are_in_memory_at_a_time(monkeypatch):
    """At most two blocks per worker wait, and one is being filled."""
    monkeypatch.setattr(shard_series, "BLOCK_BYTES", 1000)
    read, taken, most = 0, 0, 0

    def documents():
        nonlocal read
        for _ in range(2000):
            read += 1
            yield "train", b"x" * 100

    for _ in shard_series.encoded(documents(), ByteTokenizer(), 3):
        taken += 1
        most = max(most, read - taken)
    assert taken == 2000 and most <= (2 * 3 + 1) * 10


def test_a_failing_worker_leaves_no_shard_and_no_manifest(tmp_path, small_blocks):
    class Failing(ByteTokenizer):
        def encode_ordinary_array(self, text):
            if b"w17" in text:
                raise WeightlessError("this document cannot be encoded")
            return super().encode_ordinary_array(text)

    with pytest.raises(WeightlessError, match="cannot be encoded"):
        prepare(documents_of(50), Failing(), tmp_path, "t", workers=2, **OPTIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused(tmp_path, workers):
    with pytest.raises(ConfigError, match="at least 1"):
        prepare(documents_of(9), ByteTokenizer(), tmp_path, workers=workers)


def test_a_text_that_changes_while_it_is_read_is_refused(tmp_path):
    class Changing:
        readings = 0

        def __iter__(self):
            self.readings += 1
            return iter(documents_of(50 + (self.readings > 2)))

    with pytest.raises(WeightlessError, match="changed while"):
        prepare(Changing(), ByteTokenizer(), tmp_path, "t", **OPTIONS)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize("at", [0, 20])
def test_going_on_with_another_text_is_refused(tmp_path, small_blocks, at):
    """The text was another one while the first shards were written, and the split (from before) does not tell."""
    documents = documents_of(50)
    split = split_by_hash(documents, 0.2)
    options = {**OPTIONS, "shard_tokens": 100, "split": split}
    other = list(documents)
    other[at] = other[at][::-1]

    class Dying(ByteTokenizer):
        def encode_ordinary_array(self, text):
            if self.n_encoded > 40:
                raise KeyboardInterrupt
            return super().encode_ordinary_array(text)

    with pytest.raises(KeyboardInterrupt):
        prepare(other, Dying(), tmp_path, "t", **options)
    assert len(list(tmp_path.glob("*.bin"))) > 5
    with pytest.raises(WeightlessError, match="not the one that the first shards"):
        prepare(documents, ByteTokenizer(), tmp_path, "t", **options)
    found = prepare(documents, ByteTokenizer(), tmp_path, "t", **options)
    assert np.array_equal(
        found.tokens("train"), prepare(documents, ByteTokenizer(), tmp_path / "w", "t", **OPTIONS).tokens("train")
    )


PROGRAM = """
    import sys
    sys.path[:0] = {path!r}
    from data.fake_tokenizer import ByteTokenizer
    from data.test_prepare import documents_of
    from weightless.data.shards import shard_series
    from weightless.data.shards.parts import Part, prepare_part
    from weightless.data.shards.prepare import prepare
    shard_series.BLOCK_BYTES = 100
    options = dict(fraction=0.2, shard_tokens=150, workers=2)
    tokenizer = ByteTokenizer(seconds_per_document=0.01)
    if {part!r} is None:
        prepare(documents_of(50), tokenizer, {folder!r}, "t", **options)
    else:
        prepare_part(documents_of(50), tokenizer, {folder!r}, Part(*{part!r}), "t", **options)
"""


def start(folder: Path, part: tuple[int, int] | None = None) -> subprocess.Popen:
    text = textwrap.dedent(PROGRAM).format(path=sys.path, folder=str(folder), part=part)
    return subprocess.Popen([sys.executable, "-c", text], stderr=subprocess.PIPE)


def killed_when(process: subprocess.Popen, condition) -> None:
    """SIGKILL as soon as the condition holds (or let it finish)."""
    deadline = time.monotonic() + 60
    while process.poll() is None and not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_killed_again_and_again_at_random_points(tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    prepare(documents_of(50), ByteTokenizer(), whole, "t", shard_tokens=150, **OPTIONS)
    rng = random.Random(7)
    for n_files in sorted(rng.sample(range(1, 22), 2)):
        process = start(torn)
        killed_when(process, lambda n=n_files: len(list(torn.glob("*.bin"))) >= n)
        if (torn / "manifest.json").exists():
            corpus(torn, check_hashes=True)
    prepare(documents_of(50), ByteTokenizer(), torn, "t", shard_tokens=150, **OPTIONS)
    assert content_of(torn) == content_of(whole)


# Parts


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (3, 1), (7, 2), (40, 3)])
def test_parts_in_any_order_make_the_same_corpus(tmp_path, tokenizer, small_blocks, n, seed):
    documents = list(fables.documents(seed=2, n_bytes=40_000))[:35]
    whole = prepare(documents, tokenizer, tmp_path / "whole", "t", **OPTIONS)
    order = list(range(1, n + 1))
    random.Random(seed).shuffle(order)
    order = [order[0], *order]  # the first one twice
    found = [prepare_part(documents, tokenizer, tmp_path / "parts", Part(i, n), "t", **OPTIONS) for i in order]
    assert found[-1] is not None and (n == 1 or not any(found[:-1]))
    same_corpus(corpus(tmp_path / "parts", check_hashes=True), whole)
    names = {path.name for path in (tmp_path / "parts").iterdir()}
    assert {name for name in names if not name.endswith(".bin")} == {"manifest.json", "tokenizer.json"}


def test_parts_are_contiguous_even_and_do_nothing_twice(tmp_path):
    documents, tokenizer = documents_of(50), ByteTokenizer()
    assert prepare_part(documents, tokenizer, tmp_path, Part(2, 4), "t", **OPTIONS) is None
    plan = parts._read(tmp_path / "t.plan.json")
    sizes = [sum(map(len, documents[a:b])) for a, b in zip(plan.bounds[:-1], plan.bounds[1:])]
    assert tuple(sizes) == plan.n_bytes and sum(sizes) == sum(map(len, documents))
    assert max(sizes) - min(sizes) <= 2 * max(map(len, documents))
    before, encoded = content_of(tmp_path), tokenizer.n_encoded
    assert prepare_part(documents, tokenizer, tmp_path, Part(2, 4), "t", **OPTIONS) is None
    assert (content_of(tmp_path), tokenizer.n_encoded) == (before, encoded)
    assert encoded <= plan.bounds[2] - plan.bounds[1] + 1  # only its own documents (and b"" to build the encoder)


def test_given_validation_in_parts(tmp_path):
    options = {"validation": documents_of(30)[25:], "show_progress": False}
    whole = prepare(documents_of(25), ByteTokenizer(), tmp_path / "whole", "t", **options)
    for i in (3, 1, 2):
        found = prepare_part(documents_of(25), ByteTokenizer(), tmp_path / "parts", Part(i, 3), "t", **options)
    same_corpus(found, whole)


def test_a_part_that_is_killed_goes_on(tmp_path):
    whole = prepare(documents_of(50), ByteTokenizer(), tmp_path / "whole", "t", shard_tokens=150, **OPTIONS)
    torn = tmp_path / "torn"
    for n_files in (0, 3):
        process = start(torn, (1, 2))
        killed_when(process, lambda n=n_files: torn.exists() and len(list(torn.glob("*.bin"))) > n)
        with pytest.raises(WeightlessError):
            merge(torn)
        assert not (torn / "manifest.json").exists()
    for i in (1, 2):
        found = prepare_part(documents_of(50), ByteTokenizer(), torn, Part(i, 2), "t", shard_tokens=150, **OPTIONS)
    same_corpus(found, whole)
    assert not list(torn.glob(".*.part"))


def test_parts_at_the_same_time_and_the_same_part_twice(tmp_path):
    whole = prepare(documents_of(50), ByteTokenizer(), tmp_path / "whole", "t", **OPTIONS)
    jobs = [1, 2, 3, 3]
    errors = []

    def make(i):
        try:
            prepare_part(documents_of(50), ByteTokenizer(), tmp_path / "parts", Part(i, 3), "t", **OPTIONS)
        except WeightlessError as error:  # a duplicate may lose its torn file to the merge; calling again helps
            errors.append(error)

    threads = [threading.Thread(target=make, args=(i,)) for i in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) <= 1
    same_corpus(merge(tmp_path / "parts"), whole)


def test_merging_too_early_names_what_is_missing_and_a_damaged_shard_is_made_again(tmp_path):
    make = lambda i: prepare_part(documents_of(50), ByteTokenizer(), tmp_path, Part(i, 3), "t", **OPTIONS)  # noqa: E731
    with pytest.raises(WeightlessError, match="no plan"):
        merge(tmp_path)
    make(2)
    with pytest.raises(WeightlessError, match=r"2 of 3 parts are not finished: --shard 1/3, 3/3"):
        merge(tmp_path)
    path = next(tmp_path.glob("t_train_p002_*.bin"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"\1")  # as long as before
    make(2)
    assert path.read_bytes() == good
    path.write_bytes(good[:-2])
    make(1)
    assert make(3) is None, "a torn shard must keep the corpus from looking finished"
    assert make(2) is not None and path.read_bytes() == good
    assert merge(tmp_path).n_tokens("train") > 0


def test_refusals(tmp_path):
    make = lambda i, n, docs=50, **more: prepare_part(  # noqa: E731
        documents_of(docs), ByteTokenizer(), tmp_path, Part(i, n), "t", **{**OPTIONS, **more}
    )
    make(1, 4)
    with pytest.raises(WeightlessError, match=r"in 4 parts, not 5: go on with i/4"):
        make(1, 5)
    with pytest.raises(WeightlessError, match="other settings"):
        make(2, 4, fraction=0.3)
    with pytest.raises(WeightlessError, match="changed since its parts were planned"):
        make(4, 4, docs=51)
    with pytest.raises(WeightlessError, match="changed since its parts were planned"):
        make(3, 4, docs=20)
    with pytest.raises(WeightlessError, match="being prepared in parts"):
        prepare(documents_of(50), ByteTokenizer(), tmp_path, "t", **OPTIONS)
    (tmp_path / "t.plan.json").write_text("{}")
    with pytest.raises(CorruptFileError, match="no plan of shards"):
        make(2, 4)
    found = prepare(documents_of(50), ByteTokenizer(), tmp_path, "t", overwrite=True, **OPTIONS)
    names = sorted(content_of(tmp_path))
    assert names == ["manifest.json", "t_train_000000.bin", "t_val_000000.bin", "tokenizer.json"]
    assert make(1, 9).sha256 == found.sha256  # all is there already
    for text in ("", "0/4", "5/4", "1/0", "1-4", "1/1000", "-1/4"):
        with pytest.raises(ConfigError, match="part"):
            part_of(text)
    assert part_of(" 3/16 ") == Part(3, 16) and str(Part(3, 16)) == "3/16"


def test_a_part_reads_only_the_files_that_hold_it(tmp_path):
    """Oracle: what it does not notice; of the other files, names and sizes are held to the plan."""
    folder = tmp_path / "texts"
    folder.mkdir()
    documents = documents_of(60)
    for number in range(6):
        (folder / f"{number}.txt").write_bytes(b"\n<|endoftext|>\n".join(documents[10 * number : 10 * number + 10]))
    (folder / "picture.bin").write_bytes(b"\0" * 100)
    source = open_source(folder)
    assert [text for reader in source.files() for text in reader()] == list(source)
    whole = prepare(source, ByteTokenizer(), tmp_path / "whole", "t", **OPTIONS)
    prepare_part(source, ByteTokenizer(), tmp_path / "parts", Part(1, 6), "t", **OPTIONS)
    plan = parts._read(tmp_path / "parts/t.plan.json")
    assert plan.files == (10,) * 6
    files = parts.FileByFile(source)
    for first in (0, 9, 10, 35, 59, 60):
        assert list(files.beginning_at(first, plan.files)) == list(enumerate(source))[first:]
    for name in ("0.txt", "1.txt", "2.txt"):  # what comes before is not needed any more
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"another text\n".ljust(len(content)))
        if name == "2.txt":
            prepare_part(source, ByteTokenizer(), tmp_path / "parts", Part(6, 6), "t", **OPTIONS)
            with pytest.raises(WeightlessError, match="changed"):
                prepare_part(source, ByteTokenizer(), tmp_path / "parts", Part(3, 6), "t", **OPTIONS)
            (folder / name).write_bytes(content + b"!")
            with pytest.raises(WeightlessError, match="changed"):
                prepare_part(source, ByteTokenizer(), tmp_path / "parts", Part(6, 6), "t", **OPTIONS)
        (folder / name).write_bytes(content)
    for i in range(1, 7):
        found = prepare_part(source, ByteTokenizer(), tmp_path / "parts", Part(i, 6), "t", **OPTIONS)
    same_corpus(found, whole)
