"""Compiles a solution.cu for the CPU where it stands: in the sandbox, put beside the source as its solution.py.

A compiler that reads a stranger's source can be made to include what it should not, to run out of memory, or to run
for ever; so it runs behind the walls that the kernel itself will run behind, and only bytes come out.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

SOURCE = "solution_cpu.cpp"
FLAGS = ("-O2", "-std=c++17", "-w", "-fPIC", "-DCPU_SHIM", "-include", "counting.h", "-include", "cuda_runtime.h")
COUNTING = ("-fsanitize=thread", "-fno-threadsafe-statics")  # see counting.h; what is linked knows nothing of it


def library(folder: str = "") -> np.ndarray:
    """The shared library of solution_cpu.cpp and the headers in `folder` (default: beside this file), as bytes.

    Raises RuntimeError with the compiler's first complaints.
    """
    here = Path(folder) if folder else Path(__file__).resolve().parent
    compiler = shutil.which("g++")
    if not compiler:
        raise RuntimeError("there is no g++")
    with tempfile.TemporaryDirectory() as name:
        compiled, made = Path(name) / "solution_cpu.o", Path(name) / "solution_cpu.so"
        _run([compiler, *FLAGS, *COUNTING, f"-I{here}", "-c", "-o", str(compiled), str(here / SOURCE)], here)
        _run([compiler, "-shared", "-Wl,-z,defs", "-o", str(made), str(compiled)], here)
        return np.fromfile(made, np.uint8)


def cubin(compiler: str, architecture: str) -> int:
    """Bytes of the cubin that nvcc, at the path `compiler`, makes of the solution.cu beside this file.

    Raises RuntimeError with its first complaints.
    """
    here = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "solution.cubin"
        flags = [f"-arch={architecture}", "-cubin", f"-I{here}"]
        _run([compiler, *flags, "-o", str(made), str(here / "solution.cu")], here)
        return made.stat().st_size


def _run(command: list[str], here: Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        lines = [line.replace(f"{here}/", "") for line in done.stderr.splitlines()]
        errors = [line for line in lines if "error" in line or "undefined" in line]
        raise RuntimeError(" / ".join(errors[:4])[:600] or "".join(lines)[-600:])
