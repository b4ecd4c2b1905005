"""The Python and the NumPy that a worker has, and nothing else of this machine's packages.  Floor 9.

`./do setup deck` makes `.venv-deck` beside `.venv`, with NumPy in it and no more.  Where it is not there, the worker is
given the NumPy of the running interpreter and no other package of it, and the result is stamped so.  Either way the
worker runs the base interpreter without `site`, and finds packages in one folder that the sandbox makes.  A solution in
another language (numba, Triton) has the packages of the running interpreter that its card names.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError

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


def with_distributions(interpreter: Interpreter, names: tuple[str, ...]) -> Interpreter:
    """The same with distributions of the running interpreter, and all that they require and is installed.

    Raises ConfigError for one that is not installed, and where Python or NumPy differ from those that they were
    installed beside.
    """
    here = (sys.version.split()[0].rpartition(".")[0], np.__version__)
    there = (interpreter.python.rpartition(".")[0], interpreter.numpy)
    if here != there:
        raise ConfigError(
            f"{names[0]} is installed beside Python {here[0]} and NumPy {here[1]}, and workers have {there[0]} and "
            f"{there[1]}: make their environment anew with ./do setup deck"
        )
    found: dict[str, Path] = {}
    for name in names:
        try:
            _gather(metadata.distribution(name), found, set())
        except metadata.PackageNotFoundError:
            told = f"a solution in it cannot be judged here; install it into {sys.prefix}"
            raise ConfigError(f"{name} is not installed, and {told}") from None
    kept = dict(interpreter.packages)
    more = tuple((name, path) for name, path in sorted(found.items()) if name not in kept)
    return dataclasses.replace(interpreter, packages=(*interpreter.packages, *more))


def _gather(distribution: metadata.Distribution, found: dict[str, Path], seen: set[str]) -> None:
    """Top-level files and folders of a distribution and of what it requires (extras left out), by name."""
    seen.add(_canonical(distribution.name))
    for file in distribution.files or ():
        top = file.parts[0]
        if top not in ("..", "__pycache__"):
            found[top] = Path(str(distribution.locate_file(top)))
    for requirement in distribution.requires or ():
        name = _canonical(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
        if "extra ==" not in requirement and name not in seen:
            try:
                _gather(metadata.distribution(name), found, seen)
            except metadata.PackageNotFoundError:
                continue  # wanted on other systems only, or the import will say so


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


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
