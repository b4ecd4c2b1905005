"""Every command that a report shows, run as it is printed from the folder the run was started in, prints the figures.

Oracle: summary.json of the run, which the page and the tables are drawn from; the text of the page itself.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil

import pytest

from weightless.base.units import human_bytes
from weightless.data.text import fables

RECIPE = """
name = "small"

[data]
source = "docs"
vocab_size = 300

[eval]
tokens = 300
stride = 48

[sample]
prompt = "It's \\"so\\""
temperature = 0.7
seed = 3
max_tokens = 12

[[model]]
name = "dense"
family = "dense"
config = { d_model = 32, n_layers = 1, n_heads = 1, context = 64 }
train = { num_steps = 3, batch_size = 2, threads = 1, eval_tokens = 128 }

[[model]]
name = "ngram"
family = "ngram"
config = { order = 3, context = 64 }

[[model]]
name = "mix"
family = "mixture"
train = { num_steps = 3, batch_size = 2, threads = 1, eval_tokens = 128 }
[model.config]
context = 64
held_out = 300
neural_config = { d_model = 40, n_layers = 1, n_heads = 1, d_head = 16, d_ff = 24, rows_2 = 97, rows_3 = 89 }
counted_config = { order = 3 }
"""
FOLDER = "runs/a small run"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder that a person stands in: a recipe, a text, and the run of them, each with a space in its name."""
    from weightless.cli.main import main

    place = tmp_path_factory.mktemp("place")
    (place / "my text.txt").write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=3, n_bytes=40_000)))
    (place / "my recipe.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        arguments = ["run", "my recipe.toml", "--out", FOLDER, "--text", "my text.txt"]
        assert main([*arguments, "--only", "ngram"]) == 0
        assert shown(place / FOLDER, "weightless run")[0].endswith("--only ngram")
        assert main(arguments) == 0
    return place


def shown(folder, verb="weightless"):
    """The commands on the page, once each, as a browser copies them."""
    codes = re.findall(r"<code>(.*?)</code>", (folder / "report.html").read_text(), re.S)
    lines = [line for code in codes for line in html.unescape(code).splitlines()]
    return [line for line in dict.fromkeys(lines) if line.startswith(verb)]


def entry_of(folder, line):
    """The model that a command is about."""
    models = {model["name"]: model for model in json.loads((folder / "summary.json").read_text())["models"]}
    return next(models[name] for name in models if f"models/{name}/" in line or line.endswith(f"--only {name}"))


def holds(folder, line, command):
    """Run the line and compare what it prints with the summary."""
    program, verb, *rest = shlex.split(line)
    before = json.loads((folder / "summary.json").read_text())
    code, out, err = command(verb, *rest, *(["--json"] if verb in ("eval", "count") else []))
    assert program == "weightless" and code == 0, err
    if verb == "run":
        after = json.loads((folder / "summary.json").read_text())
        assert after["models"] == before["models"] and "bits per byte" in out
        return
    entry = entry_of(folder, line)
    if verb == "eval":
        found = json.loads(out)
        assert found["nats"] == pytest.approx(entry["nats"], rel=1e-12)  # the same sums, perhaps in another order
        assert all(found[key] == entry[key] for key in ("eval_tokens", "eval_bytes"))
        assert found["bits_per_byte"] == pytest.approx(entry["bits_per_byte"], rel=1e-12)
    elif verb == "count" and "--verify" in rest:
        assert json.loads(out)[0]["ok"]
    elif verb == "count":
        (found,) = json.loads(out).values()
        assert found["touched"] == entry["touched"] and found["parameters"] == entry["n_parameters"]
        assert found["components"] == entry["components"] and found["flops_per_token"] == entry["flops_per_token"]
        assert found["file"]["file"] == entry["stored"]["file"]
        assert found["stored"]["weights"] == entry["stored"]["weights"]
    else:
        assert verb == "generate" and out == entry["sample"]["prompt"] + entry["sample"]["text"] + "\n"
        assert f"{human_bytes(entry['sample']['bytes_per_token'])} touched per token" in err


def test_every_command_on_the_page_prints_its_figures(place, monkeypatch, command):
    monkeypatch.chdir(place)
    lines = shown(place / FOLDER)
    verbs = [line.split()[1] for line in lines]
    assert {verb: verbs.count(verb) for verb in verbs} == {"run": 2, "eval": 3, "count": 6, "generate": 3}
    for line in lines:
        holds(place / FOLDER, line, command)


def test_the_shortest_commands_say_the_same(place, monkeypatch, command):
    """Without its flags `eval` scores what the run scored, and says so; with 0 it scores everything."""
    monkeypatch.chdir(place)
    artifact = f"{FOLDER}/models/ngram/model.wl"
    holds(place / FOLDER, shlex.join(["weightless", "eval", artifact]), command)
    out = command("eval", artifact)[1]
    entry = entry_of(place / FOLDER, artifact)
    assert f"{entry['nats_per_token']:.4f} nats per token" in out and "as the run's recipe says" in out
    assert " of " in out and "all " in command("eval", artifact, "--tokens", "0", "--stride", "0")[1]
    assert f"{entry['n_parameters']:,} parameters" in command("count", artifact)[1]


def test_the_commands_of_a_run_that_was_moved_name_where_it_is(place, monkeypatch, command):
    monkeypatch.chdir(place)
    shutil.copytree(FOLDER, "moved")
    assert command("report", "moved")[0] == 0
    for line in shown(place / "moved"):
        assert FOLDER not in line and "moved" in line
        holds(place / "moved", line, command)
