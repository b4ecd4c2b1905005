"""Four ways to hand in `fuse`, and how each becomes a solution.py that answers `fused_softmax_topk(logits, k)`.

    numpy    solution.py             as it is
    cuda     solution.cu             compiled by g++ through the library's shim of CUDA, called over ctypes
    numba    solution_numba.py       in an interpreter that has numba
    triton   solution_triton.py      in an interpreter that has torch and triton, TRITON_INTERPRET=1

`prepared(route, submission, into)` makes the folder that a worker is given.  Compiling somebody's source is work of
the sandbox, too: `compiler_command` gives the command for whoever runs it there; `prepared` runs it here, with a time
limit and no shell, which is for our own sources and for machines without a sandbox.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from weightless.base.errors import ConfigError, WeightlessError
from weightless.base.files import atomic_write
from weightless.deck.cards.fuse.launches import without_chevrons
from weightless.deck.outcome import Failed
from weightless.kernels.cuda.build import here as folder_of_cuda

HERE = Path(__file__).parent
FLAGS = ("-O2", "-std=c++17", "-w", "-DCPU_SHIM", "-include", "cuda_runtime.h", "-shared", "-fPIC", "-x", "c++")
COMPILING_SECONDS = 120
LIBRARY = "solution_cpu.so"


@dataclass(frozen=True)
class Route:
    """One language: the file that a submission has, what the worker's interpreter must have, and whether the route
    takes float64 (then the checks that want it are asked).
    """

    name: str
    file: str
    needs: tuple[str, ...] = ("numpy",)
    takes_float64: bool = False


ROUTES = (
    Route("numpy", "solution.py", takes_float64=True),
    Route("cuda", "solution.cu"),
    Route("numba", "solution_numba.py", ("numpy", "numba")),
    Route("triton", "solution_triton.py", ("numpy", "torch", "triton")),
)


def route_of(submission: Path) -> Route | None:
    """The first of the routes whose file is there; a solution.cu beside a solution.py is graded as CUDA."""
    order = sorted(ROUTES, key=lambda route: route.name == "numpy")
    return next((route for route in order if (submission / route.file).is_file()), None)


def prepared(route: Route, submission: Path, into: Path) -> Path:
    """A folder whose solution.py answers for the submission.

    Raises Failed (CONTRACT) when the source does not compile or has no launcher; WeightlessError without a compiler.
    """
    into.mkdir(parents=True)
    if route.name != "cuda":
        shutil.copytree(submission, into, dirs_exist_ok=True)
        if route.name != "numpy":
            shutil.copyfile(HERE / f"wrapper_{route.name}.py", into / "solution.py")
        return into
    shutil.copyfile(HERE / "wrapper_cuda.py", into / "solution.py")
    command = compiler_command(submission, into)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILING_SECONDS, errors="replace")
    except subprocess.TimeoutExpired:
        raise Failed("CONTRACT", f"solution.cu was not compiled after {COMPILING_SECONDS} seconds") from None
    if done.returncode:
        said = " / ".join(line for line in done.stderr.splitlines() if "error" in line)[:600]
        raise Failed("CONTRACT", f"solution.cu does not compile for the CPU: {said or done.stderr[:600]}")
    return into


def compiler_command(submission: Path, into: Path) -> list[str]:
    """Write the source to compile into `into` and return the command that makes `into`/solution_cpu.so of it."""
    compiler = shutil.which("g++")
    if not compiler:
        raise WeightlessError("g++ is not on the path, and a solution.cu is compiled with it; install a C++ compiler")
    try:
        text = (submission / "solution.cu").read_text(errors="replace")
        atomic_write(into / "solution_cpu.cpp", without_chevrons(text))
    except ConfigError as error:
        raise Failed("CONTRACT", str(error)) from None
    if "softmax_topk_launch" not in text:
        raise Failed("CONTRACT", 'solution.cu has no extern "C" int softmax_topk_launch(...): see INTERFACE.md')
    include = [f"-I{HERE / 'shim'}", f"-I{folder_of_cuda()}"]
    return [compiler, *FLAGS, *include, "-o", str(into / LIBRARY), str(into / "solution_cpu.cpp")]


def own_solution_of(route: Route, into: Path) -> Path:
    """Our own solution in one of the other languages, as a submission; its Python files import this library."""
    into.mkdir(parents=True)
    source = folder_of_cuda() / "softmax_topk.cu" if route.name == "cuda" else HERE / f"own_{route.name}.py"
    shutil.copyfile(source, into / route.file)
    return into
