"""weightless train: what batches are made of is asked for by flags, printed, and recorded.

Oracles: the library's own packing of the same corpus; the messages a person needs.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from weightless.cli.main import main
from weightless.data.batches.packing import DocumentWindows, document_starts
from weightless.data.shards.corpus import corpus
from weightless.data.text import fables

SHAPE = (
    "--d_model",
    "32",
    "--n_layers",
    "1",
    "--n_heads",
    "1",
    "--context",
    "64",
    "--num_steps",
    "4",
    "--batch_size",
    "2",
    "--threads",
    "1",
    "--eval_tokens",
    "128",
    "--no-wandb",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A prepared corpus of fables."""
    folder = tmp_path_factory.mktemp("fables")
    (folder / "fables.txt").write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=3, n_bytes=80_000)))
    assert (
        main(["data", "prepare", str(folder / "data"), "--text", str(folder / "fables.txt"), "--vocab_size", "300"])
        == 0
    )
    return folder / "data"


@pytest.mark.parametrize("family", [("dense",), ("--family", "dense")])
def test_packing_masks_and_order_by_flags(command, data, tmp_path, family):
    found = corpus(data)
    tokens = found.tokens("train")
    starts = document_starts(tokens, found.end_of_text)
    windows = DocumentWindows(tokens, 64, found.end_of_text, starts, np.diff(starts).astype(float))
    flags = ("--packing", "documents", "--document_mask", "--order", "length", "--pacing", "buckets", "--buckets", "3")
    code, out, err = command(
        "train", *family, "--data", found.folder, "--out", tmp_path / "m", *SHAPE, *flags, "--no-pack"
    )
    assert code == 0, err
    assert f"{windows.description}; documents do not see each other; order: length" in err and "in 3 buckets" in err
    assert "of the positions padding" in out and "with documents apart" in out
    lines = [json.loads(line) for line in (tmp_path / "m/metrics.jsonl").read_text().splitlines()]
    assert 0 <= lines[-1]["wasted"] < 1 and lines[-1]["tokens"] <= 4 * 2 * 64


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--packing", "document"), ("packing", "'documents'")),
        (("--order", "lengths"), ("order", "'length'")),
        (("--order", "score"), ("score_file",)),
        (("--order", "score", "--score_file", "absent.npy"), ("cannot read the score file absent.npy",)),
        (("--pacing", "shuffled"), ("pacing", "length, compression, score")),
    ],
)
def test_contradictions_are_told_in_one_line(command, data, tmp_path, flags, words):
    code, _, err = command("train", "dense", "--data", data, "--out", tmp_path, *SHAPE, *flags)
    assert code == 2 and len(err.strip().splitlines()) == 1 and all(word in err for word in words), err


def test_a_score_file_has_one_number_per_document(command, data, tmp_path):
    n = corpus(data).n_documents("train")
    scores = tmp_path / "scores.jsonl"
    call = (
        "train",
        "dense",
        "--data",
        data,
        "--out",
        tmp_path / "m",
        *SHAPE,
        "--no-pack",
        "--order",
        "score",
        "--score_file",
        scores,
        "--descending",
    )
    scores.write_text("1.5\n" * (n - 1))
    code, _, err = command(*call)
    assert code == 2 and f"{n - 1:,} scores" in err and f"{n:,} documents" in err
    scores.write_text("\n".join(str(i % 7) for i in range(n)))
    code, _, err = command(*call)
    assert code == 0 and "order: score of documents, highest first, strictly sorted" in err


def test_a_recipe_records_what_was_wasted(small_run):
    for model in json.loads((small_run[0] / "summary.json").read_text())["models"]:
        assert model["wasted_share"] == 0.0
        checks = {check["name"]: check["detail"] for check in model["checks"]}
        assert model["family"] == "ngram" or "none wasted" in checks["batches as asked for"]
