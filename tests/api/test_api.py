"""import weightless: what Python is answered is what the command line prints.

Oracles: `weightless generate | eval | count --json` of the same artifact (equal, not close: it is the same code), the
model's own nats for its probabilities, and sys.modules of a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import weightless as wl
from weightless.cli.main import main
from weightless.data.text import fables

TRAIN = {"num_steps": 3, "batch_size": 2, "threads": 1, "eval_tokens": 256}
RECIPE = {
    "name": "small",
    "data": {"source": "fables", "vocab_size": 320},
    "eval": {"tokens": 700},
    "sample": {"prompt": "Once", "max_tokens": 8},
    "model": [
        {
            "name": "dense",
            "family": "dense",
            "config": {"d_model": 32, "n_layers": 1, "n_heads": 1, "context": 64},
            "train": TRAIN,
        },
        {"name": "ngram", "family": "ngram", "config": {"order": 3, "context": 64}},
    ],
}
STORY = "Once upon a time a hen met a fox. “Good day”, said the fox, and it was a naïve hen.\n" * 3
MODELS = ("dense", "ngram")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(the run, its text file): made by wl.train from a table."""
    folder = tmp_path_factory.mktemp("api")
    text = folder / "fables.txt"
    text.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=3, n_bytes=120_000)))
    return wl.train(RECIPE, out=folder / "run", text=text), text


@pytest.fixture
def told(capsys):
    """The JSON that a command line prints."""

    def run(*arguments):
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 0
        return json.loads(capsys.readouterr().out)

    return run


FRESH = """
import sys, time
began = time.process_time()
import weightless as wl
took = time.process_time() - began
assert took < 0.1, took
def loaded(*names):
    return {name.split(".")[0] for name in sys.modules} & {"numpy", "numba", "torch", *names}
assert not loaded("tyro", "rich"), loaded("tyro", "rich")
assert {"open", "train", "count", "WeightlessError"} <= set(dir(wl))
assert not loaded()
wl.count("gpt2-xl"), wl.count("dense")
assert not loaded() - {"numpy"}, loaded()
"""


def test_importing_is_light():
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_opening_and_writing_need_no_pytorch(made):
    program = (
        "import sys, weightless as wl\nm = wl.open(sys.argv[1])\nm.generate('A', max_tokens=3), m.score('A hen.'), "
        "m.ledger('A hen.'), m.next_token('A')\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program, made[0]["ngram"].artifact], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_is_there():
    for name in wl.__all__:
        assert getattr(wl, name) is not None
    assert issubclass(wl.ConfigError, wl.WeightlessError) and issubclass(wl.CorruptFileError, wl.WeightlessError)
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = wl.opne  # type: ignore[attr-defined]


def test_the_room_train_stays_a_room():
    import weightless.train.config as config
    from weightless import train

    assert train is sys.modules["weightless.train"] and train.config is config and callable(train)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.0}, {"seed": 5, "top_k": 7, "min_p": 0.02, "repetition_penalty": 1.2, "top_p": 0.9}]
    + [{"temperature": 1.0, "top_p": 1.0, "seed": 3}, {"stop": ["e", "an"], "past_end": True}],
)
def test_generate_is_the_command(made, told, name, options):
    path = made[0][name].artifact
    flags = []
    for flag, value in options.items():
        flags += [f"--{flag}", *(value if isinstance(value, list) else [] if value is True else [value])]
    wanted = told("generate", path, "--prompt", "Once upon", "--max_tokens", 40, "--json", *flags)
    model = wl.open(path)
    found = model.generate("Once upon", max_tokens=40, **options)
    assert found.to_plain() == wanted and str(found) == wanted["text"]
    assert "".join(model.stream("Once upon", max_tokens=40, **options)) == wanted["text"]


@pytest.mark.parametrize("name", MODELS)
def test_score_is_the_command(made, told, tmp_path, name):
    path = made[0][name].artifact
    file = tmp_path / "story.txt"
    file.write_text(STORY, encoding="utf-8")
    model = wl.open(path)
    for text, source in ((file, file), (STORY, file), (made[1], made[1])):
        wanted = told("eval", path, "--text", source, "--json")
        found = model.score(text)
        assert found.nats == wanted["nats"] and found.bits_per_byte == wanted["bits_per_byte"]
        assert (found.n_tokens, found.n_bytes) == (wanted["eval_tokens"], wanted["eval_bytes"])
    wanted = told("eval", path, "--text", file, "--stride", 9, "--tokens", 50, "--json")
    assert model.score(STORY, stride=9, tokens=50).nats == wanted["nats"]


@pytest.mark.parametrize("name", MODELS)
def test_documents_are_scored_each_after_the_mark(made, name):
    """Oracle: two documents shorter than a window together are one stream with a mark before each."""
    model = wl.open(made[0][name].artifact)
    first, second = "A hen.", "The fox said so."
    found = model.score([first, second])
    (mark,) = model.encode("<|endoftext|>")
    assert found.n_tokens == len(model.encode(first)) + 1 + len(model.encode(second))
    assert found.n_bytes == len(first + second)
    assert found.token_nats.sum() == pytest.approx(found.nats, rel=1e-12)
    p = model.next_token(first).probability(mark)
    assert -np.log(p) == pytest.approx(found.token_nats[len(model.encode(first))], abs=1e-5)  # float32 probabilities


@pytest.mark.parametrize("name", MODELS)
def test_ledger_is_the_command(made, told, name):
    run, text = made
    path = run[name].artifact
    model = wl.open(path)
    assert [model.ledger().to_plain()] == list(told("count", path, "--json").values())
    assert [model.ledger(head="full", positions=9).to_plain()] == list(
        told("count", path, "--head", "full", "--positions", 9, "--json").values()
    )
    wanted = next(iter(told("count", path, "--text", text, "--json").values()))
    found = model.ledger(text)
    assert found.to_plain() == wanted
    assert (found.T, found.U, found.lines * 64) == tuple(wanted["touched"][key]["mean"] for key in ("T", "U", "T64"))
    assert sum(found.components.values()) == pytest.approx(found.T, rel=1e-12)
    (tmp := Path(path).parent / "story.txt").write_text(STORY, encoding="utf-8")
    wanted = next(iter(told("count", path, "--text", tmp, "--json").values()))
    assert {**model.ledger(STORY).to_plain(), "measured_on": str(tmp)} == wanted


@pytest.mark.parametrize("name", MODELS)
def test_next_token_is_what_is_scored_and_drawn(made, name):
    model = wl.open(made[0][name].artifact)
    prompt = "Once upon a time"
    found = model.next_token(prompt)
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)  # float32
    ids = model.encode(prompt)
    before = model.next_token(model.decode(ids[:-1]))
    nats = model.score(prompt).token_nats[-1]
    assert -np.log(before.probability(ids[-1])) == pytest.approx(nats, abs=1e-5)
    top = found.top(5)
    assert [p for _, p in top] == sorted(found.probabilities, reverse=True)[:5]
    assert model.generate(prompt, max_tokens=1, temperature=0).text == top[0][0]
    greedy = model.next_token(prompt, temperature=0)
    assert greedy.entropy == 0 and greedy.probability(int(np.argmax(found.probabilities))) == 1
    assert found.entropy == pytest.approx(-(found.probabilities * np.log2(found.probabilities)).sum(), rel=1e-9)
    cut = model.next_token(prompt, top_k=3)
    assert np.count_nonzero(cut.probabilities) == 3 and cut.probability("e") in cut.probabilities
    long = "The fox said so. " * 30
    assert len(model.encode(long)) > model.context
    kept = model.encode("<|endoftext|>" + long)[-(model.context // 2) :]
    assert model.generate(long, max_tokens=1, temperature=0).text == model.next_token(long).top(1)[0][0]
    assert len(kept) == 32


def test_a_run_is_its_folder(made):
    run, _ = made
    assert run.summary == json.loads((run.folder / "summary.json").read_text()) and run.report.is_file()
    assert [model.name for model in run.models] == list(MODELS)
    for model in run.models:
        opened = model.open()
        assert (opened.family, opened.name) == (model.family, model.name)
        assert opened.n_parameters == model.entry["n_parameters"]
        assert opened.stored_bytes["file"] == model.artifact.stat().st_size
        assert (opened.vocab_size, opened.context) == (320, 64)
        assert opened.decode(opened.encode(STORY)) == STORY


def test_a_run_goes_on_and_is_the_commands(made, told, capsys):
    """The recipe that the run kept, given to `weightless run`, makes the same run: nothing is made again."""
    run, text = made
    before = {model.name: model.artifact.stat().st_mtime_ns for model in run.models}
    again = wl.train(RECIPE, out=run.folder, text=text, only="ngram")
    assert main(["run", str(run.folder / "recipe.toml"), "--out", str(run.folder)]) == 0
    capsys.readouterr()
    assert {model.name: model.artifact.stat().st_mtime_ns for model in again.models} == before
    with pytest.raises(wl.WeightlessError, match="has no model 'dens': did you mean 'dense'"):
        _ = run["dens"]


COUNTS = [
    ("gpt2-xl", {}, ""),
    ("dense", {}, ""),
    ("dense", {"set": {"d_model": 64, "n_heads": 2}, "head": "full"}, "--set d_model=64 n_heads=2 --head full"),
    ("dense", {"training": True, "batch_size": 3}, "--training --batch_size 3"),
    ("gpt2-xl", {"flops_per_second": 1e15, "tokens": 1e9, "context": 99}, "--flops_per_second 1e15 --tokens 1e9"),
]


@pytest.mark.parametrize("what, options, flags", COUNTS)
def test_count_is_the_command(told, what, options, flags):
    flags += " --context 99" if "context" in options else ""
    assert wl.count(what, **options) == told("count", what, "--json", *flags.split())


def test_a_closed_model_says_so(made):
    with wl.open(made[0]["ngram"].artifact) as model:
        assert "ngram" in repr(model) and "context 64" in repr(model)
    assert "closed" in repr(model)
    with pytest.raises(wl.WeightlessError, match="was closed: open it again"):
        model.generate("A")


BAD = [
    (lambda m: m.generate(3), "3 is no text"),
    (lambda m: m.generate("A", temperature="hot"), "temperature should be float, not 'hot'"),
    (lambda m: m.generate("A", temperature=-1), "temperature -1"),
    (lambda m: m.generate("A", top_p=0), "top_p 0"),
    (lambda m: m.generate("A", max_tokens=2.5), "max_tokens should be int, not 2.5"),
    (lambda m: m.stream("A", stop=[""]), "an empty stop string"),
    (lambda m: m.next_token("A", top_k=-1), "top_k -1"),
    (lambda m: m.next_token("A").probability("Once upon"), "not one: give an id"),
    (lambda m: m.next_token("A").probability(320), "an id from 0 to 319"),
    (lambda m: m.next_token("A").top(0), "at least 1"),
    (lambda m: m.decode([320]), "320"),
    (lambda m: m.decode(["a"]), "give ids"),
    (lambda m: m.score(""), "leave nothing to score"),
    (lambda m: m.score(7), "7 is no text"),
    (lambda m: m.score([7]), "7 is no text"),
    (lambda m: m.score("a\ud800"), "lone surrogate at character 1"),
    (lambda m: m.generate("a\ud800"), "lone surrogate at character 1"),
    (lambda m: m.next_token("\udfff"), "lone surrogate at character 0"),
    (lambda m: m.score("A hen.", stride=65), "larger than the model's context of 64"),
    (lambda m: m.score("A hen.", tokens=-1), "tokens = -1"),
    (lambda m: m.score("A hen.", path="blokced"), "did you mean 'blocked'"),
    (lambda m: m.score(Path("nowhere.txt")), "no such file or folder: nowhere.txt"),
    (lambda m: m.ledger(head="ful"), "did you mean 'full'"),
    (lambda m: m.ledger(positions=0), "at least 1"),
    (lambda m: wl.open("nowhere.wl"), "nowhere.wl"),
    (lambda m: wl.open(Path(m.path).parent), "give the model in it, "),
    (lambda m: wl.open(3), "give the path of a packed model"),
    (lambda m: wl.count("dens"), "did you mean 'dense'"),
    (lambda m: wl.count("dense", set={"d_modle": 3}), "did you mean 'd_model'"),
    (lambda m: wl.count("dense", set={"d_model": None}), "d_model = None"),
    (lambda m: wl.count("dense", set=[("d_model", 3)]), "should be a table"),
    (lambda m: wl.count("dense", mfu=0.4), "mfu does nothing for dense"),
    (lambda m: wl.count("gpt2-xl", head="full"), "head does nothing for gpt2-xl"),
    (lambda m: wl.train("dmeo"), "did you mean 'demo'"),
    (lambda m: wl.train(3), "recipe = 3"),
    (lambda m: wl.train({**RECIPE, "modle": []}), "did you mean 'model'"),
    (lambda m: wl.train(RECIPE, only="dens"), "did you mean 'dense'"),
]


@pytest.mark.parametrize("call, message", BAD, ids=[message for _, message in BAD])
def test_wrong_values_are_one_line(made, tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    model = wl.open(made[0]["dense"].artifact)
    with pytest.raises(wl.WeightlessError) as error:
        call(model)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_wrong_names_are_type_errors(made):
    model = wl.open(made[0]["ngram"].artifact)
    for call in (model.generate, model.stream, model.next_token, model.score, model.ledger):
        with pytest.raises(TypeError, match="temprature"):
            call("A", temprature=1)
    with pytest.raises(TypeError, match="outt"):
        wl.train("demo", outt="x")
    with pytest.raises(TypeError, match="trainig"):
        wl.count("dense", trainig=True)


def test_threads_may_share_a_model(made):
    """Oracle: the same calls one after the other."""
    model = wl.open(made[0]["dense"].artifact)

    def asked(seed):
        written = model.generate("A fox", max_tokens=30, seed=seed).text
        return written, model.score(STORY + written, threads=1).nats, model.next_token(written).entropy

    alone = [asked(seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(asked, range(8))) == alone
    assert len(set(alone)) > 1


def test_a_damaged_file_is_refused(made, tmp_path):
    whole = bytearray(Path(made[0]["dense"].artifact).read_bytes())
    whole[5000] ^= 1
    (tmp_path / "model.wl").write_bytes(whole)
    with pytest.raises(wl.CorruptFileError, match="model.wl"):
        wl.open(tmp_path / "model.wl")


def test_help_reads_well():
    done = subprocess.run([sys.executable, "-m", "pydoc", "weightless"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for line in ("model = wl.open(", "run = wl.train(", "generate(self, prompt", "count(what", "class Distribution"):
        assert line in done.stdout, line
