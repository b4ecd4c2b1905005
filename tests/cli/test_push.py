"""weightless push and hf:// against a hub on the loopback.

Oracles: the bytes of the file that was pushed, what the server stored, and the losses in the run's own summary.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest
from data.hub_server import Repository, environment, running_hub
from data.hub_writing import TOKEN, WritableHub, WritingHandler

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

from weightless.data.text import hub
from weightless.export.packed import open_packed

NAME = "some/tiny"


@pytest.fixture
def server(tmp_path, monkeypatch):
    with running_hub(WritableHub(), WritingHandler) as running:
        for key, value in {**environment(running, tmp_path / "home"), "HF_TOKEN": TOKEN}.items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(hub, "PAUSES", (0.0, 0.0))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        yield running


@pytest.fixture
def model(small_run) -> Path:
    return small_run[0] / "models/feather/model.wl"


def sent(server) -> list[str]:
    """What was asked for that changes something."""
    return [path for kind, path, _ in server.requests if kind == "PUT" or "/commit/" in path or "/create" in path]


def test_what_is_pushed_is_opened_with_the_same_bits(server, model, command):
    code, out, err = command("push", model, NAME, "--license", "mit", "--message", "first")
    assert code == 0, err
    there = server.repositories[NAME]
    assert out.startswith(f"{server.url}/{NAME}  commit {there.commit}") and not there.private
    assert there.files["model.wl"] == model.read_bytes() and len(server.commits) == 1
    assert set(there.files) == {
        ".gitattributes",
        "model.wl",
        "README.md",
        "recipe.toml",
        "summary.json",
        "frontier.png",
    }
    assert server.commits[0]["summary"] == "first" and not any("delete" in key for key in server.commits[0]["keys"])
    for name in (f"hf://{NAME}", f"hf://{NAME}/model.wl", f"hf://{NAME}@{there.commit}", Path(f"hf://{NAME}")):
        assert open_packed(name).artifact.path.read_bytes() == model.read_bytes()
    assert len(server.ranges("model.wl")) == 1, "from the cache"
    prompt = ("--prompt", "Once", "--temperature", "0", "--max_tokens", "5")
    assert command("generate", f"hf://{NAME}", *prompt)[:2] == command("generate", model, *prompt)[:2]
    theirs, ours = (json.loads(command("count", what, "--json")[1]) for what in (f"hf://{NAME}", model))
    assert [*theirs.values()] == [*ours.values()]


def test_every_verb_that_opens_a_model_opens_one_of_the_hub(server, model, small_run, command, tmp_path, monkeypatch):
    from weightless.serve.served import open_models

    server.repositories[NAME] = Repository({"model.wl": model.read_bytes()})
    monkeypatch.chdir(tmp_path)
    (name, data) = f"hf://{NAME}", ("--data", small_run[0] / "data")
    ours, theirs = (command("eval", what, *data, "--tokens", "300", "--json") for what in (model, name))
    assert json.loads(theirs[1])["nats"] == json.loads(ours[1])["nats"]
    code, _, err = command("eval", name)
    assert code == 2 and "no prepared corpus lies beside" in err
    assert command("audit", name, *data, "--positions", "20")[0] == 0
    assert command("count", name, "--training")[0] == 0
    assert command("xray", name, "--prompt", "Once upon", "--out", "page.json")[0] == 0
    assert json.loads((tmp_path / "page.json").read_text())[0]["model"]["name"] == "tiny"
    assert list(open_models([name])) == ["tiny"] and open_models([name])["tiny"].packed.artifact.data.size
    assert "say where to write with --out" in command("export", name)[2]
    assert command("generate", name, "--prompt", "A", "--max_tokens", "3", "--speculate", name)[0] == 0
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("home", "page.json")] == []


def test_the_card_says_what_the_run_and_the_ledger_say(server, model, small_run, command):
    code, card, err = command("push", model, NAME, "--license", "mit", "--dry_run", "-")
    assert code == 0 and not server.requests and "summary.json names folders of this machine" in err
    summary = json.loads((small_run[0] / "summary.json").read_text())
    entry = next(entry for entry in summary["models"] if entry["name"] == "feather")
    assert card.startswith("---\nlibrary_name: weightless\nlicense: mit\ntags:\n- weightless\n- feather\n")
    assert f"{entry['bits_per_byte']:.4f} (single seed)" in card and f"{entry['nats_per_token']:.4f}" in card
    assert entry["artifact"]["sha256"] in card and "![loss against bytes touched" in card
    assert f"{entry['stored']['file']:,} bytes" in card and f"{entry['flops_per_token']:,.0f} FLOPs" in card
    for part in entry["components"]:
        assert f"| {part['name']} |" in card
    assert f"weightless generate hf://{NAME}/model.wl" in card
    assert "license" not in command("push", model, NAME, "--dry_run", "-")[1]


def test_seeds_give_an_interval(server, model, small_run, command, tmp_path):
    summary = json.loads((small_run[0] / "summary.json").read_text())
    entry = next(entry for entry in summary["models"] if entry["name"] == "feather")
    other = {**entry, "seed": 1, "name": "feather-s1", "bits_per_byte": entry["bits_per_byte"] + 0.02, "artifact": None}
    summary["models"].append(other)
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    card = command("push", model, NAME, "--dry_run", "-", "--run", tmp_path)[1]
    # of two values 0.02 apart: 12.7062 (Student's t, one degree of freedom) x 0.01
    assert f"{entry['bits_per_byte'] + 0.01:.4f} ± 0.1271 (mean and 95 % interval over 2 seeds: 0, 1)" in card


def test_a_file_alone_claims_no_scores(server, model, command, tmp_path):
    alone = Path(shutil.copy(model, tmp_path / "alone.wl"))
    code, _, err = command("push", alone, NAME, "--dry_run", tmp_path / "card")
    card = (tmp_path / "card/README.md").read_text()
    assert code == 0 and "claims no scores" in err and "nothing is claimed about its loss" in card
    assert [path.name for path in (tmp_path / "card").iterdir()] == ["README.md"] and not server.requests
    assert open_packed(alone).family in card


def test_a_card_of_other_people_is_kept(server, model, command):
    theirs = {"README.md": b"my own words", "summary.json": b"{}", "weights.bin": b"x"}
    server.repositories[NAME] = Repository(dict(theirs))
    code, _, err = command("push", model, NAME)
    files = server.repositories[NAME].files
    assert code == 0 and "kept README.md as it is there" in err and "kept summary.json" in err
    assert {name: files[name] for name in theirs} == theirs and "model.wl" in files
    assert command("push", model, NAME, "--replace_card")[0] == 0
    assert b"written by weightless push" in files["README.md"] and files["weights.bin"] == b"x"
    assert "kept" not in command("push", model, NAME, "--license", "mit")[2], "ours is replaced"
    assert b"license: mit" in files["README.md"]


def test_private_is_made_private_and_never_pretended(server, model, command):
    assert command("push", model, NAME, "--private")[0] == 0 and server.repositories[NAME].private
    server.repositories["some/open"] = Repository({})
    server.requests.clear()
    code, _, err = command("push", model, "some/open", "--private")
    assert code == 2 and "exists and everybody can read it" in err and not sent(server)


def test_a_cut_upload_is_tried_again_or_told(server, model, command):
    server.put_cuts = [1000]
    assert command("push", model, NAME)[0] == 0
    assert server.repositories[NAME].files["model.wl"] == model.read_bytes()
    server.stored.clear()
    server.put_cuts = [1000] * 20
    code, _, err = command("push", model, "some/other")
    assert code == 2 and "no connection to the hub" in err and len(server.commits) == 1
    assert "model.wl" not in server.repositories["some/other"].files


def test_other_bytes_on_the_hub_are_told(server, model, command):
    server.rots = True
    code, _, err = command("push", model, NAME)
    assert code == 2 and "holds model.wl with the hash" in err and "push again" in err


REFUSALS = [
    ("/api/repos/create", 401, "does not accept HF_TOKEN"),
    ("/api/repos/create", 403, "may not write there"),
    ("/commit/main", 403, "may not write there"),
    ("/preupload/main", 404, "no such place for this token"),
    ("/objects/batch", 403, "may not write there"),
]


@pytest.mark.parametrize(("route", "status", "message"), REFUSALS)
def test_refusals_of_the_hub_are_one_line(server, model, command, route, status, message):
    server.statuses[route] = [status] * 9
    code, _, err = command("push", model, NAME)
    told = err.strip().splitlines()[-1]
    assert code == 2 and message in told and "nothing was committed" in told and "Traceback" not in err
    assert "model.wl" not in getattr(server.repositories.get(NAME), "files", {})


def test_nothing_unseen_is_replaced(server, model, command):
    server.repositories[NAME], server.unseen_commit = Repository({}), True
    code, _, err = command("push", model, NAME)
    assert code == 2 and "somebody changed the repository meanwhile" in err
    assert server.repositories[NAME].files == {}


def test_a_wrong_token_is_refused(server, model, command, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    code, _, err = command("push", model, NAME)
    assert code == 2 and "does not accept HF_TOKEN" in err and not sent(server)
    monkeypatch.setenv("HF_TOKEN", "")
    server.requests.clear()
    code, _, err = command("push", model, NAME)
    assert code == 2 and "set HF_TOKEN" in err and not server.requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("{model}", "tiny"), "write USER/NAME"),
        (("{model}", "a/../b"), "write USER/NAME"),
        (("hf://a/b", NAME), "is on the hub already"),
        (("{model}", NAME, "--license", "MIT License"), "write the hub's name of it"),
        (("{model}", NAME, "--run", "{model}"), "is no folder"),
        (("{text}", NAME), "push takes one packed model"),
        (("{model}", NAME, "--dry_run", "-", "--private"), "does nothing with --dry_run"),
        (("{bad}", NAME), "bad.wl"),
        (("{model}", NAME, "--run", "{foreign}"), "lists no model with the bytes of"),
    ],
)
def test_bad_input_is_told_before_the_network(server, model, small_run, command, tmp_path, options, message):
    (tmp_path / "bad.wl").write_bytes(b"\x80\x04pickled")
    summary = (small_run[0] / "summary.json").read_text()
    (tmp_path / "summary.json").write_text(summary.replace('"sha256": "', '"sha256": "0'))
    names = {"model": model, "text": small_run[2], "bad": tmp_path / "bad.wl", "foreign": tmp_path}
    code, _, err = command("push", *(option.format(**names) for option in options))
    assert code == 2 and message in err and not server.requests


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://tiny", "is no name of a model on the hub"),
        ("hf://a/../b", "is no name of a model on the hub"),
        ("hf://some/many/../x.wl", "is no name of a model on the hub"),
        ("hf://some/many/model.pt", "only packed models"),
        ("hf://some/many", "holds 2 packed models: name one of them behind a slash"),
        ("hf://some/many/c.wl", "holds no c.wl"),
        ("hf://some/none", "holds no packed model (.wl) among its 1 files"),
        ("hf://some/unknown", "the hub knows no such repository"),
        ("hf://some/many@v9", "the hub knows no such revision"),
        ("hf://some/many/a.wl", "a.wl"),
    ],
)
def test_names_that_open_nothing(server, command, name, message):
    server.repositories["some/many"] = Repository({"a.wl": b"\x80\x04pickled", "b.wl": b"", "model.pt": b"pickled"})
    server.repositories["some/none"] = Repository({"pytorch_model.bin": b"pickled"})
    code, _, err = command("generate", name)
    assert code == 2 and message in err.strip().splitlines()[-1]
    assert not [path for _, path, _ in server.requests if path.endswith((".pt", ".bin"))], "never fetched"


def test_without_a_network_there_is_one_line(model, command, monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        code, _, err = command("push", model, NAME)
        assert code == 2 and "no connection to the hub" in err and "--dry_run DIR writes the card" in err
        code, _, err = command("generate", f"hf://{NAME}")
        assert code == 2 and "hf download some/tiny --local-dir DIR" in err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs the extra hub" in command("push", model, NAME)[2]
    assert command("count", model)[0] == 0, "opening a file of this machine needs no huggingface_hub"
