"""What experts and slots are asked for reaches whoever trains them: a line at the end, the record, and the report page.

Oracle: shares of a block sum to one, up to the six digits that are kept; slots used are no more than tokens asked for.
"""

from __future__ import annotations

import json

import pytest

from weightless.data.text import fables

RECIPE = """
name = "load"
[data]
source = "{text}"
vocab_size = 300
[eval]
tokens = 256
[sample]
max_tokens = 4
[[model]]
name = "few"
family = "experts"
config = {{ d_model = 32, n_layers = 2, n_heads = 2, n_experts = 5, d_expert = 8, context = 64 }}
train = {{ num_steps = 3, batch_size = 2, threads = 1, eval_tokens = 128 }}
[[model]]
name = "slots"
family = "memory"
config = {{ d_model = 32, n_layers = 2, n_heads = 2, d_ff = 16, n_slots = 1089, top_k = 2, d_key = 4, context = 64 }}
train = {{ num_steps = 3, batch_size = 2, threads = 1, eval_tokens = 128 }}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("load")
    text = folder / "fables.txt"
    text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=40_000)))
    (folder / "load.toml").write_text(RECIPE.format(text=text.as_posix()))
    return folder / "load.toml"


def test_load_is_recorded_shown_and_told(recipe, tmp_path, command):
    folder = tmp_path / "run"
    code, _, err = command("run", recipe, "--out", folder)
    assert code == 0, err
    entry, slots = json.loads((folder / "summary.json").read_text())["models"]
    assert [len(shares) for shares in entry["used"].values()] == [5, 5]
    assert all(abs(sum(shares) - 1) < 5e-6 for shares in entry["used"].values())
    (summary,) = slots["used"].values()
    assert summary["n"] == 2 * 1089 and 0 < summary["lately"] <= summary["ever"] <= 3 * 2 * 64 * 4 / summary["n"]
    assert 0 < summary["effective"] <= summary["n"] * summary["lately"] + 0.05 and summary["busiest"] >= 1
    told = [check["detail"] for check in slots["checks"] if check["name"] == "load of slots of block 1"]
    assert told and f"of 2,178 slots {summary['ever']:.1%} ever used" in told[0]
    page = (folder / "report.html").read_text()
    assert "Are all experts used?" in page and "Are all slots used?" in page and f"{summary['ever']:.1%}" in page
    code, out, err = command(
        "train",
        "experts",
        "--data",
        folder / "data",
        "--out",
        tmp_path / "one",
        "--d_model=32",
        "--n_layers=2",
        "--n_heads=2",
        "--n_experts=5",
        "--d_expert=8",
        "--context=64",
        "--num_steps=3",
        "--batch_size=2",
        "--eval_tokens=128",
        "--threads=1",
    )
    assert code == 0, err
    assert "experts: the busiest is used " in out and " of 10 never" in out


def test_the_recipe_compares_models_that_touch_the_same(command):
    code, out, _ = command("count", "recipes/experts.toml", "--json")
    ledgers = json.loads(out)
    touched = {name: ledger["touched"]["T"]["mean"] for name, ledger in ledgers.items()}
    stored = {name: ledger["stored"]["weights"] for name, ledger in ledgers.items()}
    assert code == 0 and set(ledgers) == {"tiny-loss", "tiny-bias", "few-loss", "few-bias", "dense"}
    assert max(touched.values()) < 1.003 * min(touched.values())
    assert abs(stored["tiny-loss"] / stored["few-loss"] - 1) < 0.04


def test_the_recipe_of_memories_compares_models_that_touch_the_same(command):
    code, out, _ = command("count", "recipes/memory.toml", "--json")
    ledgers = json.loads(out)
    touched = {name: ledger["touched"]["T"]["mean"] for name, ledger in ledgers.items()}
    assert code == 0 and set(ledgers) == {"dense", "values", "values-many", "neurons", "experts"}
    assert max(touched.values()) < 1.003 * min(touched.values())
