"""`weightless audit --ternary` as a user meets it.  Oracles: `weightless eval`, and counts of the training text."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from weightless.data.shards.corpus import corpus


@pytest.fixture(scope="module")
def ternary(small_run):
    """The dense model of the small run in two bits, beside its run's data."""
    from weightless.cli.main import main

    run = small_run[0]
    out = run.parent / "ternary.wl"
    assert main(["pack", str(run / "models/dense/model.wl"), "--out", str(out), "--weight_format", "t2_g128"]) == 0
    return out, run


def test_it_says_what_the_model_is_worth(command, ternary):
    model, run = ternary
    twin, data = run / "models/dense/model.wl", run / "data"
    code, out, _ = command("audit", model, "--ternary", "--twin", twin, "--data", data, "--tokens", "0", "--json")
    found = json.loads(out)
    assert code == 0 and found["ok"] and found["targets"] == corpus(data).n_tokens("val") - 1
    for who, path in (("model", model), ("twin", twin)):
        _, told, _ = command("eval", path, "--data", data, "--tokens", "0", "--json")
        assert found["nats_per_token"][who] == pytest.approx(json.loads(told)["nats_per_token"], rel=1e-9)
    train, val = (np.asarray(corpus(data).tokens(split)[:], np.int64) for split in ("train", "val"))
    counts = np.bincount(train, minlength=320)
    # Kneser-Ney takes a part of every count for what it has not seen: a few thousandths of a nat with 60,000 tokens.
    wanted = -np.log((counts + 0.5) / (counts + 0.5).sum())[val[1:]].mean()
    assert found["nats_per_token"]["unigram"] == pytest.approx(wanted, abs=0.02)
    assert found["nats_per_token"]["bigram"] < found["nats_per_token"]["unigram"]
    assert all(math.log(found["perplexity"][who]) == pytest.approx(n) for who, n in found["nats_per_token"].items())
    assert len(found["samples"]) == 3 and all(sample["text"] for sample in found["samples"])


def test_the_table_and_a_model_that_is_not_ternary(command, ternary):
    model, run = ternary
    code, out, err = command("audit", model, "--ternary")
    assert code == 0 and "every named weight is ternary" in out and "no perplexity and no samples" in err
    code, out, _ = command("audit", run / "models/dense", "--ternary", "--tokens", "100")
    assert code == 2 and "stored as bf16, which is not ternary" in out and out.rstrip().endswith("FAILED: not ternary")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--twin", "{run}/models/dense/model.wl"], "--twin is compared on held-out text, and there is none"),
        (["--tensors", "blok.*"], "--tensors 'blok.*' meets no matrix"),
        (["--claim", "x.json"], "--claim does nothing with --ternary"),
        (["--twin", "nowhere.wl"], "nowhere.wl: no such file"),
        (["--data", "{run}/data", "--twin", "{run}/models/ngram/model.wl", "--tensor", "x"], "--tensors"),
    ],
)
def test_what_cannot_be_is_refused(command, ternary, more, told):
    model, run = ternary
    code, out, err = command("audit", model, "--ternary", *(word.format(run=run) for word in more))
    assert code == 2 and told in err + out
    code, _, err = command("audit", run, "--ternary")
    assert code == 2 and "--ternary looks at one packed model" in err
    code, _, err = command("audit", model, "--twin", "x")
    assert code == 2 and "--twin does nothing without --ternary" in err
