"""A loopback hub (hub_server.py).  Oracles: the generated rows themselves, and what the server was asked for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from data.fake_tokenizer import ByteTokenizer
from data.hub_server import COMMIT, Repository, environment, masked_rows, running_hub, table_bytes, value_rows

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

from weightless.base.errors import ConfigError, CorruptFileError, WeightlessError
from weightless.data.imports.import_tokens import import_tokens
from weightless.data.imports.row_sets import KNOWN, open_rows
from weightless.data.imports.token_parquet import Reading
from weightless.data.text import hub
from weightless.data.text.sources import open_source

V = 50257
FOLDER = "sample-10BT_max_length_513/"
SMALL = {"shard_tokens": 300, "checkpoint_tokens": 70, "show_progress": False}


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch):
    """A process that is killed loses nothing that it has written; only a power cut would need fsync."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def server(tmp_path, monkeypatch):
    with running_hub() as running:
        for key, value in environment(running, tmp_path / "home").items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(hub, "PAUSES", (0.0, 0.0))
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        yield running


def masked(server) -> tuple[list[int], list[int]]:
    """The schema of 513 ids with a mask, shorter; the ids of train and of test."""
    files = {f"train-0000{n}-of-00002.parquet": masked_rows(40, V, n, pad=50256) for n in range(2)}
    files["test-00000-of-00001.parquet"] = masked_rows(20, V, 9, pad=50256)
    contents = {FOLDER + name: content for name, (content, _) in files.items()}
    contents["README.md"] = b"not a table"
    server.repositories["kushalt/fineweb-edu-gpt2"] = Repository(contents)
    first, second, test = (ids for _, ids in files.values())
    return first + second, test


def values(server, n: int = 3) -> list[int]:
    """The schema of one list column, one split per shard; all ids in the order of the splits."""
    tables = [value_rows(30, V, seed) for seed in range(n)]
    files = {f"data/train_00000{i + 1}-00000-of-00001.parquet": content for i, (content, _) in enumerate(tables)}
    card = [
        {
            "config_name": "default",
            "data_files": [{"split": f"train_00000{i + 1}", "path": f"data/train_00000{i + 1}-*"} for i in range(n)],
        }
    ]
    server.repositories["alkibijad/fineweb-edu-sample-10BT-gpt2tokenized"] = Repository(files, card)
    return [i for _, ids in tables for i in ids]


def imported(name: str, out: Path, **options):
    return import_tokens(open_rows(name, Reading(V, 50256)), out, **{**SMALL, **options})


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_names():
    assert hub.parse("hub:a/b") == hub.HubName("a/b")
    assert hub.parse("hub:a/b:c-1.x@refs/convert/parquet#test") == hub.HubName(
        "a/b", "c-1.x", "refs/convert/parquet", "test"
    )
    assert str(hub.parse("hub:a/b:c@d#e")) == "hub:a/b:c@d#e"
    for wrong in ("hub:a", "hub:a/b/c", "hub:", "hub:a/b:", "hub:a /b"):
        with pytest.raises(ConfigError, match="write hub:OWNER/NAME"):
            hub.parse(wrong)


def test_both_public_schemas_stream(server, tmp_path):
    train, test = masked(server)
    found = imported("fineweb-edu-gpt2", tmp_path / "a")
    assert found.tokens("train")[:].tolist() == train and found.tokens("val")[:].tolist() == test
    assert found.manifest["splits"]["train"]["pads_left_out"] == 80 * 33 - len(train)
    assert found.manifest["source"]["train"]["commit"] == COMMIT
    assert all(COMMIT in path for _, path, _ in server.requests[1:])  # one state of the data set, whatever main becomes
    ids = values(server)
    rest = imported("fineweb-edu-10bt-gpt2", tmp_path / "b", validation="first:100")
    whole = rest.tokens("val")[:].tolist() + rest.tokens("train")[:].tolist()
    assert whole == ids
    second = imported(KNOWN["fineweb-edu-10bt-gpt2"].source, tmp_path / "c", split="train_000002", validation="none")
    assert second.tokens("train")[:].tolist() == value_rows(30, V, 1)[1]


def test_a_projection_fetches_no_more_files_than_it_needs(server, tmp_path):
    train, _ = masked(server)
    found = imported("fineweb-edu-gpt2", tmp_path / "a", max_tokens=500, validation="none")
    assert found.tokens("train")[:].tolist() == train[:500]
    assert not server.ranges("train-00001-of-00002.parquet")


def test_a_cut_connection_is_taken_up_where_it_broke(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)  # 10 MB otherwise
    train, _ = masked(server)
    name = "train-00000-of-00002.parquet"
    server.cuts[name] = [2500, 1700]
    found = imported("fineweb-edu-gpt2", tmp_path / "a")
    assert found.tokens("train")[:].tolist() == train
    assert server.ranges(name) == ["", "bytes=2000-", "bytes=3000-"]


def test_a_connection_that_stays_cut_loses_nothing(server, tmp_path, monkeypatch):
    train, _ = masked(server)
    name = "train-00001-of-00002.parquet"
    server.cuts[name] = [0] * 99
    with pytest.raises(WeightlessError, match=f"{name} at c0ffee.*no connection to the hub .*goes on from there"):
        imported("fineweb-edu-gpt2", tmp_path / "a")
    before = content_of(tmp_path / "a")
    shards = [n for n in before if n.endswith(".bin") and not n.startswith(".")]
    assert len(shards) >= 1 and "manifest.json" not in before
    server.cuts.clear()
    n_first = len(server.ranges("train-00000-of-00002.parquet"))
    assert imported("fineweb-edu-gpt2", tmp_path / "a").tokens("train")[:].tolist() == train
    assert all(content_of(tmp_path / "a")[n] == before[n] for n in shards)
    assert len(server.ranges("train-00000-of-00002.parquet")) == n_first  # from the cache


def test_passing_trouble_is_tried_again_and_other_trouble_is_told(server, tmp_path, monkeypatch):
    masked(server)
    info, path = "/api/datasets/kushalt/fineweb-edu-gpt2", "train-00000-of-00002.parquet"
    server.statuses[info] = [503, 429]
    assert hub.repository(hub.parse("hub:kushalt/fineweb-edu-gpt2")).commit == COMMIT
    for planned, message in (([500] * 3, "answers with status 500"), ([403], "refuses access; .* set HF_TOKEN")):
        server.statuses[info] = planned
        with pytest.raises(WeightlessError, match=message):
            hub.repository(hub.parse("hub:kushalt/fineweb-edu-gpt2"))
    server.statuses[path] = [404]
    with pytest.raises(WeightlessError, match="the hub has no such file"):
        imported("fineweb-edu-gpt2", tmp_path / "a")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(WeightlessError, match="no connection to the hub"):
        hub.repository(hub.parse("hub:kushalt/fineweb-edu-gpt2"))


@pytest.mark.parametrize(
    "name, message",
    [
        ("hub:nobody/nothing", "knows no such repository"),
        ("hub:kushalt/fineweb-edu-gpt2@nowhere", "knows no such revision"),
        ("hub:kushalt/fineweb-edu-gpt2:sample-11BT", "no configuration 'sample-11BT': did you mean 'sample-10BT"),
        ("hub:kushalt/fineweb-edu-gpt2#tset", "no split 'tset': did you mean 'test'"),
        ("hub:some/notes", "holds no parquet files .*@refs/convert/parquet"),
    ],
)
def test_what_is_not_there_is_named(server, tmp_path, name, message):
    masked(server)
    server.repositories["some/notes"] = Repository({"README.md": b"", "a.txt": b"text"})
    with pytest.raises(WeightlessError, match=message):
        imported(name, tmp_path / "a")
    assert not list((tmp_path / "a").glob("*")) if (tmp_path / "a").exists() else True


@pytest.mark.parametrize("fault", ["corrupt", "mask", "id"])
def test_a_wrong_second_file_is_told_and_loses_nothing(server, tmp_path, fault):
    train, _ = masked(server)
    files = server.repositories["kushalt/fineweb-edu-gpt2"].files
    name = FOLDER + "train-00001-of-00002.parquet"
    sound = files[name]
    wrong, message = {
        "corrupt": (sound[:300] + bytes(300) + sound[600:], "cannot be read as parquet"),
        "mask": (
            table_bytes({"input_ids": [[1, 2, 3]], "pad_mask": [[1, 1]]}),
            "row 0: pad_mask has 2 values for 3 ids",
        ),
        "id": (table_bytes({"input_ids": [[1, 2], [3, V]], "pad_mask": [[1, 1], [1, 1]]}), f"row 1: id {V}"),
    }[fault]
    files[name] = wrong
    with pytest.raises(CorruptFileError, match=f"kushalt/fineweb-edu-gpt2/{name}.*{message}"):
        imported("fineweb-edu-gpt2", tmp_path / "a")
    before = content_of(tmp_path / "a")
    assert "manifest.json" not in before and sum(n.startswith("fineweb") and n.endswith(".bin") for n in before) >= 1
    server.repositories["kushalt/fineweb-edu-gpt2"].files[name] = sound
    for cached in (tmp_path / "home").rglob("*train-00001*"):
        cached.unlink()
    assert imported("fineweb-edu-gpt2", tmp_path / "a").tokens("train")[:].tolist() == train
    assert all(content_of(tmp_path / "a")[n] == before[n] for n in before if n.endswith(".bin") and n[0] != ".")


def test_a_file_that_is_not_what_the_hub_promises_is_fetched_anew(server, tmp_path):
    train, _ = masked(server)
    opened = hub.repository(hub.parse(KNOWN["fineweb-edu-gpt2"].source))
    name = FOLDER + "train-00000-of-00002.parquet"
    path = opened.fetch(name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"?")  # bit rot in the cache
    assert opened.fetch(name).read_bytes() == whole and len(server.ranges(name)) == 2
    opened.files[name] = (len(whole), "0" * 64)
    with pytest.raises(CorruptFileError, match="does not arrive with the SHA-256 000000000000"):
        opened.fetch(name)


def test_configurations_of_the_card(server, tmp_path):
    a, b, c = (value_rows(5, V, seed) for seed in range(3))
    card = [
        {"config_name": "x", "data_files": "x/**/*.parquet"},
        {"config_name": "y", "data_dir": "y"},
        {"config_name": "z", "data_files": [{"split": "train", "path": ["x/d/a-*", "y/*"]}]},
    ]
    server.repositories["o/n"] = Repository(
        {"x/d/a-0.parquet": a[0], "x/test.parquet": b[0], "y/c.parquet": c[0]}, card
    )
    of = {key: hub.repository(hub.parse(f"hub:o/n:{key}")).splits() for key in "xyz"}
    assert of["x"] == {"test": ["x/test.parquet"], "train": ["x/d/a-0.parquet"]}
    assert of["y"] == {"train": ["y/c.parquet"]} and of["z"] == {"train": ["x/d/a-0.parquet", "y/c.parquet"]}
    for name, message in (
        ("hub:o/n", "name a configuration .* it has several: x, y, z"),
        ("hub:o/n:yy", "did you mean"),
    ):
        with pytest.raises(ConfigError, match=message):
            hub.repository(hub.parse(name)).splits()


def test_text_as_documents_and_as_rows(server, tmp_path):
    texts = ["one", "two words", " ", "three\n"]
    held_out = table_bytes({"text": ["held out"]})
    server.repositories["some/stories"] = Repository(
        {"train-00000-of-00001.parquet": table_bytes({"text": texts}), "validation.parquet": held_out}
    )
    source = open_source("hub:some/stories")
    assert list(source) == list(source) == [b"one", b"two words", b"three\n"]
    assert source.name == "stories" and source.description["commit"] == COMMIT
    assert list(open_source("hub:some/stories#validation")) == [b"held out"]
    rows = open_rows("hub:some/stories", Reading(257, 256, ByteTokenizer()))
    found = import_tokens(rows, tmp_path / "a", show_progress=False)
    assert found.tokens("val")[:].tolist() == [256, *b"held out"]


@pytest.fixture(params=["nobody listens", "nobody answers"])
def unreachable(request, tmp_path, monkeypatch):
    """An address on the loopback that refuses the connection, or takes it and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if request.param == "nobody answers":
            listener.listen()
            monkeypatch.setattr(hub, "FIRST_ANSWER", 0.3)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield


@pytest.mark.parametrize("typed", ["fineweb-edu-gpt2", "hub:some/stories:big"])
def test_without_a_network_it_is_told_at_once(unreachable, capsys, monkeypatch, typed):
    """The pauses are the real ones: one second and no more; the name is the one that was typed, and a way on."""
    began = time.monotonic()
    with pytest.raises(WeightlessError) as refused:
        open_rows(typed, Reading(V))
    assert time.monotonic() - began < 5, "33 seconds of silence before"
    told = str(refused.value)
    assert told.startswith(typed) and "no connection to the hub" in told and "\n" not in told
    assert "without a network, fetch its files where there is one (hf download" in told and "name DIR instead" in told
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("asking the Hugging Face hub at http://127.0.0.1") and typed in first and not rest


def test_the_line_comes_before_the_question(server, capsys, monkeypatch):
    masked(server)
    seen = []

    def asked(seconds, action):
        seen.append(capsys.readouterr().err)
        return action()

    monkeypatch.setattr(hub, "_within", asked)
    hub.repository(hub.parse("hub:kushalt/fineweb-edu-gpt2"))
    assert len(seen) == 1 and "hub:kushalt/fineweb-edu-gpt2" in seen[0]


def test_without_the_extra_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightlessError, match="needs the extra hub: run ./do setup hub"):
        open_rows("hub:a/b", Reading(V))


def test_only_the_token_of_the_environment_is_used(server, tmp_path, monkeypatch):
    masked(server)
    (tmp_path / "home").mkdir(exist_ok=True)
    (tmp_path / "home/token").write_text("hf_saved")
    assert hub.repository(hub.parse("hub:kushalt/fineweb-edu-gpt2")).api.token is False
    monkeypatch.setenv("HF_TOKEN", "hf_given")
    assert hub.repository(hub.parse("hub:kushalt/fineweb-edu-gpt2")).api.token == "hf_given"


PROGRAM = """
    import sys, time
    sys.path[:0] = {path!r}
    from data.test_hub import imported
    from weightless.data.imports import token_parquet
    from pathlib import Path
    token_parquet.BATCH_ROWS = 2
    plain = token_parquet.ParquetRows._block
    def slow(self, *arguments):
        time.sleep(0.03)
        return plain(self, *arguments)
    token_parquet.ParquetRows._block = slow
    imported("fineweb-edu-gpt2", Path({out!r}))
"""


def test_killed_while_streaming_and_resumed(server, tmp_path):
    train, _ = masked(server)
    imported("fineweb-edu-gpt2", tmp_path / "whole")
    out = tmp_path / "torn"
    text = textwrap.dedent(PROGRAM).format(path=sys.path, out=str(out))
    process = subprocess.Popen([sys.executable, "-c", text], env={**os.environ})
    deadline = time.monotonic() + 60
    while len(list(out.glob("fineweb*.bin"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists() and len(list(out.glob("*.bin"))) >= 3
    found = imported("fineweb-edu-gpt2", out)
    assert found.tokens("train")[:].tolist() == train and content_of(out) == content_of(tmp_path / "whole")
