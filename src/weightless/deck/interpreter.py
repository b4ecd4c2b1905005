"""The Python and the NumPy that a worker has, and nothing else of this machine's packages.  Floor 9.

`./do setup deck` makes `.venv-deck` beside `.venv`, with NumPy in it and no more.  Where it is not there, the worker is
given the NumPy of the running interpreter and no other package of it, and the result is stamped so.  Either way the
worker runs the base interpreter without `site`, and finds packages in one folder that the sandbox makes.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightless.base.errors import WeightlessError

FOLDER = ".venv-deck"
_ASK = """
import json, os, sys, numpy
print(json.dumps([os.path.realpath(sys.executable), sys.base_prefix, os.path.dirname(numpy.__file__),
                  sys.version.split()[0], numpy.__version__]))
"""


@dataclass(frozen=True)
class Interpreter:
    """The base interpreter and its prefix, folders of packages by name, versions, and a stamp (may be empty)."""

    program: Path
    prefix: Path
    packages: tuple[tuple[str, Path], ...]
    python: str
    numpy: str
    stamp: str

    def foreign_packages(self) -> list[Path]:
        """Folders in which other packages of this machine lie, to be covered in the sandbox."""
        places = [(self.prefix, "lib/python*/*-packages"), (Path("/usr"), "lib/python*/*-packages")]
        places += [(Path("/usr"), "lib64/python*/*-packages"), (Path("/usr/local"), "lib/python*/*-packages")]
        found = {path for place, pattern in places for path in place.glob(pattern) if path.is_dir()}
        return sorted(path for path in found if not path.is_symlink())


@functools.cache
def worker_interpreter(folder: Path | None = None) -> Interpreter:
    """The environment of `./do setup deck` (`folder`: another), or else the running interpreter with a stamp.

    Raises WeightlessError when there is an environment and it does not start.
    """
    for place in [folder] if folder else _places():
        program = place / "bin" / "python"
        if program.exists():
            return _made(_asked(program), "")
        if folder:
            raise WeightlessError(f"{folder} holds no bin/python; make it with: ./do setup deck")
    own = [os.path.realpath(sys.executable), sys.base_prefix, str(Path(np.__file__).parent)]
    stamp = f"no {FOLDER}: NumPy of the running interpreter (./do setup deck makes an environment of its own)"
    return _made([*own, sys.version.split()[0], np.__version__], stamp)


def _places() -> list[Path]:
    """Beside the environment that runs, and in the checkout that this source stands in."""
    return list(dict.fromkeys([Path(sys.prefix).parent / FOLDER, Path(__file__).resolve().parents[3] / FOLDER]))


def _asked(program: Path) -> list[str]:
    run = subprocess.run([program, "-I", "-c", _ASK], capture_output=True, text=True, check=False)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no word"])[-1]
        raise WeightlessError(f"{program} does not start with NumPy ({last}); make it anew with: ./do setup deck")
    return json.loads(run.stdout)


def _made(told: list[str], stamp: str) -> Interpreter:
    program, prefix, package, python, numpy = told
    beside = Path(package).parent
    packages = [(name, beside / name) for name in ("numpy", "numpy.libs") if (beside / name).is_dir()]
    return Interpreter(Path(program), Path(prefix), tuple(packages), python, numpy, stamp)
