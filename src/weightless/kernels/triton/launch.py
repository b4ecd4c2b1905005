"""How large a block is and how many programs run: the arithmetic between shapes and launches."""

from __future__ import annotations

from typing import Any

import torch

from weightless.base.errors import ArgumentError

INTERPRETER_PROGRAMS = 3
"""Programs where there is no GPU: few, but more than one, so that partial results are put together in tests too."""


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least n and `least`."""
    return max(least, 1 << max(0, n - 1).bit_length())


def largest(name: str, n: int, limit: int) -> int:
    """n, unless no kernel serves it."""
    if n > limit:
        raise ArgumentError(f"{name} is {n}; the Triton kernel serves up to {limit}")
    return n


def programs(tensor: Any, per_multiprocessor: int) -> int:
    """How many programs fill the GPU that holds `tensor`."""
    if not tensor.is_cuda:
        return INTERPRETER_PROGRAMS
    return per_multiprocessor * torch.cuda.get_device_properties(tensor.device).multi_processor_count


def options(num_warps: int) -> dict[str, Any]:
    """Launch options; multiply-adds are fused (said aloud, because Triton's default is about to change)."""
    return {"num_warps": num_warps, "num_stages": 2, "enable_fp_fusion": True}


def options_for(n_elements: int) -> dict[str, Any]:
    """Options for a block of so many elements: 16 elements to a thread, from 1 to 16 warps."""
    return options(min(16, max(1, n_elements // 512)))
