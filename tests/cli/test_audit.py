"""`weightless audit`, `eval --sentencepiece` on a small real run.  Oracles: its own records, and planted cheats."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from audit import planted

NAMES = [
    "normalisation",
    "causality",
    "score before update",
    "single pass",
    "every target once",
    "pads unscored",
    "tokens hold the text",
    "byte counts",
    "validation text",
    "claimed targets",
    "claimed bytes",
    "claimed loss",
    "bytes per token",
    "no copies",
    "no near copies",
]


def test_every_model_of_a_run_passes(command, small_run):
    code, out, _ = command("audit", small_run[0], "--positions", "130", "--json")
    reports = json.loads(out)
    assert code == 0 and [report["name"] for report in reports] == ["dense", "feather", "ngram"]
    for report in reports:
        verdicts = {finding["name"]: finding["verdict"] for finding in report["findings"]}
        assert list(verdicts) == NAMES and report["ok"] and report["positions"] >= 130
        not_applicable = {name for name, verdict in verdicts.items() if verdict == "not applicable"}
        assert not_applicable == {"pads unscored", "byte counts"}
        details = {finding["name"]: finding["detail"] for finding in report["findings"]}
        assert "the bytes it counted" in details["bytes per token"] and "the text" in details["bytes per token"]
        assert "of " in details["every target once"], "the run scored a sample of its targets, and the audit says so"


def test_a_falsified_record_is_found(command, small_run, tmp_path):
    """The same model beside an eval.json whose bytes count every space twice (+16.7 %)."""
    model = small_run[0] / "models/dense"
    claim = json.loads((model / "eval.json").read_text())
    claim["bits_per_byte"] *= 6 / 7
    (tmp_path / "claim.json").write_text(json.dumps(claim))
    code, out, _ = command("audit", model, "--positions", "70", "--claim", tmp_path / "claim.json")
    assert code == 2 and "FAILED: bytes per token" in out and "+16.7 %" in out


def test_a_loss_that_was_not_measured_is_found(command, small_run, tmp_path):
    """All four numbers are changed together, so that they agree: only the model itself can say otherwise."""
    model = small_run[0] / "models/dense"
    claim = json.loads((model / "eval.json").read_text())
    for key in ("nats", "nats_per_token", "bits_per_byte"):
        claim[key] *= 0.9
    (tmp_path / "claim.json").write_text(json.dumps(claim))
    code, out, _ = command("audit", model, "--positions", "700", "--claim", tmp_path / "claim.json")
    assert code == 2 and "FAILED: claimed loss" in out, out


def test_constants_of_the_validation_text(command, small_run):
    from weightless.data.shards.corpus import corpus

    found, model = corpus(small_run[0] / "data"), small_run[0] / "models/ngram"
    right = (
        f"bytes={found.n_bytes('val')}",
        f"documents={found.n_documents('val')}",
        f"tokens={found.n_tokens('val')}",
    )
    assert command("audit", model, "--positions", "64", "--expect", *right)[0] == 0
    code, out, _ = command("audit", model, "--positions", "64", "--expect", "bytes=151080891")
    assert code == 2 and "FAILED: validation text" in out
    code, _, err = command("audit", model, "--positions", "64", "--expect", "bites=3")
    assert code == 2 and "did you mean 'bytes'" in err


def test_validation_text_that_was_trained_on_is_found(command, small_run):
    folder, _, text = small_run
    code, out, _ = command("audit", folder / "models/ngram/model.wl", "--positions", "70", "--train", text, "--json")
    (report,) = json.loads(out)
    assert code == 2 and [f["name"] for f in report["findings"] if f["verdict"] == "FAILED"] == ["no copies"]


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("Adaptive", 0, "no check failed"),
        ("TargetGate", 2, "FAILED: score before update"),
        ("EveryTokenIsLikely", 2, "FAILED: normalisation"),
    ],
)
def test_python_code(command, small_run, name, code, told):
    found = command("audit", f"{planted.__file__}:{name}", "--text", small_run[2], "--positions", "60")
    assert found[0] == code and told in found[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["x.py:y"], "--text FILE or --data DIR"),
        (["absent.wl"], "absent.wl"),
        (["absent.py:y", "--text", "TEXT"], "no such file"),
        ([f"{planted.__file__}:Crashing", "--text", "TEXT"], "no such row at all"),
        ([f"{planted.__file__}:Adaptive", "--data", "RUN/data"], "vocabulary of 320"),
        ([f"{planted.__file__}:Adaptive", "--text", "TEXT", "--positions", "0"], "--positions"),
        (["RUN/models/dense", "--text", "TEXT", "--data", "RUN/data"], "give one of them"),
    ],
)
def test_bad_input_is_told_in_one_line(command, small_run, arguments, told):
    given = [a.replace("RUN", str(small_run[0])).replace("TEXT", str(small_run[2])) for a in arguments]
    code, _, err = command("audit", *given)
    *progress, last = err.splitlines()
    assert code == 2 and told in last and all(line.startswith("audit ") for line in progress)


def test_imported_ids_get_bits_per_byte_by_pieces(command, small_run, tmp_path):
    """A model of ids, whose tokenizer is a SentencePiece model: eval and audit count by its table."""
    from contract.cases import bench
    from contract.configurations.shared import V
    from tokenizer.piece_models import BYTES, FIRST, NORMAL, model_file

    from weightless.data.shards.shards import write_shard
    from weightless.export.lower import pack
    from weightless.tokenizer.sentencepiece import byte_table

    b = bench("ngram", "order_3")
    pack(tmp_path / "model.wl", b.name, b.config, b.arrays)
    words = [(f"▁w{i}", NORMAL) for i in range(V - 260)]
    (tmp_path / "pieces.model").write_bytes(model_file((*FIRST, *BYTES, *words), normalizer={3: 0}))
    ids = np.random.default_rng(0).integers(4, V, 500)
    ids[::50] = 1
    for split in ("train", "val"):
        write_shard(tmp_path / f"ids_{split}_000000.bin", ids)
    made = command("data", "import", tmp_path, tmp_path / "data", "--vocab_size", str(V), "--end_of_text", "1")
    assert made[0] == 0, made[2]
    given = (tmp_path / "model.wl", "--data", tmp_path / "data")
    code, out, err = command("eval", *given, "--sentencepiece", tmp_path / "pieces.model", "--json")
    assert code == 0, err
    score, n_bytes = json.loads(out), byte_table(tmp_path / "pieces.model").total(ids)
    assert score["eval_bytes"] == n_bytes
    assert score["bits_per_byte"] == pytest.approx(score["nats"] / (math.log(2) * n_bytes), rel=1e-12)
    assert json.loads(command("eval", *given, "--json")[1])["bits_per_byte"] is None
    own = small_run[0] / "models/dense/model.wl"
    code, _, err = command("eval", own, "--sentencepiece", tmp_path / "pieces.model")
    assert code == 2 and "were not made with it" in err
