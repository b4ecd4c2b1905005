"""`weightless data import` and what follows it: train, eval, run on the imported corpus.

Oracles: numpy.tofile as nanoGPT writes its bins, the tokenizer's own ids, and the length of the text in UTF-8.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from cli.small_training import small
from data.hub_server import Repository, environment, running_hub, table_bytes

from weightless.data.shards.corpus import corpus
from weightless.data.text import fables
from weightless.tokenizer import Tokenizer, train_bpe
from weightless.tokenizer.interchange import save_gpt2

MARK = "<|endoftext|>"
MODEL = small(num_steps=3, eval_tokens=256)
RECIPE = """
name = "again"
[data]
source = "{folder}"
vocab_size = {vocab_size}
[eval]
tokens = 300
[[model]]
name = "ngram"
family = "ngram"
config = {{ order = 2, context = 64 }}
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """(folder with train.bin, val.bin and the tokenizer in GPT-2's files; tokenizer; text of the validation split)."""
    folder = tmp_path_factory.mktemp("material")
    stories = list(fables.documents(seed=5, n_bytes=60_000))
    tokenizer = Tokenizer(*train_bpe(iter(stories), 320, [MARK]), [MARK])
    ids = [
        np.append(tokenizer.encode_ordinary_array(story), tokenizer.end_of_text) for story in stories
    ]  # nanoGPT: after
    np.concatenate(ids[20:]).astype(np.uint16).tofile(folder / "train.bin")
    np.concatenate(ids[:20]).astype(np.uint16).tofile(folder / "val.bin")
    save_gpt2(tokenizer, folder / "vocab.json", folder / "merges.txt")
    return folder, tokenizer, stories


def test_import_train_eval(command, material, tmp_path):
    folder, tokenizer, stories = material
    code, out, err = command("data", "import", folder, tmp_path / "data", "--tokenizer", folder / "vocab.json")
    assert code == 0, err
    found = corpus(tmp_path / "data")
    assert found.n_documents("val") == 20 and found.n_bytes("val") == sum(map(len, stories[:20]))
    assert "20 documents" in out and "bytes per token" in out and found.tokenizer().sha256 == tokenizer.sha256
    assert command("data", "verify", tmp_path / "data")[0] in (0, 2)  # fables repeat themselves: see the checks
    checks = command("data", "verify", tmp_path / "data")[1].splitlines()
    assert [line[:2] for line in checks[:5]] == ["ok"] * 5
    assert stories[20][:9].decode() in command("data", "inspect", tmp_path / "data", "--n", "40")[1].replace("·", "")
    code, _, err = command("train", "--data", tmp_path / "data", "--out", tmp_path / "m", *MODEL)
    assert code == 0, err
    score = json.loads(command("eval", tmp_path / "m/model.wl", "--data", tmp_path / "data", "--json")[1])
    assert score["eval_tokens"] == found.n_tokens("val") - 1
    first = len(tokenizer.token_bytes[int(found.tokens("val")[0])])  # the first token is no target
    assert score["eval_bytes"] == found.n_bytes("val") - first and 0 < score["bits_per_byte"] < 9


def test_import_without_a_tokenizer(command, material, tmp_path):
    folder = material[0]
    assert command("data", "import", folder, tmp_path / "data", "--vocab_size", "320", "--end_of_text", "319")[0] == 0
    assert command("train", "--data", tmp_path / "data", "--out", tmp_path / "m", *MODEL)[0] == 0
    score = json.loads(command("eval", tmp_path / "m/model.wl", "--data", tmp_path / "data", "--json")[1])
    assert score["bits_per_byte"] is None and 0 < score["nats_per_token"] < 9
    assert "bits per byte unknown" in command("eval", tmp_path / "m/model.wl", "--data", tmp_path / "data")[1]
    code, _, err = command("generate", tmp_path / "m/model.wl")
    assert code == 2 and "make its data with a byte-level --tokenizer" in err
    ids = corpus(tmp_path / "data").tokens("val")[3:8]
    assert command("data", "inspect", tmp_path / "data", "--split", "val", "--start", "3", "--n", "5")[1].split() == [
        str(i) for i in ids
    ]
    (tmp_path / "r.toml").write_text(RECIPE.format(folder=(tmp_path / "data").as_posix(), vocab_size=320))
    code, _, err = command("run", tmp_path / "r.toml", "--out", tmp_path / "run")
    assert code == 2 and "import it again with --tokenizer" in err


def test_a_run_takes_a_prepared_folder(command, material, tmp_path):
    folder = material[0]
    assert command("data", "import", folder, tmp_path / "data", "--tokenizer", folder)[0] == 0
    recipe = tmp_path / "r.toml"
    recipe.write_text(RECIPE.format(folder=(tmp_path / "data").as_posix(), vocab_size=4096))
    code, _, err = command("run", recipe, "--out", tmp_path / "wrong")
    assert code == 2 and "say vocab_size = 320 in [data]" in err
    recipe.write_text(RECIPE.format(folder=(tmp_path / "data").as_posix(), vocab_size=320))
    for _ in range(2):
        code, _, err = command("run", recipe, "--out", tmp_path / "run")
        assert code == 0, err
    assert corpus(tmp_path / "run/data").sha256 == corpus(tmp_path / "data").sha256
    code, out, _ = command("eval", tmp_path / "run/models/ngram/model.wl", "--tokens", "300", "--json")
    assert code == 0 and json.loads(out)["bits_per_byte"] > 0


@pytest.mark.parametrize(
    "options, message",
    [
        ((), "does not say which ids it can hold: give --tokenizer, or --vocab_size"),
        (("--vocab_size", "100"), "but the vocabulary has 100"),
        (("--vocab_size", "320", "--end_of_text", "320"), "is not an id below 320"),
        (("--vocab_size", "320", "--tokenizer", "x"), "leave --vocab_size and --end_of_text out"),
        (("--tokenizer", "nowhere"), "nowhere"),
        (("--vocab_size", "320", "--validation", "tset"), "no 'tset' split"),
    ],
)
def test_bad_input_is_one_line(command, material, tmp_path, options, message):
    code, _, err = command("data", "import", material[0], tmp_path / "out", *options)
    lines = [line for line in err.splitlines() if line.startswith("weightless data:")]
    assert code == 2 and len(lines) == 1 and message in lines[0]


def test_another_source_validates(command, material, tmp_path):
    folder = material[0]
    options = (
        "--vocab_size",
        "320",
        "--validation",
        folder / "val.bin",
        "--max_tokens",
        "500",
        "--max_validation_tokens",
        "90",
    )
    assert command("data", "import", folder / "train.bin", tmp_path / "out", *options)[0] == 0
    found = corpus(tmp_path / "out")
    assert found.n_tokens("train") == 500
    assert np.array_equal(found.tokens("val"), np.fromfile(folder / "val.bin", np.uint16)[:90])


def test_a_known_data_set_brings_its_tokenizer(command, material, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    folder, tokenizer, stories = material
    rows = [tokenizer.encode_ordinary_array(story).tolist() for story in stories[:30]]
    table = table_bytes({"values": pa.array(rows, pa.list_(pa.int64()))})
    options = ("--validation", "last:2000", "--rows_are_documents")
    with running_hub() as hub:
        for key, value in environment(hub, tmp_path / "home").items():
            monkeypatch.setenv(key, value)
        hub.repositories["openai-community/gpt2"] = Repository(
            {name: (folder / name).read_bytes() for name in ("vocab.json", "merges.txt")}
        )
        hub.repositories["alkibijad/fineweb-edu-sample-10BT-gpt2tokenized"] = Repository(
            {"data/train_000001-00000-of-00001.parquet": table}
        )
        code, _, err = command("data", "import", "fineweb-edu-10bt-gpt2", tmp_path / "out", *options)
    assert code == 0, err
    found = corpus(tmp_path / "out")
    assert found.n_documents("train") + found.n_documents("val") == 30
    assert found.n_bytes("train") + found.n_bytes("val") == sum(map(len, stories[:30]))
