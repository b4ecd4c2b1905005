"""The training step of a dense model in plain PyTorch, as somebody who wants it fast would write it.

The same model as ours (RMSNorm, rotary positions in halves, SwiGLU, head tied to the embedding, no biases), with what
PyTorch offers for each part: nn.RMSNorm, scaled_dot_product_attention, F.cross_entropy, fused AdamW, torch.optim.Muon,
clip_grad_norm_.  `half` puts the forward pass under bf16 autocast, `compiled` makes one graph of forward and loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from weightless.models import dense


class Block(nn.Module):
    def __init__(self, c: dense.Config) -> None:
        super().__init__()
        self.n_heads, self.d_head = c.heads, c.d_head
        self.attn_norm, self.ffn_norm = (nn.RMSNorm(c.d_model, eps=c.eps) for _ in range(2))
        self.qkv = nn.Linear(c.d_model, 3 * c.heads * c.d_head, bias=False)
        self.out = nn.Linear(c.heads * c.d_head, c.d_model, bias=False)
        self.up = nn.Linear(c.d_model, 2 * c.hidden, bias=False)
        self.down = nn.Linear(c.hidden, c.d_model, bias=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        B, T, _ = x.shape
        q, k, v = self.qkv(self.attn_norm(x)).view(B, T, 3, self.n_heads, self.d_head).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(turned(q, cos, sin), turned(k, cos, sin), v, is_causal=True)
        x = x + self.out(a.transpose(1, 2).reshape(B, T, -1))
        gate, value = self.up(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * value)


class Plain(nn.Module):
    """Tokens and targets in, mean nats out."""

    cos: torch.Tensor
    sin: torch.Tensor

    def __init__(self, c: dense.Config) -> None:
        super().__init__()
        self.embed = nn.Embedding(c.vocab_size, c.d_model)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layers))
        self.final_norm = nn.RMSNorm(c.d_model, eps=c.eps)
        angle = torch.arange(c.context)[:, None] * c.rope_theta ** (-torch.arange(0, c.d_head, 2) / c.d_head)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, tokens_BT: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens_BT)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.final_norm(x), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1).to(x.dtype), targets_BT.flatten())

    @torch.no_grad()
    def take(self, arrays: Mapping[str, torch.Tensor]) -> None:
        """Our weights by our names."""
        for ours, array in arrays.items():
            place: Any = self
            for part in ours.replace("block.", "blocks.").replace("attn.norm", "attn_norm").split("."):
                place = place[int(part)] if part.isdigit() else getattr(place, part)
            place.weight.copy_(array.view_as(place.weight))


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


def plain_step(
    c: dense.Config,
    weights: Mapping[str, torch.Tensor],
    batch: Callable[[int], tuple[np.ndarray, np.ndarray]],
    optimizer: str,
    compiled: bool,
    half: bool,
) -> Callable[[], float]:
    """One whole training step per call: fetch a batch, forward, backward, clip, schedule, update; the loss."""
    model = Plain(c)
    model.take(weights)
    run = torch.compile(model) if compiled else model
    optimizers, step = _optimizers(model, optimizer), 0

    def one() -> float:
        nonlocal step
        x, y = (torch.from_numpy(part.astype(np.int64)) for part in batch(step))
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = run(x, y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for held in optimizers:
            held.step()
            held.zero_grad(set_to_none=True)
        step += 1
        return float(loss.detach())

    return one


def plain_loss(c: dense.Config, weights: Mapping[str, torch.Tensor], batch: tuple[np.ndarray, np.ndarray]) -> float:
    """Mean nats of a batch in float64."""
    model = Plain(c)
    model.take(weights)
    model.double()
    with torch.no_grad():
        x, y = (torch.from_numpy(part.astype(np.int64)) for part in batch)
        return float(model(x, y))


def _optimizers(model: nn.Module, name: str) -> list[torch.optim.Optimizer]:
    matrices = [w for w in model.parameters() if w.ndim == 2 and w.shape[0] != 4096]
    rest = [w for w in model.parameters() if not any(w is m for m in matrices)]
    if name == "adamw":
        return [torch.optim.AdamW([*matrices, *rest], lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)]
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.95)
    return [muon, torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)]
