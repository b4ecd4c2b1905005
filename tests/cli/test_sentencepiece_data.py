"""The verbs on a corpus that a SentencePiece model tokenised: they work, or say in one line why not."""

from __future__ import annotations

import io
import json

import pytest
from cli.test_data_import import MODEL, RECIPE

from weightless.cli.main import main
from weightless.data import fables
from weightless.data.corpus import corpus

sentencepiece = pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with golf.model, stories.txt, the corpus `data` that `data prepare` made of them, and m/model.wl."""
    folder, out = tmp_path_factory.mktemp("golf"), io.BytesIO()
    stories = list(fables.documents(seed=1, n_bytes=60_000))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(b"\n".join(stories).decode().split("\n")), model_writer=out, model_type="bpe",
        vocab_size=400, byte_fallback=True, split_digits=True, add_dummy_prefix=False, pad_id=0, bos_id=1, eos_id=2,
        unk_id=3, hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    (folder / "golf.model").write_bytes(out.getvalue())
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
    (code, plain, _), (_, named, _) = command(*command_line), command(*command_line, "--sentencepiece",
                                                                      trained / "golf.model")  # fmt: skip
    assert code == 0
    plain, named = json.loads(plain), json.loads(named)
    found = corpus(trained / "data")
    assert plain["bits_per_byte"] == named["bits_per_byte"] and plain["eval_tokens"] == found.n_tokens("val") - 1
    assert plain["eval_bytes"] == len(found.tokenizer().decode_bytes(found.tokens("val")))


def test_an_audit_reads_it(command, trained):
    for words in (("--data", trained / "data"),
                  ("--text", trained / "stories.txt", "--tokenizer", trained / "golf.model")):  # fmt: skip
        code, out, _ = command("audit", trained / "m/model.wl", *words, "--positions", "32", "--json")
        (report,) = json.loads(out)
        verdicts = {finding["name"]: finding["verdict"] for finding in report["findings"]}
        assert code == 0 and verdicts["tokens hold the text"] == "ok"


def test_what_wants_a_byte_level_tokenizer_says_so(command, trained, tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE.format(folder=(trained / "data").as_posix(), vocab_size=400))
    text = ("--text", trained / "stories.txt")
    for words, told in (
        (("eval", trained / "m/model.wl", *text), "make its data with a byte-level --tokenizer"),
        (("count", trained / "m/model.wl", *text), "make its data with a byte-level --tokenizer"),
        (("generate", trained / "m/model.wl"), "make its data with a byte-level --tokenizer"),
        (("run", tmp_path / "r.toml", "--out", tmp_path / "run"), "a run packs byte-level tokenizers"),
        (("data", "import", trained / "data", tmp_path / "again"), "is no byte-level tokenizer"),
    ):
        code, _, err = command(*words)
        assert code == 2 and told in err and err.strip().count("\n") == 0, err
