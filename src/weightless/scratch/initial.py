"""Where weights begin: a normal distribution without its tails.

    w ~ N(0, std^2), drawn again while |w| > 3 std

A draw beyond three deviations is rare (1 in 370) but there are millions of draws, and one large weight is a feature
that nothing in the data asked for.  What is left has a deviation of 0.9866 std.
"""

from __future__ import annotations

import torch

TRUNCATE_AT = 3.0
"""In standard deviations."""


def truncated_normal(
    shape: tuple[int, ...], std: float, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> torch.nn.Parameter:
    """A trainable tensor of that shape, drawn from PyTorch's global generator.

    Drawn in float32 at least and rounded then: half precision has too few numbers to draw among.
    """
    dtype = dtype or torch.get_default_dtype()
    drawn = torch.empty(shape, device=device, dtype=torch.promote_types(dtype, torch.float32))
    torch.nn.init.trunc_normal_(drawn, 0.0, std, -TRUNCATE_AT * std, TRUNCATE_AT * std)
    return torch.nn.Parameter(drawn.to(dtype))
