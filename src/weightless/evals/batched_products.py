"""How the batched scorer multiplies: what a PyTorch model asks for, made in ways that only scoring can take.

    attention   on a CPU in stretches of queries, each over its own positions and those before it; where the kernel
                itself goes by halves of a thousand positions, these leave a quarter of the products out.  The parts
                are joined by the logarithms l of their sums:  out = o + (o' - o) sigmoid(l' - l)
    bf16        matrices are stored in bf16 and their inputs rounded to it; sums are made in float32 inside and rounded
                once.  Queries, keys and values of attention are bf16 as well, on a CPU its scores and their shares are;
                all else between two products stays float32

Nothing here is differentiated.  Only what is asked through `torch.nn.functional` is seen.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

STRETCH, BF16_STRETCH = 256, 128
"""Queries at once: as many keys of every stretch are half masked away."""


class ScoringProducts(TorchFunctionMode):
    """Open while losses are computed, in each thread that computes some; `bf16` says what attention multiplies in."""

    def __init__(self, bf16: bool = False) -> None:
        super().__init__()
        self._bf16 = bf16
        self._masks: dict[tuple[int, int, torch.dtype], torch.Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.linear and _is_mixed(args[0], args[1]):
            return F.linear(args[0].bfloat16(), args[1], *args[2:], **kwargs).float()
        if func is F.scaled_dot_product_attention:
            on_cpu = args[0].device.type == "cpu"
            if on_cpu and kwargs.get("is_causal") and args[0].shape[-2] > STRETCH:
                return self._attended_in_bf16(*args[:3]) if self._bf16 else self._attended(*args[:3])
            if self._bf16 and not on_cpu:
                return func(*(z.bfloat16() for z in args[:3]), *args[3:], **kwargs).float()
        return func(*args, **kwargs)

    def _attended(self, q_BHTK: torch.Tensor, k_BGTK: torch.Tensor, v_BGTK: torch.Tensor) -> torch.Tensor:
        """Causal attention of H heads of queries, shared evenly by G heads of keys and values."""
        B, H, T, K = q_BHTK.shape
        G = k_BGTK.shape[1]
        out_BTHK = q_BHTK.new_empty(B, T, H, K)
        q, out = q_BHTK.reshape(B, G, H // G, T, K), out_BTHK.view(B, T, G, H // G, K).permute(0, 2, 3, 1, 4)
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        for first in range(0, T, STRETCH):
            own = slice(first, min(first + STRETCH, T))
            q_BGRK = q[:, :, :, own].reshape(B, G, -1, K)
            mask_RS = self._mask(H // G, own.stop - first)
            o, l = attend(q_BGRK, k_BGTK[:, :, own], v_BGTK[:, :, own], attn_mask=mask_RS)
            if first:
                before = slice(0, first)
                o_before, l_before = attend(q_BGRK, k_BGTK[:, :, before], v_BGTK[:, :, before])
                o = torch.lerp(o, o_before, torch.sigmoid(l_before - l)[..., None])
            out[:, :, :, own] = o.view(B, G, H // G, -1, K)
        return out_BTHK.transpose(1, 2)

    def _attended_in_bf16(self, q_BHTK: torch.Tensor, k_BGTK: torch.Tensor, v_BGTK: torch.Tensor) -> torch.Tensor:
        """The same as products of bf16, scores and their shares rounded to it as well: a stretch sees all before it."""
        B, H, T, K = q_BHTK.shape
        G = k_BGTK.shape[1]
        out_BTHK = q_BHTK.new_empty(B, T, H, K)
        q, k, v = (z.bfloat16() for z in (q_BHTK * K**-0.5, k_BGTK, v_BGTK))
        q, out = q.reshape(B, G, H // G, T, K), out_BTHK.view(B, T, G, H // G, K).permute(0, 2, 3, 1, 4)
        for first in range(0, T, BF16_STRETCH):
            own, seen = slice(first, min(first + BF16_STRETCH, T)), min(first + BF16_STRETCH, T)
            s_BGRS = q[:, :, :, own].reshape(B, G, -1, K) @ k[:, :, :seen].transpose(-1, -2)
            s_BGRS[..., first:] += self._mask(H // G, seen - first, torch.bfloat16)
            out[:, :, :, own] = (s_BGRS.softmax(-1) @ v[:, :, :seen]).view(B, G, H // G, -1, K)
        return out_BTHK.transpose(1, 2)

    def _mask(self, times: int, n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """What a stretch of n queries, as often as heads share keys, sees of its own n positions: 0 or -inf."""
        if (times, n, dtype) not in self._masks:
            self._masks[times, n, dtype] = torch.full((n, n), -torch.inf, dtype=dtype).triu(1).repeat(times, 1)
        return self._masks[times, n, dtype]


def in_bf16(model: Any, p: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with every trained matrix of the layers in bf16; what is looked up, heads and vectors stay."""
    matrices = {spec.name for spec in model.tensors() if spec.group == "matrix"}
    return {name: tensor.bfloat16() if name in matrices else tensor for name, tensor in p.items()}


def _is_mixed(x: torch.Tensor, w: torch.Tensor) -> bool:
    return w.dtype is torch.bfloat16 and x.dtype is torch.float32
