"""`tokenizer train --kind sentencepiece`, and a corpus and a model with what it made, without the package.

Oracles: the file read back; the bytes that the tokens decode to."""

from __future__ import annotations

import json
import math
import sys

import pytest
from cli.test_data_import import MODEL

from weightless.data.shards.corpus import corpus
from weightless.data.text import fables
from weightless.tokenizer.piece_file import parse_model
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer


@pytest.fixture
def stories(tmp_path, monkeypatch):
    """A text, where the package sentencepiece cannot be imported."""
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (tmp_path / "stories.txt").write_bytes(b"\n\n".join(fables.documents(seed=1, n_bytes=60_000)))
    return tmp_path / "stories.txt"


def test_from_text_to_bits_per_byte(command, stories, tmp_path):
    model, data = tmp_path / "t.model", tmp_path / "data"
    train = ("tokenizer", "train", stories, "--kind", "sentencepiece", "--normalisation", "identity")
    code, out, err = command(*train, "--vocab-size", "420", "--no-remove-extra-spaces", "--out", model)
    assert code == 0 and "420 pieces" in out, err
    assert command("data", "prepare", data, "--text", stories, "--tokenizer", model)[0] == 0
    assert command("train", "dense", "--data", data, "--out", tmp_path / "m", *MODEL)[0] == 0
    score = json.loads(command("eval", tmp_path / "m/model.wl", "--data", data, "--json")[1])
    found = corpus(data)
    assert score["eval_bytes"] == len(found.tokenizer().decode_bytes(found.tokens("val")))
    assert score["bits_per_byte"] == pytest.approx(score["nats"] / (math.log(2) * score["eval_bytes"]), rel=1e-12)
    code, ids, _ = command("tokenizer", "encode", model, "Once upon a time")
    assert code == 0 and command("tokenizer", "decode", model, *ids.split())[1] == "Once upon a time\n"


def test_a_table_is_taken_from_another_file(command, stories, tmp_path):
    """Without the package: told what to do; with a file that has the table, its table is written."""
    code, _, err = command("tokenizer", "train", stories, "--kind", "sentencepiece", "--out", tmp_path / "x.model")
    assert code == 2 and "--like FILE.model" in err and not (tmp_path / "x.model").exists()
    from weightless.tokenizer.piece_train import PieceOptions, train_pieces

    table = (64).to_bytes(4, "little") + bytes(64) + b"x\0"
    (tmp_path / "like.model").write_bytes(train_pieces([b"a b"], PieceOptions(270), charsmap=table).content)
    like = ("--like", tmp_path / "like.model", "--vocab-size", "400")
    out = ("--out", tmp_path / "x.model")
    assert command("tokenizer", "train", stories, "--kind", "sentencepiece", *like, *out)[0] == 0
    assert parse_model((tmp_path / "x.model").read_bytes(), "x").charsmap == table
    assert SentencePieceTokenizer.load(tmp_path / "x.model").encode("a")


@pytest.mark.parametrize(
    "flags, told",
    [
        (["--kind", "sentencepiece", "--model-type", "unigram"], "is not trained here, only bpe"),
        (["--kind", "sentencepiece", "--model-type", "bpi"], "bpe"),
        (["--kind", "sentence"], "sentencepiece"),
        (["--kind", "sentencepiece", "--ties", "hf"], "--ties does nothing with --kind sentencepiece"),
        (["--like", "x.model"], "--like does nothing without --kind sentencepiece"),
        (["--kind", "sentencepiece", "--normalisation", "identity", "--like", "x.model"], "which has no table"),
        (["--kind", "sentencepiece", "--like", "missing.model"], "cannot read missing.model"),
        (["--kind", "sentencepiece", "--normalisation", "identity", "--vocab-size", "262"], "has no room"),
    ],
)
def test_bad_input_is_told_before_anything_is_written(command, stories, tmp_path, flags, told):
    code, _, err = command("tokenizer", "train", stories, *flags, "--out", tmp_path / "x")
    assert code == 2 and told in err and not (tmp_path / "x").exists()
