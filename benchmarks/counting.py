"""Processor seconds of `weightless count` in a fresh process: medians, and the goal of the project (under one second).

    python benchmarks/counting.py [--rounds 7]

Commands are interleaved (A B C A B C ...).  Processor time, which a busy machine disturbs less than the wall clock.
Python may keep its bytecode, as it does by itself, and has done so before the first round.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from weightless.base.cores import cores

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "count dense": ["count", "dense"],
    "count feather": ["count", "feather"],
    "count recipes/demo.toml": ["count", str(ROOT / "recipes/demo.toml")],
    "count gpt2-xl --training": ["count", "gpt2-xl", "--training"],
}
GOAL = 1.0


def seconds_of(arguments: list[str]) -> float:
    """User and system seconds of one fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "weightless", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print(
        f"{platform.machine()}, {cores()} cores, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[0]:.1f}, {rounds} interleaved rounds"
    )
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        seconds_of(arguments)
    for _ in range(rounds):
        for name, arguments in COMMANDS.items():
            seconds[name].append(seconds_of(arguments))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"  {name:<28} {median:5.2f} s   goal under {GOAL:g} s: {'PASS' if median < GOAL else 'FAIL'}")
    return 0 if max(medians.values()) < GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
