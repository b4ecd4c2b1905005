"""Compile the .cu sources and call their launchers.

    cubin(name, folder, arch)       nvcc -cubin: does it compile for that GPU, and with how many registers
    gpu_library(name, folder)       nvcc -shared: for the GPU at hand; found again by `dispatch` under its folder
    cpu_library(name, folder)       g++ with cpu_shim.h: the same source on the CPU, for tests
    softmax_topk(library, …), layer_norm_backward(library, …)       the launchers, over addresses of contiguous arrays

Libraries go to WEIGHTLESS_CUDA, else to ~/.cache/weightless/cuda; their names carry a hash of the sources, so an old
build is never loaded for new code.  Errors: WeightlessError when a compiler is missing or refuses, with its first
lines.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from weightless.base.errors import ConfigError, WeightlessError, nearest

SOURCES = ("softmax_topk", "layer_norm_backward")
LARGEST_K, LARGEST_WIDTH = 64, 4096


def here() -> Path:
    """The folder of the sources."""
    return Path(__file__).resolve().parent


def folder_of_builds() -> Path:
    """Where libraries are kept."""
    named = os.environ.get("WEIGHTLESS_CUDA")
    return Path(named) if named else Path.home() / ".cache" / "weightless" / "cuda"


def source(name: str) -> Path:
    """The .cu file of a kernel."""
    if name not in SOURCES:
        raise ConfigError(f"no CUDA source {name!r}: {nearest(name, SOURCES)}")
    return here() / f"{name}.cu"


def path_of_build(name: str, kind: str, folder: Path | None = None) -> Path:
    """Path of a build of kind "gpu" or "cpu", named by what it was made from."""
    digest = hashlib.sha256(source(name).read_bytes() + (here() / "cpu_shim.h").read_bytes()).hexdigest()[:12]
    return (folder or folder_of_builds()) / f"{name}-{kind}-{digest}.so"


def cubin(name: str, folder: Path, arch: str = "sm_90") -> tuple[Path, str]:
    """(file, what ptxas says about registers and spills)."""
    out = folder / f"{name}.{arch}.cubin"
    said = _run([_tool("nvcc"), f"-arch={arch}", "-cubin", "-Xptxas", "-v", "-o", str(out), str(source(name))])
    return out, said


def gpu_library(name: str, folder: Path | None = None, arch: str = "native") -> Path:
    """A shared library for the GPU at hand (or `arch`)."""
    out = path_of_build(name, "gpu", folder)
    return _built(out, [_tool("nvcc"), f"-arch={arch}", "-O3", "-shared", "-Xcompiler", "-fPIC", str(source(name))])


def cpu_library(name: str, folder: Path | None = None) -> Path:
    """The same source for the CPU, through the shim."""
    flags = ["-O2", "-std=c++17", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-DCPU_SHIM", "-shared", "-fPIC"]
    return _built(path_of_build(name, "cpu", folder), [_tool("g++"), *flags, "-x", "c++", str(source(name))])


def load(path: Path) -> ctypes.CDLL:
    """A library with the signature of its launcher set."""
    library = ctypes.CDLL(str(path))
    address, whole = ctypes.c_void_p, ctypes.c_int
    if hasattr(library, "softmax_topk_launch"):
        library.softmax_topk_launch.argtypes = [address, whole, whole, whole, address, address, address]
    else:
        kinds = [address] * 4 + [whole] * 3 + [address] * 5
        library.layer_norm_backward_launch.argtypes = kinds
    return library


def softmax_topk_on_cpu(library: ctypes.CDLL, logits: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The CUDA source run by the CPU: float32 logits [R, V] -> (indices int64, probabilities), [R, k]."""
    logits = np.ascontiguousarray(logits, np.float32)
    index, p = np.full((len(logits), k), -7, np.int64), np.full((len(logits), k), np.nan, np.float32)
    code = library.softmax_topk_launch(logits.ctypes.data, *logits.shape, k, index.ctypes.data, p.ctypes.data, None)
    _check(code, f"logits of shape {logits.shape} with k = {k}: k from 1 to {LARGEST_K} is served")
    return index, p


def layer_norm_backward_on_cpu(
    library: ctypes.CDLL, dy: np.ndarray, xhat: np.ndarray, r: np.ndarray, gamma: np.ndarray, n_blocks: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The CUDA source run by the CPU: float32 dy, xhat [N, D], r [N], gamma [D] -> (dx, dgamma, dbeta)."""
    dy, xhat, r, gamma = (np.ascontiguousarray(array, np.float32) for array in (dy, xhat, r, gamma))
    n, width = dy.shape
    dx, parts = np.full_like(dy, np.nan), np.full((n_blocks, 2, width), np.nan, np.float32)
    dgamma, dbeta = np.full(width, np.nan, np.float32), np.full(width, np.nan, np.float32)
    inputs = [array.ctypes.data for array in (dy, xhat, r, gamma)]
    outputs = [array.ctypes.data for array in (dx, parts, dgamma, dbeta)]
    code = library.layer_norm_backward_launch(*inputs, n, width, n_blocks, *outputs, None)
    _check(code, f"dy of shape {dy.shape}: widths from 1 to {LARGEST_WIDTH} are served")
    return dx, dgamma, dbeta


def _check(code: int, what: str) -> None:
    if code == -1:
        raise ConfigError(what)
    if code:
        raise WeightlessError(f"CUDA reported error {code} for {what}")


def _built(out: Path, command: list[str]) -> Path:
    """Compile into a temporary name, then rename; nothing is done when it is there already."""
    if out.exists():
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(f".{os.getpid()}.part")
    _run([*command, f"-I{here()}", "-o", str(part)])
    os.replace(part, out)
    return out


def _tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise WeightlessError(f"{name} is not on the path: install {'the CUDA toolkit' if name == 'nvcc' else name}")
    return found


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said: Any = (done.stderr or done.stdout).strip().splitlines()
        raise WeightlessError(f"{Path(command[0]).name} refused {command[-1]}: {' / '.join(said[:3])}")
    return done.stderr + done.stdout
