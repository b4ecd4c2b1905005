"""Names that no file can have, wherever one is asked for: one line, exit code 2, nothing written.

Oracle: the promise of docs/reliability.md; POSIX allows no file name of 5,000 bytes and no NUL in one.
"""

from __future__ import annotations

import pytest

LONG = "n" * 5000
RECIPE = """
name = "names"
[data]
source = "{source}"
vocab_size = 300
[[model]]
name = "dense"
family = "dense"
config = {{ d_model = 32, n_layers = 1, n_heads = 1, context = 64 }}
train = {{ num_steps = 3, batch_size = 2, eval_tokens = 256{more} }}
"""


@pytest.mark.parametrize(
    "words",
    [
        ("run", LONG),
        ("run", LONG + ".toml"),
        ("demo", "--out", LONG),
        ("report", LONG),
        ("report", LONG, LONG + "2", "--out", "o"),
        ("tokenizer", "train", LONG, "--out", "t.json"),
        ("tokenizer", "convert", LONG, "t.json"),
        ("data", "prepare", LONG, "--text", "fables"),
        ("data", "prepare", "o", "--text", LONG),
        ("data", "import", LONG, "o"),
        ("data", "inspect", LONG),
        ("launch", "--logs", LONG, "--", "count", "dense"),
        ("train", "--data", LONG),
        ("train", "--data", "d", "--text", LONG),
        ("train", "--out", LONG),
        ("train", "--out", "a-file/model"),
        ("pack", LONG),
        ("eval", LONG),
        ("count", LONG),
        ("count", LONG + ".toml"),
        ("audit", LONG),
        ("audit", LONG + ".py:f"),
        ("generate", LONG),
        ("explain", LONG, "--text", "a"),
    ],
    ids=lambda words: " ".join(word.replace(LONG, "LONG") for word in words),
)
def test_a_name_on_the_command_line(words, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("kept")
    code, _, err = command(*words)
    told = [line for line in err.splitlines() if line.startswith("weightless ")]
    assert code == 2 and len(told) == 1 and len(told[0]) < 1300 and ("nnn" in told[0] or "a-file" in told[0])
    assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["a-file"]


@pytest.mark.parametrize("name", [LONG, "\u00e9" * 200, "a\\u0000b", "a-file/b"], ids=["long", "bytes", "NUL", "below"])
@pytest.mark.parametrize("key", ["source", "validation", "score_file"])
def test_a_name_in_a_recipe(name, key, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("kept")
    source = {"source": name, "validation": f'fables"\nvalidation = "{name}'}.get(key, "fables")
    more = f', order = "score", score_file = "{name}"' if key == "score_file" else ""
    (tmp_path / "r.toml").write_text(RECIPE.format(source=source, more=more))
    code, _, err = command("run", "r.toml", "--out", "out")
    told = [line for line in err.splitlines() if line.startswith("weightless ")]
    assert code == 2 and len(told) == 1 and "no such file" in told[0]
    assert not list(tmp_path.glob("out/**/*.json"))
