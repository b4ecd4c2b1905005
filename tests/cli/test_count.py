"""weightless count: verification, comparison, text, mode, picture.  Oracles: the ledger itself, and planted faults."""

from __future__ import annotations

import json
import shlex
import shutil
import xml.etree.ElementTree as ET

import pytest

from weightless.base.units import human_bytes
from weightless.program.operators.feedforward import NormFfnAdd

SMALL = ("--set", "d_model=32", "n_layers=1", "vocab_size=97", "context=17")


def test_verify_a_run_with_its_own_text(command, small_run):
    code, out, err = command("count", small_run[0], "--verify", "--json")
    found = {one["name"]: one for one in json.loads(out)}
    assert code == 0 and err == "" and set(found) == {"dense", "feather", "ngram"}
    for name, one in found.items():
        verdicts = {counter["name"]: counter["verdict"] for counter in one["counters"]}
        assert one["ok"] and one["fed"] == "text" and one["poison"]["complete"] and one["poison"]["tight"]
        assert verdicts["engine log"] == verdicts["compiled engine"] == verdicts["poison"] == "agrees"
        assert verdicts["torch trace"] == ("skipped" if name == "ngram" else "agrees")


def test_verify_prints_the_counters_side_by_side(command):
    code, out, _ = command("count", "dense", *SMALL, "--verify")
    assert code == 0
    for words in ("formula", "engine log", "torch trace", "kv cache", "poison", "compiled engine  agrees"):
        assert words in out


def test_a_disagreement_is_an_error_with_an_exit_code(command, monkeypatch):
    honest = NormFfnAdd.accesses
    monkeypatch.setattr(NormFfnAdd, "accesses", lambda self, *rest: honest(self, *rest)[1:])
    code, out, err = command("count", "dense", *SMALL, "--verify")
    assert code == 2 and "differs" in out
    assert err.startswith("weightless count: dense: engine log: position 1, operator norm_ffn_add")
    code, out, _ = command("count", "dense", *SMALL, "--verify", "--json")
    assert code == 2 and json.loads(out)[0]["ok"] is False


def test_two_models_line_by_line(command, small_run):
    models = small_run[0] / "models"
    code, out, _ = command("count", models / "dense", models / "feather", "--json")
    found = json.loads(out)
    assert code == 0 and (found["a"], found["b"]) == ("dense", "feather")
    ledgers = found["ledgers"]
    lines = {(line["quantity"], line["line"]): line for line in found["lines"]}
    for quantity in ("T", "U", "T64"):
        total = lines[quantity, "total"]
        assert total["a"] == pytest.approx(ledgers["dense"]["touched"][quantity]["mean"])
        assert total["b"] == pytest.approx(ledgers["feather"]["touched"][quantity]["mean"])
        assert total["ratio"] == pytest.approx(total["a"] / total["b"])
        parts = [line for (q, name), line in lines.items() if q == quantity and name != "total"]
        assert sum(line["a"] for line in parts) == pytest.approx(total["a"])
    assert lines["stored", "total"]["b"] == ledgers["feather"]["stored"]["weights"]
    assert lines["T", "lookup rows"]["a"] == 0 and lines["T", "logits"]["ratio"] is None
    assert "A / B" in command("count", models / "dense", models / "feather")[1]
    code, _, err = command("count", small_run[0], "dense")
    assert code == 2 and "one side has 3 (dense, feather, ngram)" in err


def test_two_of_one_name_are_told_apart(command):
    code, out, _ = command("count", "dense", "dense", *SMALL, "--json")
    assert code == 0 and set(json.loads(out)["ledgers"]) == {"dense (A)", "dense (B)"}


def test_on_text_the_engine_measures(command, small_run, tmp_path):
    """For an exact model T is the formula's at the positions measured; for counts it is below the bound."""
    models, text = small_run[0] / "models", small_run[2]
    by_formula, on_text = (
        json.loads(command("count", models / "feather", "--json", *more)[1])["feather"]
        for more in ((), ("--text", text, "--tokens", "128"))
    )
    assert on_text["n_steps"] == 128 and on_text["measured_on"] == str(text)
    assert on_text["touched"]["T"]["mean"] == pytest.approx(by_formula["touched"]["T"]["mean"])
    (tmp_path / "ngram").mkdir()
    shutil.copy(models / "ngram" / "model.wl", tmp_path / "ngram")  # away from the run's text
    bound, real, of_run = (
        json.loads(command("count", where / "ngram", "--json", *more)[1])["ngram"]
        for where, more in ((tmp_path, ()), (models, ("--text", text, "--tokens", "128")), (models, ()))
    )
    assert not bound["exact"] and real["exact"] and of_run["exact"] and "run" in of_run["measured_on"]
    assert bound["parameters"] == of_run["parameters"] > 0 and not bound["stored"]["is_bound"]
    assert real["touched"]["T"]["max"] <= bound["touched"]["T"]["max"]
    code, _, err = command("count", "dense", "--text", text)
    assert code == 2 and "needs weights" in err


@pytest.mark.parametrize(
    ("family", "most"), [("recurrent", ["feed-forward", "attention"]), ("dense", ["activations"]), ("ngram", [])]
)
def test_a_sentence_says_why_distinct_bytes_are_fewer(family, most, command):
    ledger = json.loads(command("count", family, "--json")[1])[family]
    out = command("count", family)[1]
    told = next(line for line in out.splitlines() if "distinct (U)" in line)
    assert human_bytes(ledger["touched"]["U"]["mean"]) in told and told.startswith("at most") != ledger["exact"]
    for name in most:
        (part,) = (part for part in ledger["components"] if part["name"] == name)
        assert f"{human_bytes(part['T'] - part['U'])} more in {name}" in told


def test_modes_are_heads(command):
    ledgers = [
        json.loads(command("count", "feather", *more, "--json")[1])["feather"]
        for more in ((), ("--mode", "S"), ("--mode", "F"), ("--head", "full"))
    ]
    assert ledgers[0] == ledgers[1] and ledgers[2] == ledgers[3]
    assert ledgers[2]["touched"]["T"]["mean"] > ledgers[0]["touched"]["T"]["mean"]
    code, _, err = command("count", "feather", "--mode", "F", "--head", "score")
    assert code == 2 and "contradicts" in err


def test_a_bound_is_called_a_bound(command, small_run):
    """What a recipe stores of an n-gram follows from a text that nobody counted; what it trains follows from itself."""
    ledgers = json.loads(command("count", small_run[1], "--json")[1])
    assert ledgers["ngram"]["stored"]["is_bound"] and not ledgers["dense"]["stored"]["is_bound"]
    out = command("count", small_run[1])[1]
    assert out.count("stored, at most") == 1 and "at most" in out.rpartition("per token (MB")[0].splitlines()[-1]
    two = command("count", small_run[0] / "models" / "ngram", "ngram")[1]
    assert "ngram (B): stored bytes are a bound" in two and "ngram (A): stored" not in two


def test_pictures(command, small_run, tmp_path):
    svg, png = tmp_path / "p.svg", tmp_path / "p.png"
    assert command("count", small_run[1], "--picture", svg)[0] == 0
    assert command("count", small_run[0], "--picture", png)[0] == 0
    words = "".join(ET.fromstring(svg.read_text()).itertext())
    assert all(word in words for word in ("dense", "feather", "ngram, at most", "kv cache", "to one scale"))
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 10_000
    assert command("count", "dense", "--picture", tmp_path / "one.png")[0] == 0
    code, _, err = command("count", "dense", "--picture", tmp_path / "p.jpg")
    assert code == 2 and ".svg or .png" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("chess", "--set", "n_layers=10"), "'chess' is no file, no family and no published model"),
        (
            ("densr", "--set", "d_model=32"),
            "'densr' is no file, no family and no published model: did you mean 'dense'?",
        ),
        (("dense", "--head", "scor"), "did you mean 'score'"),
        (("dense", "--verify", "--mode", "F"), "checks scoring"),
        (("dense", "feather", "--verify"), "takes one X"),
        (("dense", "--positions", "0"), "at least 1"),
        (("dense", "--verify", "--text", "x.txt"), "needs weights"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(command, arguments, told):
    code, _, err = command("count", *arguments)
    assert code == 2 and told in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("dense", "--touched", "700kB", "--vocab", "512"),
        ("dense", "--touched", "500kB", "--vocab=512", "--positions", "40", "--set", "tied=false", "kv_format=int8"),
        ("feather", "--touched", "100kB", "--stored", "4MB", "--positions", "100"),
        ("ngram", "--touched", "3kB", "--set", "order=3", "min_counts=[1, 1, 2]"),
        ("mixture", "--touched", "200kB", "--vocab", "600"),
    ],
    ids=lambda words: "-".join(words[:1] + words[-1:]),
)
def test_the_command_that_fit_prints_counts_what_fit_found(command, words):
    """The line is run as a shell reads it.  Oracle: the figures of the fit itself."""
    code, out, err = command("fit", *words)
    assert code == 0, err
    line = out.splitlines()[-1]
    code, out, err = command("fit", *words, "--json")
    fitted = json.loads(out)
    assert line == fitted["command"]
    program, *again = shlex.split(line)
    assert program == "weightless"
    code, out, err = command(*again, "--json")
    assert code == 0, err
    (counted,) = json.loads(out).values()
    touched, stored = counted["touched"]["T"]["mean"], counted["stored"]["components"]
    assert touched == pytest.approx(fitted["budgets"]["touched"]["amount"], rel=1e-12)
    if "stored" in fitted["budgets"]:
        sizes = {part: amounts["stored"] for part, amounts in fitted["components"].items() if amounts["stored"]}
        assert stored == {part: n for part, n in sizes.items() if part in stored}
        assert sum(stored.values()) == counted["stored"]["weights"]


def test_the_recipe_of_recurrence_has_the_controls_that_it_says(command):
    """The same T for loop, deep and wide, the same stored bytes for loop and large, and all of it for seconds, too."""
    code, out, _ = command("count", "recipes/recurrent.toml", "--json")
    ledgers = json.loads(out)
    T = {name: ledger["touched"]["T"]["mean"] for name, ledger in ledgers.items()}
    stored = {name: ledger["stored"]["weights"] for name, ledger in ledgers.items()}
    assert code == 0 and all(T[name] == pytest.approx(T["loop"], rel=2e-3) for name in ("loop-no-rows", "deep", "wide"))
    assert stored["large"] == pytest.approx(stored["loop"], rel=1e-3) and T["large"] < 0.6 * T["loop"]
    for name in ("loop", "deep", "large"):
        assert T[f"{name}-240s"] == T[name] and stored[f"{name}-240s"] == stored[name]
