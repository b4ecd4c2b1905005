"""weightless tokenizer convert | compare | sweep.  Oracles: the library, and files read back."""

from __future__ import annotations

import json

import pytest

from weightless.data.text import fables
from weightless.tokenizer import Tokenizer
from weightless.tokenizer.opening import open_tokenizer

EOT = "<|endoftext|>"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(a tokenizer of ours, a text of 40 fables, another text)."""
    folder = tmp_path_factory.mktemp("tokenizers")
    texts = list(fables.documents(seed=4, n_bytes=60_000))
    (folder / "fables.txt").write_bytes(f"\n{EOT}\n".encode().join(texts))
    (folder / "other.txt").write_text("The quick brown fox — naïve, 日本語. " * 50)
    Tokenizer.train(texts, 400).save(folder / "fab.json")
    return folder / "fab.json", folder / "fables.txt", folder / "other.txt"


def test_convert_there_and_back(command, files, tmp_path):
    steps = [files[0], tmp_path / "hf.json", tmp_path / "x.tiktoken", tmp_path / "pair", tmp_path / "own.json"]
    formats = ["huggingface", "tiktoken", "gpt2", "weightless"]
    for source, target, to in zip(steps, steps[1:], formats):
        code, out, _ = command("tokenizer", "convert", source, target)
        assert code == 0 and f"400 tokens, 143 merges, as {to}" in out
        assert ("does not say its pattern" in out) == (to in ("tiktoken", "gpt2"))
    assert Tokenizer.load(steps[-1]).sha256 == Tokenizer.load(files[0]).sha256


def test_compare_tables(command, files):
    code, out, _ = command("tokenizer", "compare", files[0], f"mine={files[0]}", "--text", files[1], f"new={files[2]}")
    assert code == 0
    for word in ("Bytes per token", "fab", "mine", "fables", "new", "MB/s", "Longest tokens", "documents"):
        assert word in out, word


def test_compare_values(command, files):
    code, out, _ = command("tokenizer", "compare", files[0], "--text", files[2], "--json")
    (cell,) = json.loads(out)
    text = files[2].read_bytes()
    assert code == 0 and cell["n_bytes"] == len(text)
    assert cell["n_tokens"] == len(open_tokenizer(files[0]).encode(text))


def test_compare_markdown_is_a_table(command, files):
    out = command("tokenizer", "compare", files[0], files[0], "--text", files[2], "--markdown")[1]
    lines = out.splitlines()
    assert lines[2] == "| tokenizer | vocabulary | other |" and lines[3] == "| :-- | --: | --: |"
    assert lines[4].startswith("| fab | 400 | ") and lines[5].startswith("| fab 2 | 400 | ")


def test_compare_takes_a_sample(command, files):
    out = command("tokenizer", "compare", files[0], "--text", files[1], "--megabytes", "0.01", "--json")[1]
    assert 1000 < json.loads(out)[0]["n_bytes"] <= 10_000


def test_sweep_leaves_table_picture_and_tokenizers(command, files, tmp_path):
    code, out, _ = command("tokenizer", "sweep", files[1], "--sizes", "256", "300", "400", "--out", tmp_path / "s")
    assert code == 0 and "held-out" in out and "train" in out
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert names == {"sweep.json", "sweep.svg", "sweep.png", *(f"tokenizer_{n}.json" for n in (256, 300, 400))}
    values = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert values["sizes"] == [256, 300, 400] and values["corpora"] == ["train", "held-out"]
    assert open_tokenizer(tmp_path / "s" / "tokenizer_300.json").vocab_size == 300


def test_sweep_draws_its_picture_unasked_and_says_where(command, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("tokenizer", "sweep", files[1], "--sizes", "256", "300")
    (told,) = [line.removeprefix("picture: ").split(" (")[0] for line in out.splitlines() if line.startswith("picture")]
    assert code == 0 and (tmp_path / told).read_bytes().startswith(b"\x89PNG")


def test_a_vocabulary_that_the_text_cannot_fill_is_said(command, tmp_path):
    (tmp_path / "small.txt").write_text("so small a text")
    code, out, err = command(
        "tokenizer", "train", tmp_path / "small.txt", "--vocab_size", "4096", "--out", tmp_path / "t.json"
    )
    n = open_tokenizer(tmp_path / "t.json").vocab_size
    assert code == 0 and n < 4096 and f"{n:,} tokens" in out and "4,096 were asked for" in err


def test_sweep_with_a_held_out_text(command, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = command("tokenizer", "sweep", files[1], "--held-out", files[2], "--sizes", "256", "300", "--json")
    cells = json.loads(out)["cells"]
    assert code == 0 and cells[1]["n_bytes"] == len(files[2].read_bytes())
    assert cells[0]["n_bytes"] > 20_000  # nothing is kept out of training


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sweep", "TEXT", "--sizes", "256", "--special", EOT], "too small: 256 bytes and 1 special token(s) need 257"),
        (["sweep", "TEXT", "--sizes", "100"], "too small"),
        (["sweep", "TEXT", "--megabytes", "0"], "--megabytes"),
        (["sweep", "absent.txt"], "no such file"),
        (["compare"], "no tokenizer given"),
        (["compare", "absent.json"], "cannot read absent.json"),
        (["compare", "TEXT"], "no tokenizer of a known format"),
        (["convert", "OWN", "x.bin"], "--to"),
        (["convert", "OWN", "x.json", "--to", "hugingface"], "did you mean 'huggingface'"),
        (["conver"], "did you mean 'convert'"),
    ],
)
def test_mistakes_are_told_in_one_line(command, files, arguments, words):
    names = {"TEXT": files[1], "OWN": files[0]}
    code, _, err = command("tokenizer", *[names.get(argument, argument) for argument in arguments])
    assert code == 2 and words in err and "Traceback" not in err
