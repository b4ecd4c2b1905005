"""How long the first token takes, in a fresh process that has nothing compiled, and in one that has.

    python benchmarks/cold_start.py [--families dense,feather,ngram] [--runs 3]

Each family at its default size with random weights (a table of counts: of random words) is packed once.  Then a process
of its own opens the file, feeds one token and draws the next one: with an empty folder of compiled kernels on all
cores, where a second process helps to compile if one is idle (cold), again with what was left there (warm), and with an
empty one and without that help (alone).  Python's own bytecode is there in all, as an installer leaves it.
Figures are medians over the runs of processor time of the process and its helper, imports included, which a busy
machine disturbs less than wall time; wall time in parentheses.  Gates: cold and alone at most 15 s, warm at most 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.cores import cores
from weightless.base.random import rng_for
from weightless.export.lower import pack
from weightless.models.catalog import Counted, family

GATES = {"cold": 15.0, "warm": 1.0, "alone": 15.0}
WORDS = 100_000
FIRST_TOKEN = """
import os, sys
import numpy as np
from weightless.export.packed import open_packed
from weightless.program import companion
if sys.argv[2] == "alone":
    companion.is_one_idle = lambda: False
engine = open_packed(sys.argv[1]).engine()
engine.feed(1)
print(engine.sample(np.full(8, 0.5)), sum(os.times()[:4]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default="dense,feather,ngram")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    print(
        json.dumps(
            {
                "machine": platform.machine(),
                "cores": cores(),
                "python": platform.python_version(),
                "load_average": os.getloadavg(),
            }
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.families.split(","):
            path, bytecode = Path(folder, f"{name}.wl"), Path(folder, "bytecode")
            pack(path, name, *made(name))
            measured(path, bytecode)  # writes the bytecode
            report(name, [measured(path, bytecode) for _ in range(arguments.runs)])


def made(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """(configuration, arrays) of the family at its default size."""
    found, rng = family(name), rng_for(0, "cold start")
    config = found.Config()
    if isinstance(found, Counted):
        return found.count(config, (rng.zipf(1.3, WORDS) % config.vocab_size).astype(np.uint16))
    arrays = {}
    for tensor in found.decode_program(config).stored():
        values = np.float32(0.02) * rng.standard_normal(tensor.shape, dtype=np.float32)
        if tensor.format in ("u16", "u32"):  # which token is in which class: in order
            values = np.arange(tensor.shape[0], dtype=np.uint32)[:, None]
        arrays[tensor.name] = values
    return config, arrays


def measured(path: Path, bytecode: Path) -> dict[str, tuple[float, float]]:
    """{state: (processor seconds, wall seconds) of a process up to its first token}."""
    with tempfile.TemporaryDirectory() as shared, tempfile.TemporaryDirectory() as own:
        return {state: first_token(path, bytecode, own if state == "alone" else shared, state) for state in GATES}


def first_token(path: Path, bytecode: Path, cache: str, state: str) -> tuple[float, float]:
    began = time.monotonic()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables |= {"NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": str(bytecode)}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_TOKEN, str(path), state],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[1]), time.monotonic() - began


def report(name: str, runs: list[dict[str, tuple[float, float]]]) -> None:
    """One line, and whether the gates are passed."""
    told, passed = [], True
    for state, most in GATES.items():
        processor, wall = (statistics.median(run[state][i] for run in runs) for i in (0, 1))
        told.append(f"{state} {processor:5.2f} s ({wall:.2f} s)")
        passed &= processor <= most
    print(f"{name:12s} first token: {', '.join(told)}   {'PASS' if passed else 'FAIL'}", flush=True)


if __name__ == "__main__":
    main()
