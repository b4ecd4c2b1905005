"""A command that torchrun has started several times: the first process runs it, the others take part in its trainings.

    torchrun --nproc-per-node 2 -m weightless train …          torchrun --nproc-per-node 2 -m weightless run RECIPE

Only the environment is looked at here, so that a command of one process imports nothing for it.  Floor 10 (cli).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from weightless.base.errors import ConfigError, WeightlessError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun leaves in the environment; fewer of them are somebody else's."""


def is_one_of_several() -> bool:
    """Whether the environment makes this process one of several."""
    return all(name in os.environ for name in VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def done_together(program: Callable[[], int]) -> int:
    """The exit code of this process: the first one runs the program."""
    try:
        from weightless.train.processes import joined
    except ImportError as error:
        raise ConfigError(f"several processes need PyTorch: {error}") from None
    try:
        with joined() as together:
            if together.is_first:
                return program()
            from weightless.lab.following import follow

            return follow(together)
    except WeightlessError as error:
        print(f"weightless: {error}", file=sys.stderr)
        return 2
