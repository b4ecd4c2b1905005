"""Validation text that training has seen is told with every loss on it, not only when the corpus is made.

Oracle: the sentence that `data prepare` prints of the same corpus, whose counts follow from how the texts are made.
"""

from __future__ import annotations

import json

from cli.small_training import SMALL

from weightless.data.text import fables

MARK = b"\n<|endoftext|>\n"


def test_training_scoring_and_the_page_tell_that_validation_repeats_training(command, tmp_path):
    documents, others = (list(fables.documents(seed=seed, n_bytes=20_000)) for seed in (3, 4))
    text, validation, data = tmp_path / "text.txt", tmp_path / "validation.txt", tmp_path / "data"
    text.write_bytes(MARK.join(documents))
    validation.write_bytes(MARK.join([*others, documents[0], documents[1], b""]))
    words = ("data", "prepare", data, "--text", text, "--validation", validation, "--vocab_size", "300")
    said = next(line for line in "\n".join(command(*words)[1:]).splitlines() if "WARNING" in line)
    sentence = said.partition("WARNING: ")[2]
    assert sentence.startswith("validation repeats training") and "2 stand there to the byte" in sentence
    model = tmp_path / "model"
    for line in (("train", "dense", "--data", data, "--out", model, *SMALL), ("eval", model / "model.wl")):
        code, _, err = command(*line)
        assert code == 0 and f"WARNING: {sentence}" in err
    code, out, err = command("report", model, "--out", tmp_path / "page")
    assert code == 0, err
    assert json.loads((tmp_path / "page" / "summary.json").read_text())["corpus"]["warning"] == sentence
    assert sentence[1:] in (tmp_path / "page" / "report.html").read_text()
    assert sentence[1:] in " ".join(out.split())
