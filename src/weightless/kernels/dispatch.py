"""One door to the twins of an algorithm: `dispatch("softmax_topk")` gives the best one this machine can run.

    numpy     the readable reference in ops, the oracle of all others
    cpu       numba and BLAS over threads (fast_ops.py)
    triton    GPU kernels (triton_*.py); without a GPU only under TRITON_INTERPRET=1, for tests
    cuda      libraries that `python -m weightless.kernels.cuda` has built from the .cu sources; never built at import

Signatures are those of weightless.reference; triton and cuda take and return torch tensors on the device.
`available(name)` says which of them can run here, and why others cannot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from weightless.base.errors import ConfigError, nearest

ALGORITHMS = ("layer_norm_forward", "layer_norm_backward", "softmax_topk", "flash_attention_fwd", "flash_attention_bwd")
BACKENDS = ("numpy", "cpu", "triton", "cuda")


def dispatch(name: str, backend: str = "auto") -> Callable[..., Any]:
    """The function `name` of one backend; "auto" is the fastest for NumPy arrays.

    Raises ConfigError for an unknown name or backend, and for a backend that cannot run here, with the reason.
    """
    if name not in ALGORITHMS:
        raise ConfigError(f"no algorithm {name!r}: {nearest(name, ALGORITHMS)}")
    backend = "cpu" if backend == "auto" else backend
    if backend not in BACKENDS:
        raise ConfigError(f"no backend {backend!r}: {nearest(backend, BACKENDS)}")
    if why := available(name)[backend]:
        raise ConfigError(f"{name} cannot run on {backend} here: {why}")
    return getattr(_module(name, backend), name)


def available(name: str) -> dict[str, str]:
    """{backend: "" when it can run here, else the reason why not}."""
    return {"numpy": "", "cpu": "", "triton": "no Triton kernels yet", "cuda": "not built"}


def _module(name: str, backend: str) -> Any:
    if backend == "cpu":
        from weightless.kernels import fast_ops

        return fast_ops
    if name == "softmax_topk":
        from weightless.ops import softmax_topk as module
    elif name.startswith("layer_norm"):
        from weightless.ops import layer_norm as module
    else:
        from weightless.ops import flash_attention as module
    return module
