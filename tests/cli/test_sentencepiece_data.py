"""The verbs on a corpus that a SentencePiece model tokenised: they work, or say in one line why not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cli.test_data_import import MODEL, RECIPE
from small_pieces import trained_pieces

from weightless.cli.main import main
from weightless.data.shards.corpus import corpus
from weightless.data.shards.shards import write_shard
from weightless.data.text import fables

sentencepiece = pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with golf.model, stories.txt, the corpus `data` that `data prepare` made of them, and m/model.wl."""
    folder = tmp_path_factory.mktemp("golf")
    stories = list(fables.documents(seed=1, n_bytes=60_000))
    (folder / "golf.model").write_bytes(trained_pieces(b"\n".join(stories).decode().split("\n"), split_digits=True))
    (folder / "stories.txt").write_bytes(b"\n\n".join(stories))
    named = {name: str(folder / name) for name in ("data", "stories.txt", "golf.model", "m")}
    prepare = ["data", "prepare", named["data"], "--text", named["stories.txt"], "--tokenizer", named["golf.model"]]
    assert main(prepare) == 0
    assert main(["train", "dense", "--data", named["data"], "--out", named["m"], *MODEL]) == 0
    return folder


def test_it_is_shown_and_checked(command, trained):
    code, page, _ = command("data", "inspect", trained / "data", "--n", "40")
    assert code == 0 and page.startswith("<s>·")
    code, checks, _ = command("data", "verify", trained / "data")
    assert code == 0 and "ok     tokenizer of the manifest" in checks


def test_bits_per_byte_are_those_of_the_model_file(command, trained):
    """The corpus brings its pieces, so naming the .model file changes nothing; bytes are what the tokens decode to."""
    command_line = ("eval", trained / "m/model.wl", "--data", trained / "data", "--json")
    (code, plain, _), (_, named, _) = (
        command(*command_line),
        command(*command_line, "--sentencepiece", trained / "golf.model"),
    )
    assert code == 0
    plain, named = json.loads(plain), json.loads(named)
    found = corpus(trained / "data")
    assert plain["bits_per_byte"] == named["bits_per_byte"] and plain["eval_tokens"] == found.n_tokens("val") - 1
    assert plain["eval_bytes"] == len(found.tokenizer().decode_bytes(found.tokens("val")))


def test_an_audit_reads_it(command, trained):
    for words in (
        ("--data", trained / "data"),
        ("--text", trained / "stories.txt", "--tokenizer", trained / "golf.model"),
    ):
        code, out, _ = command("audit", trained / "m/model.wl", *words, "--positions", "32", "--json")
        (report,) = json.loads(out)
        verdicts = {finding["name"]: finding["verdict"] for finding in report["findings"]}
        assert code == 0 and verdicts["tokens hold the text"] == "ok"


def test_what_wants_text_says_what_to_do(command, trained):
    text = ("--text", trained / "stories.txt")
    for words, told in (
        (
            ("eval", trained / "m/model.wl", *text),
            "give text as ids (data prepare --tokenizer pieces.model, then --data)",
        ),
        (("count", trained / "m/model.wl", *text), "give text as ids (data prepare"),
        (("generate", trained / "m/model.wl"), "make its data with a byte-level --tokenizer"),
    ):
        code, _, err = command(*words)
        assert code == 2 and told in err and err.strip().count("\n") == 0, err


@pytest.fixture(scope="module")
def golf_ids(trained, tmp_path_factory):
    """(folder of shards as Parameter Golf exports them, documents of the validation split): ids made by the package."""
    folder, package = (
        tmp_path_factory.mktemp("ids"),
        sentencepiece.SentencePieceProcessor(model_file=str(trained / "golf.model")),
    )
    documents = [story.decode() for story in fables.documents(seed=2, n_bytes=40_000)]
    for name, part in (("val", documents[:15]), ("train", documents[15:])):
        ids = np.concatenate([[package.bos_id(), *package.encode(text)] for text in part])
        write_shard(folder / f"fineweb_{name}_000000.bin", ids)
        write_shard(folder / f"fineweb_{name}_bytes_000000.bin", np.zeros(len(ids)))
    return folder, [package.decode(package.encode(text)).encode() for text in documents[:15]]


def test_from_ids_to_a_report_by_the_command_line_alone(command, trained, golf_ids, tmp_path):
    """Import, check, count, train, run, score, audit.  Oracle: the bytes that the package decodes the ids to."""
    (ids, val), data = golf_ids, tmp_path / "data"
    code, told, err = command("data", "import", ids, data, "--tokenizer", trained / "golf.model")
    assert code == 0 and "15 documents" in told and "left out 4 file(s)" not in err and "left out 2 file(s)" in err
    n_bytes = sum(map(len, val))
    assert corpus(data).n_bytes("val") == n_bytes and corpus(data).manifest["bytes_are"].endswith("not at hand")
    assert (data / "tokenizer.model").read_bytes() == (trained / "golf.model").read_bytes()
    assert not (data / "tokenizer.json").exists()
    checks = command("data", "verify", data)[1]
    assert "ok     val ids hold the text" in checks and "ok     tokenizer of the manifest" in checks
    code, page, _ = command("data", "inspect", data, "--split", "val", "--n", "30")
    assert code == 0 and page.replace("·", "").startswith("<s>" + val[0].decode()[:20])
    code, _, err = command("train", "ngram", "--data", data)
    assert code == 2 and "recipe (weightless run)" in err
    assert command("train", "dense", "--data", data, "--out", tmp_path / "m", *MODEL)[0] == 0
    score = json.loads(command("eval", tmp_path / "m/model.wl", "--data", data, "--json")[1])
    assert score["eval_bytes"] == n_bytes
    assert score["bits_per_byte"] == pytest.approx(score["nats"] / (math.log(2) * n_bytes), rel=1e-12)
    assert command("count", tmp_path / "m/model.wl")[0] == 0
    code, out, _ = command("audit", tmp_path / "m/model.wl", "--data", data, "--positions", "40", "--json")
    found = {finding["name"]: finding["verdict"] for finding in json.loads(out)[0]["findings"]}
    assert found["tokens hold the text"] == "ok" and found["causality"] == "ok"


def test_a_run_counts_and_scores_such_a_folder(command, trained, golf_ids, tmp_path):
    data = tmp_path / "data"
    assert command("data", "import", golf_ids[0], data, "--tokenizer", trained / "golf.model")[0] == 0
    size = corpus(data).vocab_size
    (tmp_path / "r.toml").write_text(RECIPE.format(folder=data.as_posix(), vocab_size=size).replace("tokens = 300", ""))
    code, _, err = command("run", tmp_path / "r.toml", "--out", tmp_path / "run")
    assert code == 0, err
    (model,) = json.loads((tmp_path / "run/summary.json").read_text())["models"]
    n_bytes = sum(map(len, golf_ids[1]))
    assert model["eval_bytes"] == n_bytes and model["sample"] is None and "generate" not in model["commands"]
    assert model["bits_per_byte"] == pytest.approx(model["nats"] / (math.log(2) * n_bytes), rel=1e-12)
    assert (tmp_path / "run/report.html").exists() and (tmp_path / "run/data/tokenizer.model").exists()
    again = json.loads(command("eval", tmp_path / "run/models/ngram/model.wl", "--json")[1])
    assert again["bits_per_byte"] == model["bits_per_byte"]
    code, out, _ = command("audit", tmp_path / "run", "--positions", "130", "--json")
    assert {f["name"]: f["verdict"] for f in json.loads(out)[0]["findings"]}["bytes per token"] == "ok"
    code, told, err = command("data", "import", data, tmp_path / "again")
    assert code == 0 and corpus(tmp_path / "again").n_bytes("val") == n_bytes, err


def test_ids_of_another_model_of_the_same_size_are_refused(command, trained, golf_ids, tmp_path):
    """The artifact knows the .model file by its hash: an equal number of pieces proves nothing."""
    content = (trained / "golf.model").read_bytes()
    other = content.replace(b"nmt_nfkc", b"nmt_nfkx")
    assert other != content
    (tmp_path / "other.model").write_bytes(other)
    for folder, model in (("other", tmp_path / "other.model"), ("same", trained / "golf.model")):
        assert command("data", "import", golf_ids[0], tmp_path / folder, "--tokenizer", model)[0] == 0
    artifact = trained / "m/model.wl"
    assert command("eval", artifact, "--data", tmp_path / "same")[0] == 0
    code, _, err = command("eval", artifact, "--data", tmp_path / "other")
    assert code == 2 and "another tokenizer" in err
    code, _, err = command("eval", artifact, "--data", tmp_path / "same", "--sentencepiece", tmp_path / "other.model")
    assert code == 2 and "another SentencePiece model" in err
    code, _, err = command("audit", artifact, "--data", tmp_path / "other")
    assert code == 2 and "another tokenizer" in err
