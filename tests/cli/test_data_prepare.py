"""`data prepare` in parts and `launch`, on the command line.  Oracle: the messages a person needs."""

from __future__ import annotations

import pytest

from weightless.data import fables
from weightless.data.corpus import corpus


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--shard", "3-16"), "3/16"),
        (("--shard", "0/4"), "counted 1/n"),
        (("--shard", "1/2", "--merge"), "one of the three"),
        (("--shards", "1000"), "at most 999"),
        (("--shards", "2", "--launcher", "slrum"), "'slurm'"),
        (("--workers", "-1"), "at least 0"),
        (("--merge",), "no plan"),
    ],
)
def test_refusals(command, inputs, tmp_path, options, words):
    code, _, err = command("data", "prepare", tmp_path / "out", *inputs, *options)
    assert code == 2 and words in err and "Traceback" not in err


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
