"""Counting a formula loads no compiler, no PyTorch and no plotting.  (What it costs: benchmarks/counting.py.)

Oracle: sys.modules of a fresh process.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import contextlib, io, json, sys
from weightless.cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    code = main(sys.argv[1:])
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"torch", "numba", "llvmlite", "matplotlib", "scipy"})
print(json.dumps([code, heavy]))
"""

COMMANDS = {
    "dense": ["count", "dense"],
    "feather": ["count", "feather"],
    "ngram": ["count", "ngram"],
    "training": ["count", "gpt2-xl", "--training", "--flops", "--device_memory", "80GB"],
    "training of a family": ["count", "dense", "--training"],
    "fit": ["fit", "dense", "--stored", "4MB"],
    "families": ["families"],
}


def run(arguments: list[str]) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    code, heavy = json.loads(done.stdout.splitlines()[-1])
    return code, heavy


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=list(COMMANDS))
def test_nothing_heavy_is_imported(arguments):
    code, heavy = run(arguments)
    assert code == 0 and heavy == []
