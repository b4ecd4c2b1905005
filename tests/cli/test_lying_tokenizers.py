"""Tokenizers whose tokens do not hold the text: prepared, verified, scored and audited, the characters are named.

Oracles: the source's UTF-8 length, the characters put into it, and the package's own decoding.
"""

from __future__ import annotations

import io
import json
import unicodedata
from contextlib import redirect_stdout

import pytest
from cli.test_data_import import MODEL
from tokenizer.published import published

from weightless.data.shards.corpus import corpus
from weightless.data.text import fables
from weightless.tokenizer.interchange import from_hf

sentencepiece = pytest.importorskip("sentencepiece")
pb2 = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")

STORIES = [story.decode() for story in fables.documents(seed=1, n_bytes=30_000)]
TEXT = [story + "  Zoë 日 was in B  3." for story in STORIES]


def trained(**more) -> bytes:
    out = io.BytesIO()
    options = {
        "model_type": "bpe",
        "vocab_size": 400,
        "byte_fallback": True,
        "hard_vocab_limit": False,
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "minloglevel": 2,
        "num_threads": 1,
    }
    lines = iter("\n".join(STORIES).split("\n"))
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=out, **(options | more))
    return out.getvalue()


def without_bare_space(model: bytes) -> bytes:
    """The same vocabulary, but for the piece of a space that no word takes along."""
    found = pb2.ModelProto.FromString(model)
    (at,) = [i for i, piece in enumerate(found.pieces) if piece.piece == "▁"]
    del found.pieces[at]
    return found.SerializeToString()


MAKE = {
    "sound": lambda: trained(),
    "prefix": lambda: trained(add_dummy_prefix=True),
    "golf": lambda: trained(normalization_rule_name="nmt_nfkc", remove_extra_whitespaces=True),
    "no bare space": lambda: without_bare_space(trained()),
    "unknown": lambda: trained(byte_fallback=False, vocab_size=120),
    "small letters": lambda: trained(normalization_rule_name="nmt_nfkc_cf", remove_extra_whitespaces=True),
}
TOLD = {
    "no bare space": ["spaces ' ' are spelt as the three bytes of U+2581", "%), by '▁' (U+2581)"],
    "unknown": ["tokens are <unk>", "'ë' (U+00EB)", "'日' (U+65E5)"],
    "small letters": ["characters that do not come back", "'B' (U+0042)"],
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """name -> (folder with train.txt, text.txt and pieces.model, what data prepare printed), each made once."""
    from weightless.cli.main import main

    known = {}

    def make(name):
        if name not in known:
            folder, told = tmp_path_factory.mktemp("lying"), io.StringIO()
            for file, documents in (("train.txt", TEXT[8:]), ("text.txt", TEXT[:8])):
                (folder / file).write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
            (folder / "pieces.model").write_bytes(MAKE[name]())
            with redirect_stdout(told):
                options = ("--text", "train.txt", "--validation", "text.txt", "--tokenizer", "pieces.model")
                words = [word if word[0] == "-" else str(folder / word) for word in options]
                assert main(["data", "prepare", str(folder / "data"), *words]) == 0
            known[name] = folder, told.getvalue()
        return known[name]

    return make


@pytest.mark.parametrize("name", MAKE)
def test_prepare_prints_source_decoded_and_unknown(prepared, name):
    folder, told = prepared(name)
    found = corpus(folder / "data")
    package = sentencepiece.SentencePieceProcessor(model_file=str(folder / "pieces.model"))
    whole = [(folder / file).read_text(encoding="utf-8") for file in ("train.txt", "text.txt")]
    texts = [document for text in whole for document in text.split("<|endoftext|>\n")]
    n_source = sum(len(document.encode()) for document in texts)
    assert sum(found.manifest["splits"][s]["source_bytes"] for s in ("train", "val")) == n_source
    encoded = [list(package.encode(document)) for document in texts]
    n_unknown = sum(ids.count(package.unk_id()) for ids in encoded)
    known = [len(package.decode([i for i in ids if i != package.unk_id()]).encode()) for ids in encoded]
    assert sum(found.n_bytes(s) for s in ("train", "val")) == sum(known)
    assert sum(found.manifest["splits"][s]["unknown_tokens"] for s in ("train", "val")) == n_unknown
    for split in ("train", "val"):
        entry = found.manifest["splits"][split]
        assert (
            f"{split}: {entry['source_bytes']:,} bytes of source, the tokens decode to {entry['bytes']:,}, "
            f"{entry['unknown_tokens']:,} unknown tokens"
        ) in told
        assert bool(found.why_refused(split)) == (name in TOLD) == (f"{split}: bits per byte will be refused" in told)
    assert all(words in told for words in TOLD.get(name, []))
    is_source = name in ("sound", "prefix")
    assert found.manifest["bytes_are"].startswith("bytes of the source" if is_source else "bytes of the text that")
    assert ("rewrites white space" in told) == (name == "golf")


@pytest.mark.parametrize("name", MAKE)
def test_verify_names_them(command, prepared, name):
    checks = command("data", "verify", prepared(name)[0] / "data")[1].splitlines()
    own = [line for line in checks if "ids hold the text" in line]
    assert [line[:6] for line in own] == ["FAILED" if name in TOLD else "ok    "] * 2
    assert all(words in own[0] for words in TOLD.get(name, []))


@pytest.mark.parametrize("name", ["golf", *TOLD])
def test_eval_and_audit_refuse_bits_per_byte(command, prepared, name, tmp_path):
    folder = prepared(name)[0]
    assert command("train", "dense", "--data", folder / "data", "--out", tmp_path / "m", *MODEL)[0] == 0
    given = (tmp_path / "m/model.wl", "--data", folder / "data")
    score = json.loads(command("eval", *given, "--json")[1])
    code, plain, _ = command("eval", *given)
    assert code == 0 and score["nats_per_token"] > 0
    for words in (("--data", folder / "data"), ("--text", folder / "text.txt", "--tokenizer", folder / "pieces.model")):
        out = command("audit", tmp_path / "m/model.wl", *words, "--positions", "40", "--json")[1]
        (finding,) = [f for f in json.loads(out)[0]["findings"] if f["name"] == "tokens hold the text"]
        assert finding["verdict"] == ("FAILED" if name in TOLD else "ok")
        assert all(words in finding["detail"] for words in TOLD.get(name, []))
    if name not in TOLD:
        assert score["eval_bytes"] == corpus(folder / "data").n_bytes("val"), "what is divided by is the manifest's"
        return
    assert score["bits_per_byte"] is None and score["eval_bytes"] == 0
    assert all(words in score["bits_per_byte_refused"] and words in plain for words in TOLD[name])
    (tmp_path / "r.toml").write_text(
        f'name = "r"\n[data]\nsource = "{(folder / "data").as_posix()}"\n'
        f"vocab_size = {corpus(folder / 'data').vocab_size}\n"
        '[[model]]\nname = "n"\nfamily = "ngram"\nconfig = { order = 2, context = 64 }\n',
        encoding="utf-8",
    )
    code, _, err = command("run", tmp_path / "r.toml", "--out", tmp_path / "run")
    assert code == 2 and "are refused" in err and TOLD[name][0] in err and not (tmp_path / "run/models").exists()


@pytest.mark.parametrize("name", ["no bare space", "unknown", "small letters"])
def test_imported_ids_of_such_a_model_are_refused_too(command, prepared, name, tmp_path):
    """No text is at hand: the ids themselves show it, or the name of the normalisation does."""
    folder = prepared(name)[0]
    shards = tmp_path / "ids"
    shards.mkdir()
    for split in ("train", "val"):
        (path,) = corpus(folder / "data").shard_paths(split)
        (shards / f"x_{split}_000000.bin").write_bytes(path.read_bytes())
    code, told, err = command("data", "import", shards, tmp_path / "data", "--tokenizer", folder / "pieces.model")
    assert code == 0, err
    assert "val: bits per byte will be refused" in told
    checks = command("data", "verify", tmp_path / "data")[1]
    assert "FAILED val ids hold the text" in checks
    assert command("train", "dense", "--data", tmp_path / "data", "--out", tmp_path / "m", *MODEL)[0] == 0
    assert (
        json.loads(command("eval", tmp_path / "m/model.wl", "--data", tmp_path / "data", "--json")[1])["bits_per_byte"]
        is None
    )
    blind = ("--vocab_size", str(corpus(folder / "data").vocab_size), "--end_of_text", "1")
    assert command("data", "import", shards, tmp_path / "blind", *blind)[0] == 0
    code, _, err = command(
        "eval", tmp_path / "m/model.wl", "--data", tmp_path / "blind", "--sentencepiece", folder / "pieces.model"
    )
    assert code == 2 and "bits per byte are refused" in err


def test_compare_names_them(command, prepared):
    folder = prepared("unknown")[0]
    code, out, err = command("tokenizer", "compare", folder / "pieces.model", "--text", folder / "text.txt")
    assert code == 0, err
    assert "bits per byte would be refused" in (out + err).replace("\n", " ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda v: v.update(
                normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}
            ),
            "its normalizer (NFD, Lowercase) changes the text",
        ),
        (
            lambda v: v["model"]["vocab"].update({"ÈÈÈ": v["model"]["vocab"].pop("È")}),
            "lacks 1 of the 256 single bytes ('\\xc8')",
        ),
    ],
)
def test_hugging_face_files_that_would_lie_are_refused(command, tmp_path, change, told):
    from weightless.tokenizer import Tokenizer
    from weightless.tokenizer.interchange import to_hf

    values = json.loads(json.dumps(to_hf(Tokenizer.train([b"hello hello"], 260))))
    change(values)
    (tmp_path / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    code, _, err = command("data", "import", "x.bin", tmp_path / "out", "--tokenizer", tmp_path / "tokenizer.json")
    assert code == 2 and told in err and "tokenizer.json" in err


@pytest.fixture(scope="module")
def composing(tmp_path_factory):
    """(folder with data, model.wl, text.txt) of a tokenizer that composes, and a text that composing changes."""
    from weightless.cli.main import main

    folder = tmp_path_factory.mktemp("composing")
    text = [unicodedata.normalize("NFD", story) if i % 2 else story for i, story in enumerate(TEXT)]
    for file, documents in (("train.txt", TEXT[8:]), ("text.txt", text[:8])):
        (folder / file).write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    from_hf(published("qwen3")).save(folder / "tokenizer.json")
    words = ("train.txt", "--validation", "text.txt", "--tokenizer", "tokenizer.json")
    words = [word if word[0] == "-" else str(folder / word) for word in words]
    told = io.StringIO()
    with redirect_stdout(told):
        assert main(["data", "prepare", str(folder / "data"), "--text", *words]) == 0
        assert main(["train", "dense", "--data", str(folder / "data"), "--out", str(folder / "m"), *MODEL]) == 0
    return folder, told.getvalue(), text[:8]


def test_a_text_that_is_composed_is_told_and_counted_as_what_is_left(command, composing):
    """Oracle: the bytes of Python's own NFC of every document."""
    folder, told, text = composing
    documents = "\n<|endoftext|>\n".join(text).split("<|endoftext|>\n")
    n_source = sum(len(document.encode()) for document in documents)
    n_left = sum(len(unicodedata.normalize("NFC", document).encode()) for document in documents)
    assert n_left < n_source
    assert f"val: {n_source:,} bytes of source, the tokens decode to {n_left:,}, 0 unknown" in told
    assert "the tokenizer composes characters (NFC): bits per byte are per byte of the text that the tokens" in told
    assert corpus(folder / "data").manifest["bytes_are"].startswith("bytes of the text that")
    assert not corpus(folder / "data").why_refused("val")
    given = (folder / "m/model.wl", "--text", folder / "text.txt")
    code, score, err = command("eval", *given, "--json")
    assert code == 0 and json.loads(score)["eval_bytes"] == n_left and json.loads(score)["bits_per_byte"] > 0
    assert f"(NFC) in 4 documents; bits per byte are per byte of the composed text, {n_left:,} of {n_source:,}" in err
    out = command("audit", *given, "--positions", "40", "--json")[1]
    (finding,) = [f for f in json.loads(out)[0]["findings"] if f["name"] == "tokens hold the text"]
    assert finding["verdict"] == "ok" and "how characters are composed (NFC); bits per byte count" in finding["detail"]
    (folder / "longer.txt").write_text("\u0958 \u0959 " * 200, encoding="utf-8")
    code, score, _ = command("eval", folder / "m/model.wl", "--text", folder / "longer.txt", "--json")
    assert code == 0 and json.loads(score)["bits_per_byte"] is None
    assert "bytes of text decode to" in json.loads(score)["bits_per_byte_refused"]
