"""A dense model's cached single-token step in PyTorch, as somebody who wants it fast would write it.

Preallocated cache [layer, key or value, head, position, d_head], inference mode, no copies; a matrix times a vector,
not times a batch of one, which Inductor turns into better code.  `attention` is "sdpa"
(scaled_dot_product_attention) or "sums" (products and sums that Inductor fuses; faster where bf16 is emulated).
`compiled` makes one graph for all positions (the length is a dynamic shape).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from weightless.models import dense


class CachedStep:
    """feed(token) -> the most probable next token; `reset` forgets everything fed."""

    def __init__(
        self,
        config: dense.Config,
        arrays: Mapping[str, np.ndarray],
        dtype: torch.dtype,
        attention: str = "sdpa",
        compiled: bool = False,
    ) -> None:
        c, self.position, self.compiled = config, 0, compiled
        self.p = {name: torch.from_numpy(np.array(a)).to(dtype) for name, a in arrays.items()}
        self.kv = torch.zeros(c.n_layers, 2, c.kv_heads, c.context, c.d_head, dtype=dtype)
        angle = torch.arange(c.context)[:, None] * c.rope_theta ** (-torch.arange(0, c.d_head, 2) / c.d_head)
        self.cos, self.sin = angle.cos(), angle.sin()
        step = _step(c, _by_sdpa if attention == "sdpa" else _by_sums)
        self.step = torch.compile(step, fullgraph=True) if compiled else step

    def reset(self) -> None:
        self.position = 0

    def feed(self, token: int) -> int:
        """One token in, the most probable next one out."""
        at, self.position = self.position, self.position + 1
        with torch.inference_mode():
            seen = self.kv[:, :, :, : at + 1]
            if self.compiled and at > 0:
                torch._dynamo.mark_dynamic(seen, 3, min=2, max=self.kv.shape[3])
            return int(self.step(self.p, seen, self.cos[at], self.sin[at], torch.tensor([token])))


def _by_sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, shared: int) -> torch.Tensor:
    return F.scaled_dot_product_attention(q[None, :, None], k[None], v[None], enable_gqa=shared > 1).reshape(-1)


def _by_sums(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, shared: int) -> torch.Tensor:
    k, v = (part.repeat_interleave(shared, 0) if shared > 1 else part for part in (k, v))
    scores = (k.float() * q.float()[:, None]).sum(-1) * q.shape[-1] ** -0.5
    return (scores.softmax(-1)[:, :, None] * v.float()).sum(1).to(q.dtype).reshape(-1)


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)


def _step(c: dense.Config, attend: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    head = "embed" if c.tied else "head"

    def normed(p: Mapping[str, Any], x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, (c.d_model,), p[name][0], c.eps)

    def step(
        p: Mapping[str, Any], kv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, token: torch.Tensor
    ) -> torch.Tensor:
        x = F.embedding(token, p["embed"])[0]
        for i in range(c.n_layers):
            qkv = (p[f"block.{i}.qkv"] @ normed(p, x, f"block.{i}.attn_norm")).view(-1, c.d_head)
            q, k, v = qkv.split([c.heads, c.kv_heads, c.kv_heads])
            kv[i, 0, :, -1], kv[i, 1, :, -1] = _rotated(k, cos, sin), v
            mixed = attend(_rotated(q, cos, sin), kv[i, 0], kv[i, 1], c.heads // c.kv_heads)
            x = x + p[f"block.{i}.out"] @ mixed
            gate, up = (p[f"block.{i}.up"] @ normed(p, x, f"block.{i}.ffn_norm")).chunk(2)
            x = x + p[f"block.{i}.down"] @ (F.silu(gate) * up)
        return (p[head] @ normed(p, x, "final_norm")).argmax(-1)

    return step
