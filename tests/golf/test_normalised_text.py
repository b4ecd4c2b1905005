"""A tokenizer that rewrites text: SentencePiece with nmt_nfkc makes two spaces one and a ligature two letters.

Oracle: the bytes of the text file itself.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cli.small_training import small
from small_pieces import trained_pieces

from weightless.cli.main import main
from weightless.data.shards.corpus import corpus
from weightless.data.text import fables
from weightless.golf.check import Asked, check
from weightless.golf.findings import FAULT

sentencepiece = pytest.importorskip("sentencepiece")


@pytest.fixture(scope="module")
def submission(tmp_path_factory):
    """(folder of the submission, its corpus): the artifact holds no tokenizer, tokenizer.model lies beside it."""
    place = tmp_path_factory.mktemp("pieces")
    stories = [s.replace(b". ", b".  ").replace(b"fi", "ﬁ".encode()) for s in fables.documents(seed=2, n_bytes=50_000)]
    (place / "pieces.model").write_bytes(trained_pieces(b"\n".join(stories).decode().split("\n")))
    (place / "text.txt").write_bytes(b"\n<|endoftext|>\n".join(stories))
    data, model, made = (str(place / name) for name in ("data", "m", "made"))
    prepare = ["data", "prepare", data, "--text", str(place / "text.txt")]
    assert main([*prepare, "--tokenizer", str(place / "pieces.model")]) == 0
    assert main(["train", "dense", "--data", data, "--out", model, *small(num_steps=2)]) == 0
    assert main(["golf", "build", model, "--out", made, "--decode_only", "--threads", "1"]) == 0
    return place / "made", place / "data"


@pytest.mark.slow
def test_bits_per_byte_are_of_the_raw_text(submission):
    folder, data = submission
    entry = corpus(data).manifest["splits"]["val"]
    assert entry["source_bytes"] > entry["bytes"], "the tokenizer rewrites this text"
    values = json.loads((folder / "submission.json").read_text())
    assert values["eval_bytes"] == entry["source_bytes"]
    assert values["val_bpb"] == pytest.approx(values["eval_nats"] / (math.log(2) * entry["source_bytes"]), rel=1e-12)
    assert (folder / "tokenizer.model").read_bytes() == (data / "tokenizer.model").read_bytes()
    assert [f.line() for f in check(folder, Asked(data, None, 0, 1)) if f.verdict == FAULT] == []


@pytest.mark.slow
def test_bytes_of_the_normalised_text_are_a_fault(submission):
    folder, data = submission
    path, log = folder / "submission.json", folder / "train.log"
    honest, told = path.read_text(), log.read_text()
    values = json.loads(honest)
    decoded = corpus(data).manifest["splits"]["val"]["bytes"]
    wrong = values["eval_nats"] / (math.log(2) * decoded)
    path.write_text(json.dumps({**values, "eval_bytes": decoded, "val_bpb": wrong}))
    log.write_text(told.replace(f"val_bpb:{values['val_bpb']:.8f}", f"val_bpb:{wrong:.8f}"))
    found = {f.name: f for f in check(folder, Asked(data, None, 0, 1)) if f.verdict == FAULT}
    path.write_text(honest)
    log.write_text(told)
    assert list(found) == ["bytes of raw text"] and "normalises" in found["bytes of raw text"].detail


@pytest.mark.slow
def test_a_part_of_a_rewritten_stream_has_no_bits_per_byte(submission):
    from weightless.export.packed import open_packed
    from weightless.golf.scoring import Asked as Scoring
    from weightless.golf.scoring import raw_bytes, score
    from weightless.golf.stream import stream_of

    folder, data = submission
    packed = open_packed(folder / "model.wlz")
    stream = stream_of(packed, data, "val", folder / "tokenizer.model")
    found = score(packed, stream, Scoring(tokens=100, threads=1))
    assert found.bits_per_byte is None and "rewrites" in found.refused
    assert raw_bytes(stream, np.arange(1, 10)) is None
