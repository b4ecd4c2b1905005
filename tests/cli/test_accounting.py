"""weightless count --training, --flops and weightless fit.

Oracles: the figures of docs/accounting.md, the ledger called directly, the recipe that made the small run.
"""

from __future__ import annotations

import json

import pytest


def account(command, *arguments):
    code, out, err = command("count", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_published_model_by_name(command):
    plan = (
        "--device_memory",
        "80GB",
        "--batch-size",
        "1024",
        "--flops_per_second",
        "495e12",
        "--tokens",
        "419430400e3",
    )
    result = account(command, "gpt2-xl", "--training", *plan)["gpt2-xl"]
    assert result["parameters"]["total"] == 2_127_057_600 and result["flops"]["forward"] == 4_513_336_524_800
    assert result["memory"]["largest_batch"] == 2 and result["stored"]["formats"]["f32"] == 8_508_230_400
    assert result["time"]["steps"] == 400_000 and round(result["time"]["days"]) == 259
    narrower = account(command, "gpt2-xl", "--flops", "--set", "d_ff=4288", "--context", "16384")["gpt2-xl"]
    assert narrower["parameters"]["total"] == 1_640_452_800 and narrower["stored"]["shipped"] is None
    golf = account(command, "parameter-golf-baseline")["parameter-golf-baseline"]
    assert (golf["parameters"]["total"], golf["stored"]["shipped"]) == (17_059_912, 17_178_912)
    assert golf["stored"]["kept"] == 67_191_072
    deeper = account(command, "parameter-golf-baseline", "--set", "n_layers=10")["parameter-golf-baseline"]
    assert deeper["parameters"]["total"] == 18_897_488 and deeper["stored"]["shipped"] is None


@pytest.mark.parametrize("flag", ["--training", "--flops"])
def test_tables_hold_the_sums(command, flag):
    code, out, _ = command("count", "tinystories-10k", flag)
    assert code == 0 and "22,696,448" in out and "12,456,448" in out
    assert ("9,533,652,992" in out) == (flag == "--flops")  # 256 x 37,240,832
    assert ("Largest" not in out) and (("peak" in out) == (flag == "--training"))


def test_causal_attention_is_about_half(command):
    full, causal = (account(command, "dense", "--flops", *more)["dense"]["flops"] for more in ((), ("--causal",)))
    line = "attention scores and values"
    assert causal["components"][line] * 1024 == full["components"][line] * 513  # T (T + 1) / 2 of T T, T = 512
    assert causal["components"]["head"] == full["components"]["head"]


def test_a_recipe_an_artifact_and_a_folder_agree(command, small_run):
    folder, recipe, _ = small_run
    of_recipe = account(command, recipe, "--training")
    assert set(of_recipe) == {"dense", "feather"}, "what is counted is not trained"
    assert of_recipe["dense"]["optimizer"] == "muon" and of_recipe["dense"]["memory"]["batch_size"] == 2
    plan = ("--training", "--optimizer", "muon", "--batch_size", "2")
    of_folder = account(command, folder / "models/dense", *plan)["dense"]
    of_file = next(iter(account(command, folder / "models/dense/model.wl", *plan).values()))
    assert of_file["stored"]["shipped"] == (folder / "models/dense/model.wl").stat().st_size
    for result in (of_folder, of_file):
        assert result["memory"] == of_recipe["dense"]["memory"] and result["flops"] == of_recipe["dense"]["flops"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gpt2-xxl", "--training"), "did you mean 'gpt2-xl'?"),
        (("gpt2-xl", "--training", "--optimizer", "adam"), "did you mean 'adamw'?"),
        (("gpt2-xl", "--set", "d_fff=3"), "did you mean 'd_ff'?"),
        (("parameter-golf-baseline", "--set", "n_layers=ten"), "n_layers should be int"),
        (("gpt2-xl", "--set", "n_heads=7"), "does not split into 7 heads"),
        (("gpt2-xl", "--training", "--device_memory", "16GB"), "most of it optimizer state"),
        (("gpt2-xl", "--training", "--flops_per_second", "1e12", "--mfu", "1.5"), "mfu = 1.5"),
        (("ngram", "--training"), "is counted, not trained"),
        (("dense", "--training", "--set", "d_modl=3"), "did you mean 'd_model'?"),
    ],
)
def test_wrong_questions_get_one_line(command, arguments, message):
    code, _, err = command("count", *arguments)
    assert code == 2 and message in err and err.count("\n") == 1


def test_fit_prints_dials_margins_and_a_command_that_counts_the_same(command):
    question = ("fit", "feather", "--touched", "160kB", "--stored", "4MB", "--vocab", "512", "--positions", "3")
    code, out, _ = command(*question)
    assert code == 0 and "one more exceeds" in out and "margin" in out and "file header and tables" in out
    result = json.loads(command(*question, "--json")[1])
    counted = json.loads(command(*result["command"].split()[1:], "--positions", "3", "--json")[1])["feather"]
    assert counted["touched"]["T"]["mean"] == pytest.approx(result["budgets"]["touched"]["amount"], rel=1e-12)
    assert all(0 <= budget["margin"] < budget["limit"] for budget in result["budgets"].values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dense", "--touched", "1MB", "--vocab", "50257"), "the head alone takes 6.43 MB"),
        (("dense",), "give at least one budget"),
        (("dense", "--stored", "1MB", "--positions", "0"), "--positions 0"),
        (("dense", "--stored", "1MB", "--positions", "-5"), "--positions -5"),
        (("dense", "--touched", "much"), "is not a size in bytes"),
        (("denser", "--touched", "1MB"), "did you mean 'dense'?"),
        (("dense", "--stored", "1MB", "--set", "n_layer=3"), "did you mean 'n_layers'?"),
    ],
)
def test_budgets_that_cannot_be_kept_or_read(command, arguments, message):
    code, _, err = command("fit", *arguments)
    assert code == 2 and message in err and err.count("\n") == 1
