"""Counting a formula loads no compiler, no PyTorch and no plotting, and takes under a second of processor time.

Oracle: a fresh process, its sys.modules and its own processor clock.  The best of three is taken, because processor
time on shared cores varies.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import contextlib, io, json, sys, time
from weightless.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"torch", "numba", "llvmlite", "matplotlib", "scipy"})
print(json.dumps([code, heavy, time.process_time()]))
"""

COMMANDS = {
    "dense": ["count", "dense"],
    "feather": ["count", "feather"],
    "ngram": ["count", "ngram"],
    "training": ["count", "gpt2-xl", "--training", "--flops", "--device_memory", "80GB"],
    "training of a family": ["count", "dense", "--training"],
    "fit": ["fit", "dense", "--stored", "4MB"],
}


def run(arguments: list[str]) -> tuple[int, list[str], float]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    code, heavy, seconds = json.loads(done.stdout.splitlines()[-1])
    return code, heavy, seconds


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=list(COMMANDS))
def test_nothing_heavy_is_imported(arguments):
    code, heavy, _ = run(arguments)
    assert code == 0 and heavy == []


def test_counting_a_family_takes_under_a_second():
    assert min(run(["count", "dense"])[2] for _ in range(3)) < 1.0
