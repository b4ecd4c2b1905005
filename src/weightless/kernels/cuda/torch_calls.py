"""The CUDA libraries called with torch tensors, on PyTorch's current stream; signatures of weightless.reference.

    softmax_topk(logits, k)             k up to 64; other types than float32 are converted first, a pass of its own
    layer_norm_backward(dy, cache)      widths up to 4,096; the cache is that of the Triton or NumPy forward, as tensors

The library is found where `python -m weightless.kernels.cuda` has put it, and never built here.  Tensors are checked
for shape and device, not for NaN: that would stop the queue of the GPU (NaN gives NaN probabilities).
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from typing import Any

from weightless.base.errors import ArgumentError, ConfigError, WeightlessError
from weightless.kernels.cuda import build
from weightless.kernels.tensor_arguments import float_tensor, rows, same_device, same_shape
from weightless.kernels.twins import twin_of
from weightless.ops import layer_norm as norm
from weightless.ops import softmax_topk as reference
from weightless.ops.arguments import whole_number

BLOCKS_PER_MULTIPROCESSOR = 2


@twin_of(
    reference.softmax_topk,
    """Takes and returns torch tensors on a CUDA device, of any float type; sums are float32.  There is no `block`.
    Raises ArgumentError also for k above 64 and tensors elsewhere, ConfigError when the library has not been
    built; NaN is not looked for (it gives NaN).""",
)
def softmax_topk(logits: Any, k: int) -> tuple[Any, Any]:
    return softmax_topk_by(gpu_library("softmax_topk"), on_gpu("logits", logits), k)


@twin_of(
    norm.layer_norm_backward,
    """Takes and returns torch tensors on a CUDA device; sums are float32.
    Raises ArgumentError also for a last axis above 4,096 and tensors elsewhere, ConfigError when the library has not
    been built; NaN and infinity are not looked for.""",
)
def layer_norm_backward(dy: Any, cache: Any) -> tuple[Any, Any, Any]:
    return layer_norm_backward_by(gpu_library("layer_norm_backward"), on_gpu("dy", dy), cache)


def softmax_topk_by(library: ctypes.CDLL, logits: Any, k: int) -> tuple[Any, Any]:
    """The same by a given library (of kind "cpu" for tensors of the CPU)."""
    import torch

    logits, k = float_tensor("logits", logits, "V", at_least=True), whole_number("k", k)
    if k > build.LARGEST_K:
        raise ArgumentError(f"k is {k}; the CUDA kernel serves up to {build.LARGEST_K}")
    z_RV = rows(logits).to(torch.float32)
    index_RK = torch.empty((len(z_RV), k), dtype=torch.int64, device=logits.device)
    p_RK = torch.empty((len(z_RV), k), dtype=torch.float32, device=logits.device)
    with _on(logits) as stream:
        outputs = (index_RK.data_ptr(), p_RK.data_ptr())
        code = library.softmax_topk_launch(z_RV.data_ptr(), *z_RV.shape, k, *outputs, stream)
    _check(code, f"logits of shape {tuple(logits.shape)} with k = {k}")
    shape = (*logits.shape[:-1], k)
    return index_RK.view(shape), p_RK.to(logits.dtype).view(shape)


def layer_norm_backward_by(library: ctypes.CDLL, dy: Any, cache: Any, n_blocks: int | None = None) -> tuple[Any, ...]:
    """The same by a given library; `n_blocks` partial sums (default: what fills the GPU)."""
    import torch

    xhat, r, gamma = cache
    dy = float_tensor("dy", dy, "D", at_least=True)
    same_shape("dy", dy, "x", tuple(xhat.shape))
    same_device(dy=dy, xhat=xhat, r=r, gamma=gamma)
    width = dy.shape[-1]
    if width > build.LARGEST_WIDTH:
        raise ArgumentError(f"the last axis of dy is {width}; the CUDA kernel serves up to {build.LARGEST_WIDTH}")
    dy_ND, xhat_ND = (rows(tensor).to(torch.float32) for tensor in (dy, xhat))
    r_N, gamma_D = (tensor.contiguous().view(-1).to(torch.float32) for tensor in (r, gamma))
    n_blocks = min(len(dy_ND), n_blocks or _blocks(dy))
    dx, parts = torch.empty_like(dy_ND), dy_ND.new_empty((n_blocks, 2, width))
    dgamma, dbeta = torch.empty_like(gamma_D), torch.empty_like(gamma_D)
    inputs = [tensor.data_ptr() for tensor in (dy_ND, xhat_ND, r_N, gamma_D)]
    outputs = [tensor.data_ptr() for tensor in (dx, parts, dgamma, dbeta)]
    with _on(dy) as stream:
        code = library.layer_norm_backward_launch(*inputs, len(dy_ND), width, n_blocks, *outputs, stream)
    _check(code, f"dy of shape {tuple(dy.shape)}")
    return dx.to(dy.dtype).view(dy.shape), dgamma.to(gamma.dtype), dbeta.to(gamma.dtype)


@functools.cache
def gpu_library(name: str) -> ctypes.CDLL:
    """The library of a kernel that was built for this GPU."""
    path = build.path_of_build(name, "gpu")
    if not path.exists():
        raise ConfigError(f"no library at {path}: run python -m weightless.kernels.cuda")
    return build.load(path)


def on_gpu(name: str, tensor: Any) -> Any:
    """The tensor itself; the kernels read addresses, and one of the CPU would end the process."""
    if not getattr(tensor, "is_cuda", False):
        place = getattr(tensor, "device", type(tensor).__name__)
        raise ArgumentError(f"{name} should be a torch tensor on a CUDA device, not on {place}")
    return tensor


@contextlib.contextmanager
def _on(tensor: Any) -> Any:
    """The stream to launch on, with the tensor's device made current."""
    if not tensor.is_cuda:
        yield None
        return
    import torch

    with torch.cuda.device(tensor.device):
        yield torch.cuda.current_stream().cuda_stream


def _blocks(tensor: Any) -> int:
    if not tensor.is_cuda:
        return 3
    import torch

    return BLOCKS_PER_MULTIPROCESSOR * torch.cuda.get_device_properties(tensor.device).multi_processor_count


def _check(code: int, what: str) -> None:
    if code:
        raise WeightlessError(f"CUDA reported error {code} for {what}")
