"""A process beside this one, to do what this one would have to wait for: compiling, above all."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def own_process(module: str, function: str, told: Any, answers: bool = False) -> subprocess.Popen[bytes] | None:
    """A process that calls `function` of `module` with the JSON of `told`; None where none can be had.

    It finds the package where this process found it, and never in the folder that it is started in.  It is silent,
    unless it `answers`: then its standard output is a pipe.
    """
    package = str(Path(__file__).parents[2])
    code = (
        f"import sys; told = sys.stdin.read(); sys.path.append({package!r}); "
        f"from {module} import {function}; {function}(told)"
    )
    silent = subprocess.DEVNULL
    out = subprocess.PIPE if answers else silent
    try:
        process = subprocess.Popen([sys.executable, "-P", "-c", code], stdin=subprocess.PIPE, stdout=out, stderr=silent)
    except OSError:  # no more processes are allowed: compiling here takes longer, and that is all
        return None
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # whatever ended it: compiling can wait
        pipe.write(json.dumps(told).encode())
    return process
