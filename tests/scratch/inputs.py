"""What the tests of the student's shelf give to its pieces."""

from __future__ import annotations

import math

import torch

HALVES = {torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""{dtype: what a few roundings of numbers of size one to it may add up to}"""


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64).to(dtype)


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same numbers, every second place in memory."""
    return torch.stack((x, torch.full_like(x, math.nan)), dim=-1)[..., 0]
