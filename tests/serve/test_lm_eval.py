"""lm-eval itself, with a packed model in it and against a server, on three tiny tasks of lm_eval_tasks/.

Oracles: the engine's nats; `evals.evaluate`, whose bits per byte `weightless eval` prints; `decode.generate`; and
lm-eval's own windows over a document.  Tolerance 1e-9: the same float64 nats, added and divided in another order.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed: ./do setup dev lm-eval")

from weightless.base.errors import ConfigError
from weightless.decode.generate import document_ids, generate
from weightless.decode.sampling import Sampling
from weightless.evals.bits_per_byte import evaluate, windows

pytestmark = pytest.mark.filterwarnings("ignore")  # the package warns of its own dependencies
TASKS = Path(__file__).parent / "lm_eval_tasks"
ALL = ["tiny_moral", "tiny_documents", "tiny_beginnings"]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (TASKS / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """The tasks where their data are named by their place, and a cache of data sets of their own."""
    folder = tmp_path_factory.mktemp("tasks")
    for path in TASKS.iterdir():
        if path.suffix == ".yaml":
            (folder / path.name).write_text(path.read_text().replace("__HERE__", str(folder)))
        else:
            shutil.copy(path, folder)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**OFFLINE, "HF_HOME": str(folder / "cache")}.items():
            patched.setenv(name, value)
        yield folder


@pytest.fixture(scope="module")
def found(tasks, shelf):
    """Results and samples of all three tasks, by lm-eval's own evaluation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        import weightless.serve.lm_eval_model as registered

        assert registered.WeightlessLM.__mro__[1].__name__ == "TemplateLM"
        return simple_evaluate(
            "weightless",
            model_args={"path": str(shelf["dense"]), "seed": 3},
            tasks=ALL,
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            log_samples=True,
            bootstrap_iters=0,
        )


def nats(packed, text: str) -> np.ndarray:
    ids = np.array(document_ids(packed, packed.tokenizer.encode(text)))
    return packed.engine().score_stream(ids[:-1], ids[1:])


def test_choices_are_judged_by_the_engine(found, packed):
    model = packed["dense"]
    for row, sample in zip(rows("moral"), found["samples"]["tiny_moral"], strict=True):
        for choice, ((log_p, _),) in zip(row["choices"], sample["resps"], strict=True):
            n = len(model.tokenizer.encode(row["question"].rstrip()))  # spaces belong to what follows
            whole = nats(model, f"{row['question']} {choice}")
            assert float(log_p) == pytest.approx(-whole[n:].sum(), abs=1e-9)
    best = [np.argmax([float(log_p) for ((log_p, _),) in s["resps"]]) for s in found["samples"]["tiny_moral"]]
    right = np.mean([choice == row["answer"] for choice, row in zip(best, rows("moral"), strict=True)])
    assert found["results"]["tiny_moral"]["acc,none"] == pytest.approx(right)


def test_bits_per_byte_are_those_of_eval(found, packed):
    model = packed["dense"]
    total, n_bytes = 0.0, 0
    assert len(model.tokenizer.encode(rows("documents")[-1]["text"])) > 2 * model.program.context, "several windows"
    for row in rows("documents"):
        ids = document_ids(model, model.tokenizer.encode(row["text"]))
        table, mark = model.tokenizer.token_bytes, [model.tokenizer.end_of_text]
        told = evaluate(model, ids, table, mark, n_threads=1, path="stepped")
        total, n_bytes = total + told.nats, n_bytes + told.n_bytes
        assert told.n_bytes == len(row["text"].encode())
    wanted = total / math.log(2) / n_bytes
    assert found["results"]["tiny_documents"]["bits_per_byte,none"] == pytest.approx(wanted, abs=1e-9)


def test_texts_are_those_of_generate(found, packed):
    sampling = Sampling(temperature=0.8, top_p=1.0, seed=3, max_tokens=9, stop=("q",))
    for row, sample in zip(rows("beginnings"), found["samples"]["tiny_beginnings"], strict=True):
        assert sample["resps"] == [[generate(packed["dense"], row["text"], sampling)["text"]]]


def test_the_same_prompt_again_is_drawn_with_the_next_seed(shelf, packed):
    from lm_eval.api.instance import Instance

    from weightless.serve.lm_eval_model import WeightlessLM

    model = WeightlessLM(path=str(shelf["dense"]), seed=3)
    how = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 8}
    asked = [Instance("generate_until", {}, (prompt, how), i) for i, prompt in enumerate(("Once", "The", "Once"))]
    wanted = [
        generate(packed["dense"], prompt, Sampling(1.0, 1.0, seed, 8))["text"]
        for prompt, seed in (("Once", 3), ("The", 3), ("Once", 4))
    ]
    assert model.generate_until(asked) == wanted
    with pytest.raises(ConfigError, match="adds no token"):
        model.loglikelihood([Instance("loglikelihood", {}, ("a", ""), 0)])


@pytest.mark.parametrize("n", [1, 4, 7, 8, 9, 17, 24, 30])
def test_windows_are_those_of_lm_eval(n):
    from lm_eval.utils import get_rolling_token_windows

    theirs = list(get_rolling_token_windows(list(range(1, n + 1)), prefix_token=0, max_seq_len=8, context_len=1))
    ours = [(list(range(a, c - 1)), list(range(b, c))) for a, b, c in windows(n + 1, 8, 8)]
    assert ours == theirs


def command(arguments: list[str], tasks: Path) -> subprocess.CompletedProcess[str]:
    where = {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(tasks / "cache"), "OPENAI_API_KEY": "none"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **OFFLINE, **where},
        capture_output=True,
        text=True,
        timeout=280,
    )


def results(folder: Path) -> dict:
    (path,) = folder.rglob("results_*.json")
    return json.loads(path.read_text())["results"]


@pytest.mark.slow
@pytest.mark.slow
def test_both_command_lines_agree(tasks, packed, shelf, port, tmp_path):
    """Our engine in lm-eval, and lm-eval's local-completions against our server, on texts that fit the window.

    Tolerance 1e-5: the server tells log-probabilities of a distribution in float32.
    """
    asked = ["--include_path", str(tasks), "--tasks", ",".join(ALL[:2]), "--limit", "2"]
    model = ["--model", "weightless", "--model_args", f"path={shelf['dense']}"]
    ours = command(["weightless.serve.lm_eval", *model, *asked, "--output_path", str(tmp_path / "ours")], tasks)
    assert ours.returncode == 0, ours.stderr
    settings = f"model=dense,max_length={packed['dense'].program.context}"
    address = f"base_url=http://127.0.0.1:{port}/v1/completions,{settings}"
    served = ["--model", "local-completions", "--model_args", address, "--output_path", str(tmp_path / "served")]
    theirs = command(["lm_eval", *served, *asked], tasks)
    assert theirs.returncode == 0, theirs.stderr
    here, there = results(tmp_path / "ours"), results(tmp_path / "served")
    for task, metric in (("tiny_moral", "acc,none"), ("tiny_documents", "bits_per_byte,none")):
        assert there[task][metric] == pytest.approx(here[task][metric], rel=1e-5)


@pytest.mark.slow
def test_a_wrong_argument_is_told_in_one_line(tasks, shelf):
    model = ["--model", "weightless", "--model_args", f"path={shelf['dense']},max_gen_tok=3"]
    done = command(["weightless.serve.lm_eval", *model, "--include_path", str(tasks), "--tasks", ALL[0]], tasks)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "weightless: --model_args: no option 'max_gen_tok', did you mean 'max_gen_toks'?"
    )
