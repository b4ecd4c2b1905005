"""weightless launch … -- COMMAND: many commands of weightless as units, here, under Slurm or on Ray."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from weightless.base.errors import ConfigError
from weightless.cli.parse import parse


@dataclass(frozen=True)
class Launch:
    """Run a command n times, {i} being 1 … n ({i0}: 0 … n - 1) and {n} being n, and go on where it was interrupted.

    weightless launch --how slurm --n 16 -- data prepare OUT --text T --tokenizer tokenizer.json --shard {i}/{n}
    """

    how: str = "local"
    """local (processes), slurm (jobs, by submitit), or ray (tasks)."""
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
    cpus: int = 1
    """Cores per unit (slurm, ray)."""
    mem_gb: float = 4.0
    """Memory per unit, in GB (slurm)."""
    minutes: int = 240
    """Time limit per unit, in minutes (slurm)."""
    partition: str = ""
    """Slurm's partition."""
    cluster: str = ""
    """submitit's kind of cluster: slurm; local or debug try it out without Slurm."""
    address: str = ""
    """Of a running Ray cluster (auto finds it); empty starts one on this machine."""


def main(verb: str, arguments: list[str]) -> int:
    from weightless.cli.run import check_command
    from weightless.lab.launch import filled_in, launch
    from weightless.lab.launchers import Resources

    at = arguments.index("--") if "--" in arguments else len(arguments)
    options = parse(Launch, verb, arguments[:at])
    template = arguments[at + 1 :]
    if not template:
        raise ConfigError("nothing to launch: put the command of weightless behind --")
    if options.n_parallel < 0:
        raise ConfigError("--n_parallel is at least 0")
    if options.cpus < 1 or options.minutes < 1 or not 0 < options.mem_gb < math.inf:
        raise ConfigError("--cpus and --minutes are at least 1, and --mem_gb is a number above 0")
    commands = filled_in(template, options.n)
    for unit in commands:
        if unit[0] == "run":
            check_command(unit[1:])
    identity = hashlib.sha256(repr((os.getcwd(), template)).encode()).hexdigest()[:12]
    resources = Resources(
        options.cpus, options.mem_gb, options.minutes, options.partition, options.cluster, options.address
    )
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
