"""One door to the twins of an algorithm: `dispatch("softmax_topk")` gives the best one this machine can run.

    numpy     the readable reference in ops, the oracle of all others
    cpu       numba and BLAS over threads (fast_ops.py)
    triton    GPU kernels (triton/); without a GPU only under TRITON_INTERPRET=1, for tests
    cuda      libraries that `python -m weightless.kernels.cuda` has built from the .cu sources; never built at import

Signatures are those of weightless.reference; triton and cuda take and return torch tensors on the device.
`available(name)` says which of them can run here, and why others cannot.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from weightless.base.errors import ConfigError, nearest

ALGORITHMS = (
    "layer_norm_forward",
    "layer_norm_backward",
    "softmax_topk",
    "flash_attention_fwd",
    "flash_attention_bwd",
    "ternary_matvec",
)
BACKENDS = ("numpy", "cpu", "triton", "cuda")
ON_CUDA = ("softmax_topk", "layer_norm_backward")


def dispatch(name: str, backend: str = "auto") -> Callable[..., Any]:
    """The function `name` of one backend; "auto" is the fastest for NumPy arrays.

    Raises ConfigError for an unknown name or backend, and for a backend that cannot run here, with the reason.
    """
    _known(name)
    if backend == "auto":
        backend = "numpy" if _why_not(name, "cpu") else "cpu"
    if backend not in BACKENDS:
        raise ConfigError(f"no backend {backend!r}: {nearest(backend, BACKENDS)}")
    if why := _why_not(name, backend):
        raise ConfigError(f"{name} cannot run on {backend} here: {why}")
    return getattr(_module(name, backend), name)


def available(name: str) -> dict[str, str]:
    """{backend: "" when it can run here, else the reason why not}."""
    _known(name)
    return {backend: _why_not(name, backend) for backend in BACKENDS}


def _known(name: str) -> None:
    if name not in ALGORITHMS:
        raise ConfigError(f"no algorithm {name!r}: {nearest(name, ALGORITHMS)}")


def _why_not(name: str, backend: str) -> str:
    """One line, or nothing; PyTorch is imported only when it decides."""
    if backend == "cpu":
        return "it has no compiled twin; take numpy" if name == "ternary_matvec" else ""
    if backend == "triton":
        if find_spec("triton") is None:
            return "Triton is not installed; install the extra gpu"
        if os.environ.get("TRITON_INTERPRET") == "1" or _has_gpu():
            return ""
        return "PyTorch finds no CUDA device, and TRITON_INTERPRET=1 is not set"
    if backend == "cuda":
        from weightless.kernels.cuda.build import path_of_build

        if name not in ON_CUDA:
            return f"only {' and '.join(ON_CUDA)} have CUDA sources"
        if not path_of_build(name, "gpu").exists():
            return "its library is not built; run python -m weightless.kernels.cuda"
        return "" if _has_gpu() else "PyTorch finds no CUDA device"
    return ""


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _module(name: str, backend: str) -> Any:
    if backend == "cpu":
        from weightless.kernels import fast_ops as module
    elif backend == "cuda":
        from weightless.kernels.cuda import torch_calls as module
    elif backend == "triton":
        module = _triton_module(name)
    elif name == "softmax_topk":
        from weightless.ops import softmax_topk as module
    elif name == "ternary_matvec":
        from weightless.ops import ternary as module
    elif name.startswith("layer_norm"):
        from weightless.ops import layer_norm as module
    else:
        from weightless.ops import flash_attention as module
    return module


def _triton_module(name: str) -> Any:
    if name == "softmax_topk":
        from weightless.kernels.triton import softmax_topk as module
    elif name == "ternary_matvec":
        from weightless.kernels.triton import ternary as module
    elif name.startswith("layer_norm"):
        from weightless.kernels.triton import layer_norm as module
    else:
        from weightless.kernels.triton import flash_attention as module
    return module
