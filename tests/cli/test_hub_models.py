"""weightless import and count of a model on the hub: a loopback server.

Oracles: the artifact that importing the same files from a folder gives, and what the server was asked for.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from data.hub_server import COMMIT, Repository, environment, running_hub
from export.foreign_folders import CONFIGS, GPT2, LLAMA, QWEN3, make_folder, make_shards, tensors_of
from tokenizer.published import published

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

from weightless.data.text import hub
from weightless.export.packed import open_packed

NAME = "hub:some/model"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
BESIDE = {"README.md": b"read me", "pytorch_model.bin": b"pickled", "original/x.pth": b"pickled", "a.gguf": b""}


@pytest.fixture
def server(tmp_path, monkeypatch):
    with running_hub() as running:
        for key, value in environment(running, tmp_path / "home").items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(hub, "PAUSES", (0.0, 0.0))
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
        yield running


def serve(server, folder: Path, **more: bytes) -> Path:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    server.repositories["some/model"] = Repository({**files, **BESIDE, **more})
    return folder


def fetched(server) -> set[str]:
    """Paths of the files that were sent."""
    asked = [path for kind, path, _ in server.requests if kind == "GET" and "/resolve/" in path]
    return {path.split("/resolve/")[1].split("/", 1)[1] for path in asked}


def same_but_for_its_source(one: Path, two: Path) -> bool:
    a, b = open_packed(one), open_packed(two)
    tensors = [t.name for t in a.program.stored()]
    equal = all(np.array_equal(a.artifact.view(name), b.artifact.view(name)) for name in tensors)
    return equal and a.program.to_plain() == b.program.to_plain() and a.tokenizer.sha256 == b.tokenizer.sha256


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_imported_is_what_the_folder_gives(server, kind, tmp_path, command):
    folder = serve(server, make_folder(tmp_path / "theirs", CONFIGS[kind]))
    assert command("import", folder, "--out", tmp_path / "a.wl")[0] == 0
    code, told, err = command("import", NAME, "--out", tmp_path / "b.wl", "--json")
    assert code == 0 and json.loads(told)["commit"] == COMMIT and json.loads(told)["repository"] == "some/model"
    assert err.startswith("asking the Hugging Face hub at http://127.0.0.1")
    assert same_but_for_its_source(tmp_path / "a.wl", tmp_path / "b.wl")
    assert open_packed(tmp_path / "b.wl").notes["imported"]["commit"] == COMMIT
    assert fetched(server) == {"config.json", "tokenizer.json", WEIGHTS}, "nothing pickled, nothing beside"
    before = len(server.ranges(WEIGHTS))
    assert command("import", f"{NAME}@{COMMIT}", "--out", tmp_path / "c.wl")[0] == 0
    assert len(server.ranges(WEIGHTS)) == before, "from the cache"
    assert (tmp_path / "b.wl").read_bytes() == (tmp_path / "c.wl").read_bytes()


def test_shards_and_a_tokenizer_of_two_files(server, tmp_path, command):
    from export.foreign_folders import small_tokenizer

    from weightless.tokenizer.interchange import save_gpt2

    folder = make_folder(tmp_path / "theirs", GPT2, tokenizer=False)
    (folder / WEIGHTS).unlink()
    make_shards(folder, tensors_of(GPT2), 3)
    save_gpt2(small_tokenizer(), folder / "vocab.json", folder / "merges.txt")
    serve(server, folder)
    assert command("import", folder, "--out", tmp_path / "a.wl")[0] == 0
    code, _, err = command("import", NAME, "--out", tmp_path / "b.wl")
    assert code == 0, err
    assert same_but_for_its_source(tmp_path / "a.wl", tmp_path / "b.wl")
    assert fetched(server) == {path.name for path in folder.iterdir()}


def test_counting_fetches_config_json_alone(server, tmp_path, command):
    folder = serve(server, make_folder(tmp_path / "theirs", QWEN3))
    code, theirs, _ = command("count", folder, "--json")
    code_too, ours, _ = command("count", NAME, "--json")
    assert code == code_too == 0 and [*json.loads(theirs).values()] == [*json.loads(ours).values()]
    assert list(json.loads(ours)) == ["model"] and fetched(server) == {"config.json"}


def test_a_cut_download_is_continued(server, tmp_path, command, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    folder = serve(server, make_folder(tmp_path / "theirs", LLAMA))
    server.cuts[WEIGHTS] = [2500, 1700]
    assert command("import", NAME, "--out", tmp_path / "b.wl")[0] == 0
    assert server.ranges(WEIGHTS) == ["", "bytes=2000-", "bytes=3000-"]
    assert command("import", folder, "--out", tmp_path / "a.wl")[0] == 0
    assert same_but_for_its_source(tmp_path / "a.wl", tmp_path / "b.wl")


def test_a_download_that_stays_half_leaves_no_artifact(server, tmp_path, command):
    serve(server, make_folder(tmp_path / "theirs", LLAMA))
    server.cuts[WEIGHTS] = [0] * 99
    code, _, err = command("import", NAME, "--out", tmp_path / "b.wl")
    assert code == 2 and "no connection to the hub" in err and "the same command goes on from there" in err
    assert not (tmp_path / "b.wl").exists()


def with_tokenizer(values) -> dict[str, bytes]:
    return {"tokenizer.json": json.dumps(values).encode()}


SCALED = {**LLAMA, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}
HOSTILE = json.dumps({"weight_map": {"a": "../../outside.safetensors"}}).encode()
ELSEWHERE = json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}).encode()
REFUSED = {
    "an unknown model": ({"config.json": b'{"model_type": "mamba"}'}, "of a model of type 'mamba'"),
    "scaled positions": ({"config.json": json.dumps(SCALED).encode()}, "rope_scaling of type yarn"),
    "no config": ({"config.json": None}, "holds no config.json: it is no model's repository"),
    "a normalizer": (with_tokenizer({**published("gpt2"), "normalizer": {"type": "NFKC"}}), "its normalizer (NFKC)"),
    "too many tokens": (with_tokenizer(published("qwen3")), "has 708 tokens and the model 301"),
    "no tokenizer": ({"tokenizer.json": None}, "holds no tokenizer: --tokenizer FILE names one, or none"),
    "pickles": ({WEIGHTS: None}, "holds neither model.safetensors nor model.safetensors.index.json"),
    "a path": ({WEIGHTS: None, INDEX: HOSTILE}, "names a file '../../outside.safetensors' that cannot be a shard"),
    "a lost shard": ({WEIGHTS: None, INDEX: ELSEWHERE}, "holds no model-00001-of-00001.safetensors"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_refused_before_the_weights(server, what, tmp_path, command):
    changes, message = REFUSED[what]
    serve(server, make_folder(tmp_path / "theirs", LLAMA))
    files = server.repositories["some/model"].files
    server.repositories["some/model"].files = {k: v for k, v in {**files, **changes}.items() if v is not None}
    code, _, err = command("import", NAME, "--out", tmp_path / "b.wl")
    *asked, told = err.strip().splitlines()
    assert code == 2 and message in told and len(asked) == 1
    assert WEIGHTS not in fetched(server) and not (tmp_path / "b.wl").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:gpt2", "is no name of a model: write hub:OWNER/NAME"),
        ("hub:", "is no name of a model"),
        ("hub:a/../b", "is no name of a model"),
        ("hub:some/model:config", "a model has no configurations and splits"),
        ("hub:some/model#train", "a model has no configurations and splits"),
        ("hub:some/other", "the hub knows no such repository"),
        ("hub:some/model@v9", "the hub knows no such revision"),
    ],
)
@pytest.mark.parametrize("verb", ["import", "count"])
def test_names_that_are_none(server, verb, name, message, tmp_path, command):
    serve(server, make_folder(tmp_path / "theirs", LLAMA))
    code, _, err = command(verb, name)
    assert code == 2 and message in err.strip().splitlines()[-1]


def test_bit_rot_in_the_cache_is_fetched_anew(server, tmp_path, command):
    serve(server, make_folder(tmp_path / "theirs", LLAMA))
    assert command("import", NAME, "--out", tmp_path / "a.wl")[0] == 0
    (cached,) = (tmp_path / "home").rglob(f"snapshots/*/{WEIGHTS}")
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert command("import", NAME, "--out", tmp_path / "b.wl")[0] == 0
    assert (tmp_path / "a.wl").read_bytes() == (tmp_path / "b.wl").read_bytes() and len(server.ranges(WEIGHTS)) == 2


@pytest.mark.parametrize("verb", ["import", "count"])
def test_without_a_network_there_is_one_line_with_a_way_on(verb, monkeypatch, tmp_path, command):
    monkeypatch.setattr(hub, "PAUSES", (0.0, 0.0))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        code, _, err = command(verb, NAME)
    *_, told = err.strip().splitlines()
    assert code == 2 and "no connection to the hub" in told
    assert "hf download some/model --local-dir DIR) and name DIR instead" in told
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, err = command(verb, NAME)
    assert code == 2 and "needs the extra hub" in err
