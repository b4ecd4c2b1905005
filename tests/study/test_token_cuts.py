"""Losses of unlike tokens: bits per byte over the same text, or no comparison.  Oracle: messages and a page."""

from __future__ import annotations

import tomllib

import pytest
from study.planted import cell, evidence
from study.small_study import STUDY

from weightless.base.errors import ConfigError
from weightless.study.arms import arms_of
from weightless.study.study_file import study_of
from weightless.study.token_cuts import check_tokens, same_tokens
from weightless.study.writeup import write

BASE = STUDY.format(text="fables", steps=4, seeds="[0, 1]", rates="[1e-3]").partition("[grid]")[0]
TWO = '[[arm]]\nname = "a"\n[[arm]]\nname = "b"\n"data.vocab_size" = 310\n'


def checked(text, *predictions):
    study = study_of(tomllib.loads(text))
    object.__setattr__(study.question, "prediction", predictions)
    check_tokens(study, arms_of(study)[0])


def sampled(text, tokens):
    head, _, rest = text.partition("[eval]\n")
    return f"{head}[eval]\ntokens = {tokens}\n" + rest.partition("\n")[2]


def test_a_sample_is_refused_where_it_would_be_other_text_for_each():
    assert "[eval]\ntokens" in BASE
    checked(sampled(BASE, 0) + TWO)
    checked(sampled(BASE, 64) + TWO.replace("data.vocab_size", "config.d_model").replace("310", "16"))
    for other in ('"data.vocab_size" = 310', '"data.pattern" = "gpt4"'):
        with pytest.raises(ConfigError, match="arms 'a' and 'b' cut one text .* eval.tokens = 0 scores all"):
            checked(sampled(BASE, 64) + TWO.replace('"data.vocab_size" = 310', other))
    checked(sampled(BASE, 64) + TWO + '"data.source" = "docs"\n')  # two texts are two questions


def test_nats_of_unlike_tokens_are_refused_in_predictions():
    text = sampled(BASE, 0) + TWO
    checked(text, "a - b < 0.1 bits", "a < b", "a.nats_per_token < 9 nats", "order(a, b)", "a.touched < b.touched")
    for wrong in ("a - b < 0.1 nats", "a.val_loss < b.val_loss", "a.nats_per_token < b.nats_per_token"):
        with pytest.raises(ConfigError, match="a and b have different tokens.*compare bits per byte"):
            checked(text, wrong)


def test_what_a_token_is_cannot_be_chosen_by_the_loss_per_token():
    with pytest.raises(ConfigError, match=r"tune: the lowest loss per token is chosen, and data.vocab_size"):
        checked(sampled(BASE, 0) + '[[arm]]\nname = "a"\ntune = { "data.vocab_size" = [290, 300] }\n')
    with pytest.raises(ConfigError, match="search.parameters: the lowest loss"):
        checked(
            sampled(BASE, 0)
            + '[search]\ntrials = 2\n[search.parameters]\n"data.vocab_size" = { low = 280, high = 300 }\n'
        )


def test_settings_of_the_same_tokens():
    assert same_tokens({"train.max_lr": 1}, {"train.max_lr": 2})
    assert same_tokens({"data.source": "a"}, {"data.source": "a", "family": "dense"})
    assert not same_tokens({"data.vocab_size": 300}, {})


def test_a_page_of_vocabularies_compares_bits_per_byte_alone(tmp_path):
    cells = [
        cell(f"v{size}", seed, loss + seed / 100, setting={"data.vocab_size": size})
        for size, loss in ((300, 2.0), (600, 3.0))
        for seed in (0, 1, 2)
    ]
    write(evidence(cells, kind="vocabulary"), tmp_path)
    page = (tmp_path / "writeup.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| v600"))
    assert "bits" in row and "nats" not in row and "higher" in row
    assert "Lowest loss: v300" in page
