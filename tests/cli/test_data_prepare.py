"""`data prepare` in parts and `launch`, on the command line.  Oracle: the messages a person needs."""

from __future__ import annotations

import pytest

from weightless.data.shards.corpus import corpus
from weightless.data.text import fables


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Options that name a text and a tokenizer."""
    from weightless.tokenizer import Tokenizer

    folder = tmp_path_factory.mktemp("inputs")
    documents = list(fables.documents(seed=4, n_bytes=30_000))
    (folder / "fables.txt").write_bytes(b"\n<|endoftext|>\n".join(documents))
    Tokenizer.train(documents, 300).save(folder / "tokenizer.json")
    return "--text", folder / "fables.txt", "--tokenizer", folder / "tokenizer.json"


def test_parts_by_hand_then_merge(command, inputs, tmp_path):
    out = tmp_path / "out"
    code, text, _ = command("data", "prepare", out, *inputs, "--shard", "2/2", "--workers", "1")
    assert code == 0 and "part 2/2 is done" in text
    code, _, err = command("data", "prepare", out, "--merge")
    assert code == 2 and "--shard 1/2" in err
    code, text, _ = command("data", "prepare", out, *inputs, "--shard", "1/2")
    assert code == 0 and "train:" in text
    assert command("data", "prepare", out, "--merge")[1] == text
    code, text, _ = command("data", "verify", out)
    assert code == 0 and "FAILED" not in text
    assert corpus(out).tokenizer().vocab_size == 300


@pytest.mark.parametrize("is_trained", [False, True])
def test_what_validates_and_what_it_repeats_is_said(command, inputs, tmp_path, is_trained):
    text, documents = inputs[1], inputs[1].read_bytes().split(b"\n<|endoftext|>\n")
    options = ["--vocab_size", "280"] if is_trained else inputs[2:]
    (tmp_path / "held.txt").write_bytes(b"\n<|endoftext|>\n".join([b"Quite other words.", *documents[:3], b""]))

    def prepare(name, *more):
        return command("data", "prepare", tmp_path / name, "--text", text, *options, *more)

    code, out, err = prepare("same", "--validation", text)
    assert code == 2 and f"each of its {len(documents)} document(s) stands there too" in err
    code, out, err = prepare("given", "--validation", tmp_path / "held.txt")
    assert code == 0 and "of 4 documents" in out and "3 stand there to the byte" in out and "WARNING" in out
    assert prepare("given", "--validation", tmp_path / "held.txt")[1] == out
    code, out, err = prepare("last", "--val_last", "4")
    assert code == 0 and "val: 4 documents" in out and "% of the text" in out
    code, out, err = prepare("none", "--val_fraction", "0")
    assert code == 0 and "val: 0 documents" in out and "FAILED" not in command("data", "verify", tmp_path / "none")[1]
    code, out, err = prepare("share", "--val_fraction", "0.0001")
    assert code == 0 and "0.0% was asked for" in out
    for wrong in (
        ["--val_first", "1", "--val_last", "1"],
        ["--val_first", "1", "--val_fraction", "0.05"],
        ["--val_last", "9999"],
        ["--val_last", "1", "--validation", tmp_path / "held.txt"],
    ):
        assert prepare("wrong", *wrong)[0] == 2


def test_what_was_left_out_stands_in_the_manifest(command, inputs, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    (folder / "a.txt").write_bytes(inputs[1].read_bytes() + b"\nsomebody who writes <|endoftext|> within a line\n")
    (folder / "empty.txt").write_bytes(b"")
    (folder / ".hidden").write_bytes(b"x")
    (folder / "b.jsonl").write_text('{"text": null}\n{"text": "a row"}\n')
    counted = {"hidden": 1, "empty": 1, "null": 1}
    for way in ([], ["--shards", "1"]):
        out = tmp_path / f"out{len(way)}"
        code, text, _ = command("data", "prepare", out, "--text", folder, *inputs[2:], *way)
        assert code == 0 and "left out: 1 hidden, 1 empty, 1 null" in text and "1 marks within lines" in text
        manifest = corpus(out).manifest
        assert manifest["left_out"] == counted and manifest["noticed"] == {"marks within lines": 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--shard", "3-16"), "3/16"),
        (("--shard", "0/4"), "counted 1/n"),
        (("--shard", "1/2", "--merge"), "one of the three"),
        (("--shards", "1000"), "at most 999"),
        (("--shards", "2", "--launcher", "slrum"), "'slurm'"),
        (("--workers", "-1"), "should not be negative"),
        (("--merge",), "no plan"),
    ],
)
def test_refusals(command, inputs, tmp_path, options, words):
    given = () if "--merge" in options else inputs  # which the plan has already
    code, _, err = command("data", "prepare", tmp_path / "out", *given, *options)
    assert code == 2 and words in err and "Traceback" not in err


def test_a_tokenizer_of_another_program_comes_with_the_remedy(command, inputs, tmp_path):
    other, ours = tmp_path / "tokenizer.json", tmp_path / "ours.json"
    assert command("tokenizer", "convert", inputs[3], other, "--to", "huggingface")[0] == 0
    code, _, err = command("data", "prepare", tmp_path / "out", *inputs[:3], other)
    assert (
        code == 2 and f"tokenizer convert {other} OURS.json --to weightless" in err and not (tmp_path / "out").exists()
    )
    assert command("tokenizer", "convert", other, ours, "--to", "weightless")[0] == 0
    assert command("data", "prepare", tmp_path / "out", *inputs[:3], ours)[0] == 0


def test_parts_need_a_tokenizer(command, inputs, tmp_path):
    for option in (("--shard", "1/2"), ("--shards", "2")):
        code, _, err = command("data", "prepare", tmp_path / "out", *inputs[:2], *option)
        assert code == 2 and "weightless tokenizer train" in err


def test_launch_needs_a_command_that_differs(command, tmp_path):
    code, _, err = command("launch", "--n", "2")
    assert code == 2 and "behind --" in err
    code, _, err = command("launch", "--n", "2", "--logs", tmp_path / "logs", "--", "data", "verify", "x")
    assert code == 2 and "{i}" in err
    assert not (tmp_path / "logs").exists()
