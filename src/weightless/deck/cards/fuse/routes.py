"""Four ways to hand in `fuse`, and how each becomes a solution.py that answers `fused_softmax_topk(logits, k)`.

    numpy    solution.py             as it is
    cuda     solution.cu             compiled by g++ through the library's shim of CUDA, called over ctypes
    numba    solution_numba.py       in an interpreter that has numba
    triton   solution_triton.py      in an interpreter that has torch and triton, TRITON_INTERPRET=1

A grader asks `route_of(submission)`, makes the worker's folder by `prepared(route, submission, into, opened)`, and asks
the checks of `card.checks_of(route)`.  With `opened`, which starts a worker on a folder, a solution.cu is compiled in
the sandbox; without it, here, which is for our own sources.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightless.base.errors import ConfigError
from weightless.base.files import atomic_write
from weightless.deck.card import Opened
from weightless.deck.cards.fuse.compiling import SOURCE, library
from weightless.deck.cards.fuse.launches import without_chevrons
from weightless.deck.outcome import Failed, Status
from weightless.deck.submission import with_library
from weightless.kernels.cuda.build import here as folder_of_cuda

HERE = Path(__file__).parent
LAUNCHER = "softmax_topk_launch"


@dataclass(frozen=True)
class Route:
    """One language: the file that a submission has, what the worker's interpreter must have, and whether the route
    takes float64 (then the checks that want it are asked).
    """

    name: str
    file: str
    needs: tuple[str, ...] = ("numpy",)
    takes_float64: bool = False


CUDA = Route("cuda", "solution.cu")
NUMPY = Route("numpy", "solution.py", takes_float64=True)
ROUTES = (
    CUDA,
    NUMPY,
    Route("numba", "solution_numba.py", ("numpy", "numba")),
    Route("triton", "solution_triton.py", ("numpy", "torch", "triton")),
)


def route_of(submission: Path) -> Route | None:
    """The route of a submission: CUDA where its file has the launcher, else the first whose file is there; or None.

    So a sketch in solution.cu beside a solution.py that runs is no reason to refuse both.
    """
    there = [route for route in ROUTES if (submission / route.file).is_file()]
    if CUDA in there and len(there) > 1 and LAUNCHER not in (submission / CUDA.file).read_text(errors="replace"):
        there.remove(CUDA)
    return there[0] if there else None


def prepared(route: Route, submission: Path, into: Path, opened: Opened | None = None) -> Path:
    """A new folder `into` whose solution.py answers for the submission.

    Raises Failed (CONTRACT) when the source does not compile or has no launcher, and what `opened` raises; ConfigError
    where no compiler is.
    """
    into.mkdir(parents=True)
    if route.name == "cuda":
        shutil.copyfile(HERE / "wrapper_cuda.py", into / "solution.py")
        atomic_write(into / "solution_cpu.so", _compiled(submission, into.parent / f"{into.name}-source", opened))
        return into
    shutil.copytree(submission, into, dirs_exist_ok=True)
    if route.name != "numpy":
        shutil.copyfile(HERE / f"wrapper_{route.name}.py", into / "solution.py")
    return into


def _compiled(submission: Path, folder: Path, opened: Opened | None) -> bytes:
    """The library as bytes, made from a folder that holds the source, the headers and the script that compiles."""
    text = (submission / "solution.cu").read_text(errors="replace")
    if LAUNCHER not in text:
        raise Failed("CONTRACT", f'solution.cu has no extern "C" int {LAUNCHER}(...): see INTERFACE.md')
    if not shutil.which("g++"):
        raise ConfigError("there is no g++ here, and a solution.cu is graded by it; install a C++ compiler")
    folder.mkdir()
    try:
        atomic_write(folder / SOURCE, without_chevrons(text))
    except ConfigError as error:
        raise Failed("CONTRACT", str(error)) from None
    for path in (*(HERE / "shim").glob("*.h"), folder_of_cuda() / "cpu_shim.h"):
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(HERE / "compiling.py", folder / "solution.py")
    if opened is not None:
        _check_by_nvcc(submission, folder.with_name(f"{folder.name}-nvcc"), opened)
    try:
        if opened is None:
            return library(str(folder)).tobytes()
        with opened(folder) as worker:
            found = worker.call("library")
    except RuntimeError as error:
        raise Failed("CONTRACT", f"solution.cu does not compile for the CPU: {error}") from None
    except Failed as failed:
        status: Status = "CONTRACT" if failed.status == "CRASH" else failed.status
        raise Failed(status, f"solution.cu does not compile for the CPU: {failed.told}") from None
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8:
        raise Failed("CONTRACT", "solution.cu does not compile for the CPU: no library came back")
    return found.tobytes()


def _check_by_nvcc(submission: Path, folder: Path, opened: Opened, architecture: str = "sm_90") -> None:
    """Let nvcc compile the source as it is, behind the walls too, where this machine has it in a place that they show.

    Raises Failed, CONTRACT, with what nvcc refuses: what only a shim understands is no CUDA.
    """
    compiler = shutil.which("nvcc")
    if not compiler or not Path(compiler).resolve().is_relative_to("/usr"):
        return
    folder.mkdir()
    for source, name in (
        (submission / CUDA.file, CUDA.file),
        (folder_of_cuda() / "cpu_shim.h", "cpu_shim.h"),
        (HERE / "compiling.py", "solution.py"),
    ):
        shutil.copyfile(source, folder / name)
    try:
        with opened(folder) as worker:
            worker.call("cubin", str(Path(compiler).resolve()), architecture)
    except (RuntimeError, Failed) as error:
        told = error.told if isinstance(error, Failed) else str(error)
        raise Failed("CONTRACT", f"nvcc refuses solution.cu for {architecture}: {told}") from None


def own_solution_of(route: Route, into: Path) -> Path:
    """Our own solution in one of the other languages, as a submission, with what its Python imports of this library."""
    source = folder_of_cuda() / "softmax_topk.cu" if route.name == "cuda" else HERE / f"own_{route.name}.py"
    with_library({Path(route.file): source.read_bytes()}, into)
    return into
