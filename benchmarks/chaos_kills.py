"""Commands killed (-9) at random moments and given again: the files must end as those of a run that was not.

Each trial begins in an empty folder of one and the same name (paths and file times are part of what a run knows of its
text), is killed one to four times at a uniformly random moment of the undisturbed duration, and then let finish.  Half
of the kills take the whole process group, half only the process itself, so that its children are left behind.  Most
trials run in a fork of this process, which has imported everything; every tenth is the real command line.

Compared: every file, byte for byte.  Of JSON and CSV files what the clock says is taken out first (CLOCK); the pages
that draw the clock (report.html, curve.svg) and the log of sessions only have to be there.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos_shelf import TRAIN, make_shelf

CLOCK = {
    "seconds",
    "train_seconds",
    "evaluation_seconds",
    "checkpoint_seconds",
    "window_seconds",
    "wall_seconds",
    "warm_up_seconds",
    "tokens_per_second",
    "decode_tokens_per_second",
    "load_average",
    "created",
    "ended",
    "n_resumes",
    "training time counted",
}
ONLY_THERE = {"report.html", "curve.svg", "sessions.jsonl"}
REAL_SHARE = 0.1
PATIENCE = 600


@dataclass
class Job:
    """A command, what must lie in its folder before, and how often it was killed."""

    name: str
    arguments: list[str]
    setup: Callable[[Path], None]
    seconds: float = 0.0
    wanted: dict[str, str] = field(default_factory=dict)
    kills: int = 0
    resumes: int = 0
    differences: list[str] = field(default_factory=list)


def hunted(options: argparse.Namespace) -> int:
    """Kill every job in turn until there have been as many kills as asked for; print the table."""
    folder = Path(options.folder).resolve()
    shelf = folder / "shelf-of-kills"
    if not (shelf / "done").exists():
        shutil.rmtree(shelf, ignore_errors=True)
        make_shelf(shelf)
        (shelf / "done").touch()
    _warm(shelf)
    jobs, here = [job for job in _jobs(shelf) if options.only in job.name], folder / "trial"
    for job in jobs:
        _undisturbed(job, here)
        print(f"{job.name:<24} {job.seconds:6.2f} s undisturbed, {len(job.wanted)} files", flush=True)
    number = 0
    while sum(job.kills for job in jobs) < options.kills:
        job, rng = jobs[number % len(jobs)], random.Random(f"{options.seed}/{number}")
        found = _trial(job, here, rng)
        job.differences += found
        if found:
            print(f"trial {number}: {job.name}: {found[:4]}", flush=True)
        number += 1
    _print_table(jobs)
    return 1 if any(job.differences for job in jobs) else 0


def _print_table(jobs: list[Job]) -> None:
    print(f"\n{'command':<24}{'undisturbed':>12}{'kills':>8}{'resumes':>9}{'files':>7}{'differences':>13}")
    for job in jobs:
        print(
            f"{job.name:<24}{job.seconds:>10.2f} s{job.kills:>8}{job.resumes:>9}{len(job.wanted):>7}"
            f"{len(job.differences):>13}"
        )
    totals = [sum(getattr(job, key) for job in jobs) for key in ("kills", "resumes")]
    print(f"{'all':<36}{totals[0]:>8}{totals[1]:>9}{'':>7}{sum(len(job.differences) for job in jobs):>13}")


def _jobs(shelf: Path) -> list[Job]:
    def text(at: Path) -> None:
        shutil.copy2(shelf / "text/fables.txt", at / "fables.txt")

    def tokens(at: Path) -> None:
        shutil.copytree(shelf / "import-shards", at / "shards")

    def corpus(at: Path) -> None:
        shutil.copytree(shelf / "corpus/data", at / "data")

    def trained(at: Path) -> None:
        corpus(at)
        shutil.copytree(shelf / "training/model", at / "model", ignore=shutil.ignore_patterns("model.wl"))

    def recipe(at: Path) -> None:
        text(at)
        told = (shelf / "recipe/chaos.toml").read_text().replace((shelf / "text/fables.txt").as_posix(), "fables.txt")
        (at / "chaos.toml").write_text(told)

    feather = [
        "--num_steps",
        "12",
        "--batch_size",
        "2",
        "--threads",
        "1",
        "--eval_tokens",
        "128",
        "--d_model",
        "40",
        "--n_layers",
        "1",
        "--d_head",
        "16",
        "--d_ff",
        "24",
        "--context",
        "32",
        "--rows_2",
        "97",
        "--rows_3",
        "89",
        "--qat_start",
        "0.5",
        "--checkpoint_every",
        "0.01",
        "--no_wandb",
    ]
    return [
        Job("tokenizer train", ["tokenizer", "train", "fables.txt", "--vocab_size", "700", "--out", "t.json"], text),
        Job("data prepare", ["data", "prepare", "data", "--text", "fables.txt", "--vocab_size", "400"], text),
        Job(
            "data import", ["data", "import", "shards", "data", "--vocab_size", "320", "--shard_tokens", "100"], tokens
        ),
        Job("train dense", ["train", "dense", "--data", "data", "--out", "model", *TRAIN], corpus),
        Job("train feather", ["train", "feather", "--data", "data", "--out", "model", *feather], corpus),
        Job("pack", ["pack", "model", "--data", "data"], trained),
        Job("run (5 models)", ["run", "chaos.toml", "--out", "run"], recipe),
    ]


def _warm(shelf: Path) -> None:
    """Import everything and load the kernels, without a thread, so that a fork starts at once."""
    import torch
    from chaos_specimens import probe_artifact

    import weightless.cli.artifact
    import weightless.cli.data
    import weightless.cli.data_import
    import weightless.cli.data_prepare
    import weightless.cli.run
    import weightless.cli.tokenizer
    import weightless.cli.train
    import weightless.lab.run
    import weightless.train.loop

    torch.set_num_threads(1)
    for name in ("dense", "feather", "ngram", "infinigram", "mixture"):
        probe_artifact(shelf / f"artifact-{name}/model.wl")
    nothing = [sys.executable, "-S", "-c", ""]  # all is compiled
    weightless.lab.run.in_background = lambda programs: subprocess.Popen(nothing)


def _fresh(job: Job, here: Path) -> None:
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    job.setup(here)


def _undisturbed(job: Job, here: Path) -> None:
    """What the files are without a kill, twice, which must agree; and how long it takes."""
    found = []
    for _ in range(2):
        _fresh(job, here)
        began = time.monotonic()
        code = _ended(_started(job, here, False))
        job.seconds = time.monotonic() - began
        if code:
            raise SystemExit(f"{job.name} ends with {code}: {(here / 'told.txt').read_text()[-2000:]}")
        found.append(_files(here))
    if found[0] != found[1]:
        raise SystemExit(f"{job.name}: two undisturbed runs differ in {_differences(*found)}")
    job.wanted = found[1]


def _trial(job: Job, here: Path, rng: random.Random) -> list[str]:
    """Kill, resume, compare: the names of what differs."""
    _fresh(job, here)
    real = rng.random() < REAL_SHARE
    groups = []
    for _ in range(rng.randint(1, 4)):
        process = _started(job, here, real)
        groups.append(process)
        wait = rng.uniform(0, job.seconds + 3.0 * real)
        if _ended(process, wait) is not None:
            break  # it had finished: there was nothing left to kill
        (os.killpg if rng.random() < 0.5 else os.kill)(process, signal.SIGKILL)
        os.waitpid(process, 0)
        job.kills += 1
    last = _started(job, here, real)
    job.resumes += 1
    code = _ended(last, PATIENCE)
    for group in (*groups, last):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    if code != 0:
        told = (here / "told.txt").read_text(errors="replace").strip().splitlines()
        return [f"the resume ends with {code}: {' | '.join(told[-2:])[:300]}"]
    return _differences(job.wanted, _files(here))


def _started(job: Job, here: Path, real: bool) -> int:
    """The process number of the command, in a group of its own; what it prints goes to told.txt."""
    told = os.open(here / "told.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        if real:
            command = [sys.executable, "-m", "weightless", *job.arguments]
            started = subprocess.Popen(
                command, cwd=here, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True
            )
            started.returncode = 0  # we wait for it ourselves
            return started.pid
        process = os.fork()
        if process == 0:
            _be(job.arguments, here, told)
        os.setpgid(process, process)
        return process
    finally:
        os.close(told)


def _be(arguments: Sequence[str], here: Path, told: int) -> None:
    """The forked child: become the command, and never come back."""
    from weightless.cli.main import main

    code = 70
    try:
        os.setpgid(0, 0)
        os.chdir(here)
        for stream in (1, 2):
            os.dup2(told, stream)
        sys.argv = ["weightless", *arguments]
        code = main(list(arguments))
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(process: int, seconds: float = PATIENCE) -> int | None:
    """The exit code, or None when the process still runs after so many seconds."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def _files(here: Path) -> dict[str, str]:
    """A digest of every file, the clock taken out."""
    found = {}
    for path in sorted(here.rglob("*")):
        name = path.relative_to(here).as_posix()
        if path.is_file() and name != "told.txt":
            known = path.name in ONLY_THERE
            found[name] = "there" if known else hashlib.sha256(_timeless(path)).hexdigest()
    return found


def _differences(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    names = [f"missing {name}" for name in wanted if name not in found]
    names += [f"left over {name}" for name in found if name not in wanted]
    return names + [f"changed {name}" for name in wanted if name in found and wanted[name] != found[name]]


def _timeless(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_without_clock(json.loads(content))).encode()
    if path.suffix == ".jsonl":
        return json.dumps([_without_clock(json.loads(line)) for line in content.splitlines()]).encode()
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        return json.dumps(_without_clock(rows)).encode()
    return content


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        timed = value.get("name") in CLOCK
        return {
            key: _without_clock(v) for key, v in value.items() if key not in CLOCK and not (timed and key == "detail")
        }
    return [_without_clock(item) for item in value] if isinstance(value, list) else value
