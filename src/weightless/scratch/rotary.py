"""Rotary positions (Su et al. 2021): pairs of a head's elements are turned by an angle that grows with the position.

    angle(t, i) = t * theta^(-2 i / d_k)            pair i = 0 ... d_k / 2 - 1 of a head of width d_k, position t
    (a, b) -> (a cos - b sin, a sin + b cos)

Queries and keys are turned alike, so their inner product depends on how far apart they are and not on where.
Nothing is learned.  What a pair is, is a convention; weights trained with one are nonsense with the other:

    interleaved   (2 i, 2 i + 1)        the paper, and the course
    half          (i, i + d_k / 2)      Llama as Hugging Face stores it, and the rest of this library
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from weightless.scratch.embedding import rows

PAIRINGS = ("interleaved", "half")


class RotaryEmbedding(torch.nn.Module):
    """Tables of cos and sin for positions 0 ... max_seq_len - 1.

    ValueError for an odd d_k and an unknown pairing.  The tables are in no state dict: they follow from arguments.
    """

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: torch.device | str | None = None,
        pairing: str = "interleaved",
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_k % 2:
            raise ValueError(f"d_k = {d_k} is odd, and elements are turned in pairs: choose another number of heads")
        if pairing not in PAIRINGS:
            raise ValueError(f"pairing = {pairing!r} is not known; it is one of {', '.join(PAIRINGS)}")
        self.theta, self.d_k, self.max_seq_len, self.pairing = theta, d_k, max_seq_len, pairing
        self._lay_tables(torch.empty(0, device=device, dtype=dtype))

    def _lay_tables(self, like: torch.Tensor) -> None:
        """float32 at least, worked out in float64: rounded to bfloat16, neighbouring positions would turn alike."""
        t = torch.arange(self.max_seq_len, dtype=torch.float64)
        speeds = self.theta ** (-torch.arange(0, self.d_k, 2, dtype=torch.float64) / self.d_k)
        angles = torch.outer(t, speeds)
        kept = {"device": like.device, "dtype": torch.promote_types(like.dtype, torch.float32)}
        self.register_buffer("cos", angles.cos().to(**kept), persistent=False)
        self.register_buffer("sin", angles.sin().to(**kept), persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """What .to(), .half() and .to_empty() call: tables follow to the device, and what they hold is laid anew."""
        super()._apply(fn, recurse)
        self._lay_tables(self.cos)
        return self

    def forward(self, x: torch.Tensor, token_positions: torch.Tensor | None = None) -> torch.Tensor:
        """x (..., T, d_k) turned, in its dtype; positions (..., T) whole numbers that broadcast, else 0 ... T - 1.

        A position outside the tables is refused (ValueError, or IndexError when it stands in token_positions), and so
        is another width than d_k.
        """
        if x.shape[-1] != self.d_k:
            raise ValueError(f"x has {x.shape[-1]} elements per head, and these tables turn d_k = {self.d_k}")
        if token_positions is None:
            if x.shape[-2] > self.max_seq_len:
                raise ValueError(f"{x.shape[-2]} positions, and the tables end at max_seq_len = {self.max_seq_len}")
            cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        else:
            cos, sin = rows(self.cos, token_positions), rows(self.sin, token_positions)
        if self.pairing == "interleaved":
            a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
            return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2).to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(x.dtype)
