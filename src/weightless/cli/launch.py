"""weightless launch … -- COMMAND: many commands of weightless as units, here, under Slurm or on Ray."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from weightless.base.errors import ConfigError
from weightless.cli.cluster import OnCluster
from weightless.cli.parse import parse


@dataclass(frozen=True)
class Launch(OnCluster):
    """Run a command n times, {i} being 1 … n ({i0}: 0 … n - 1) and {n} being n, and go on where it was interrupted.

    weightless launch --how slurm --n 16 -- data prepare OUT --text T --tokenizer tokenizer.json --shard {i}/{n}
    """

    n: int = 1
    """Units: how many commands the template stands for."""
    n_parallel: int = 0
    """At most so many at a time; 0 means one per core (local) or all (slurm, ray)."""
    retries: int = 1
    """How often a unit that failed is tried again."""
    again: bool = False
    """Run units that are done, too."""
    logs: str = ""
    """Folder for logs and records; runs/launch/HASH-OF-THE-COMMAND when empty."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.cli.run import check_command
    from weightless.lab.launch import filled_in, launch

    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parse(Launch, verb, arguments[:at])
    template = arguments[at + 1 :]
    if not template:
        raise ConfigError("nothing to launch: put the command of weightless behind --")
    if options.n_parallel < 0:
        raise ConfigError("--n_parallel is at least 0")
    resources = options.resources()
    commands = filled_in(template, options.n)
    for unit in commands:
        if unit[0] == "run":
            check_command(unit[1:])
    identity = hashlib.sha256(repr((os.getcwd(), template)).encode()).hexdigest()[:12]
    logs = Path(options.logs or Path("runs", "launch", identity))
    outcomes = launch(
        commands,
        logs,
        options.how,
        n_parallel=options.n_parallel or None,
        retries=options.retries,
        again=options.again,
        resources=resources,
    )
    n_before = sum(not outcome.attempts for outcome in outcomes)
    before = f", {n_before} of them before (--again runs them, too)" if n_before else ""
    print(f"{len(outcomes)} unit(s) done{before}; logs: {logs}")
    return 0
