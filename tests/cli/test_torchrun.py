"""The command line as torchrun starts it, in two processes.

Oracle: the same command in one process; what a signal or a kill leaves is read from the checkpoint.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import several_processes as several

from weightless.cli.main import main
from weightless.train.checkpoint import read_state

pytestmark = pytest.mark.slow
SHAPE = "config = { d_model = 32, n_layers = 1, n_heads = 2, context = 32 }"
RECIPE = f"""
name = "several"
[data]
source = "TEXT"
vocab_size = 300
[eval]
tokens = 300
[[model]]
name = "d"
family = "dense"
{SHAPE}
train = {{ batch_size = 4, grad_accumulation = 2, num_steps = 12, eval_tokens = 300 }}
[[model]]
name = "s"
family = "dense"
{SHAPE}
train = {{ batch_size = 4, num_steps = 12, eval_tokens = 300, optimizer = "adamw" }}
distil = {{ teacher = "d" }}
init_from = "d"
[[model]]
name = "m"
family = "mixture"
config = {{ context = 32, neural_config = {{ d_model = 24, n_layers = 1, n_heads = 2 }} }}
train = {{ batch_size = 4, num_steps = 12, eval_tokens = 300, optimizer = "adamw" }}
"""
WORDS = "the fox a wolf said saw grapes lion mouse ran and under tree old man".split()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng, path = random.Random(0), tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(" ".join(rng.choices(WORDS, k=rng.randint(5, 60))) + "." for _ in range(3000)))
    return path


def torchrun(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(several.free_port()), "-m", "weightless", *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


def training(text: Path, out: Path, checkpoint_every: float = 0.2) -> list[str]:
    words = ["train", "dense", "--data", str(text.parent / "data"), "--text", str(text), "--vocab_size", "300"]
    words += "--context 32 --d_model 32 --n_layers 1 --num_steps 100000 --batch_size 4 --eval_tokens 200".split()
    return [*words, "--checkpoint_every", str(checkpoint_every), "--no-wandb", "--out", str(out)]


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(900):
        if (folder / "checkpoint" / "latest.json").exists():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    raise AssertionError("no checkpoint in 90 s")


def test_a_recipe_in_two_processes_is_the_recipe(tmp_path: Path, text: Path) -> None:
    """Trained with whole batches to the bit; students and mixtures to the order of sums."""
    path = tmp_path / "r.toml"
    path.write_text(RECIPE.replace("TEXT", text.as_posix()))
    process = torchrun("run", str(path), "--out", str(tmp_path / "two"))
    said = process.communicate(timeout=280)[0]
    assert process.returncode == 0, said
    assert main(["run", str(path), "--out", str(tmp_path / "one")]) == 0
    one, two = (json.loads((tmp_path / name / "summary.json").read_text())["models"] for name in ("one", "two"))
    assert one[0]["artifact"]["sha256"] == two[0]["artifact"]["sha256"]
    assert [model["name"] for model in two] == ["d", "s", "m"] and said.count("report: ") == 1
    for ours, theirs in zip(one, two, strict=True):
        assert theirs["nats_per_token"] == pytest.approx(ours["nats_per_token"], abs=1e-5)
        record = json.loads((tmp_path / "two" / "models" / ours["name"] / "training.json").read_text())
        assert record["observed"]["processes"]["ok"], record["observed"]["processes"]


def test_a_process_killed_under_torchrun_ends_the_command_in_one_line(tmp_path: Path, text: Path) -> None:
    process = torchrun(*training(text, tmp_path / "m"))
    wait_for_checkpoint(tmp_path / "m", process)
    workers = {int(p.environ()["RANK"]): p for p in psutil.Process(process.pid).children()}
    workers[1].kill()
    said = process.communicate(timeout=40)[0]
    lines = [line for line in said.splitlines() if line.startswith("weightless")]
    step = (read_state(tmp_path / "m" / "checkpoint") or {})["next_step"]
    assert process.returncode == 1 and lines[0].startswith("weightless train: process 1 of 2 is gone"), said
    assert f"the checkpoint of step {step} in {tmp_path / 'm'} stays" in lines[0]
    assert not (tmp_path / "m" / ".weightless.lock").exists() or not workers[0].is_running()


def test_ctrl_c_on_the_terminal_saves_the_step_that_all_have_done(tmp_path: Path, text: Path) -> None:
    """The terminal tells torchrun and the processes, and torchrun tells the processes once more."""
    process = torchrun(*training(text, tmp_path / "m", checkpoint_every=1e9))
    for _ in range(900):
        if (tmp_path / "m" / "metrics.jsonl").exists():
            break
        time.sleep(0.1)
    time.sleep(2.0)
    workers = [p.pid for p in psutil.Process(process.pid).children()]
    for pid in (*workers, process.pid):
        os.kill(pid, signal.SIGINT)
    said = process.communicate(timeout=40)[0]
    assert "interrupted: what is finished is kept" in said and process.returncode != 0, said
    assert (read_state(tmp_path / "m" / "checkpoint") or {})["next_step"] > 0


def test_a_verb_that_trains_nothing_is_done_once() -> None:
    command = [sys.executable, "-m", "weightless", "families", "dense"]
    with open(os.devnull, "w") as nobody:
        processes = several.started(2, command, stdout=nobody, stderr=subprocess.PIPE)
        assert several.ended(processes, 60) == [(0, ""), (0, "")]
    command = [sys.executable, "-m", "weightless", "train", "--batch_sice", "4"]
    (code, said), (other, nothing) = several.ended(several.started(2, command, stderr=subprocess.PIPE), 60)
    assert code == 2 and "--batch_sice" in said and (other, nothing) == (0, "")
