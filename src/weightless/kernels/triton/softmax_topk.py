"""Softmax + top-k in Triton, one read of the logits.  Twin and oracle: weightless/ops/softmax_topk.py.

    p_i = exp(z_i) / sum_j exp(z_j);  the k largest with their indices, best first, not renormalised over k

Shapes: logits [..., V] of float16, bfloat16 or float32; indices int64 and probabilities (dtype of the logits) [..., k].

A logit and its token become one int64 key, larger = better, so that ties need no second comparison.  The upper half is
the float's bits, turned so that they order as integers do; the lower half is 2^31 - 1 - token: among equals the lower
index has the larger key.  A key gives back value and token exactly.  Zero is normalised first, because the bits of -0.0
order below those of 0.0 while the numbers are equal.  -inf becomes the least key of all, "nothing": index -1,
probability 0.

Kernel 1, a program per row and per part of the vocabulary (few rows: many parts, else the GPU would idle): over blocks
of logits an online maximum m and sum l, and the K best keys so far, in no order.  While the best key of the block beats
the worst of those kept, it takes that one's place; K times per block at most, and after the beginning mostly not once:
among V random logits about K (1 + ln(V / K)) times.  Keys that fill an empty list are all different (nothing + 0, 1, 2
...), so that "the worst" is always exactly one.
Kernel 2, a program per row: m, l and keys of the parts become one, the best are taken out one by one, in order, and
probabilities are exp(z - m) / l.

Traffic: 4 bytes read per logit, which is the floor; 8 K + 8 bytes written and read again per part.  Softmax and topk
apart read the row four times and write it once.  About 10 operations per logit: bound by memory.
NaN or +inf in a row makes its probabilities NaN.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from weightless.kernels.tensor_arguments import float_tensor, rows
from weightless.kernels.triton.launch import largest, options_for, power_of_two, programs
from weightless.kernels.twins import twin_of
from weightless.ops import softmax_topk as reference
from weightless.ops.arguments import whole_number

LARGEST_K = 256
LONGEST_MERGE = 8192
"""Keys that kernel 2 holds at most: parts times K."""
BLOCK = 4096
FEWEST_BLOCKS = 2
"""Blocks of logits worth a part of their own."""
NOTHING = tl.constexpr(-(2**63))


@triton.jit
def keys_of(z, token):
    """int64 keys that order by logit, then by falling token; -inf (and what a mask made -inf) is nothing."""
    z = tl.where(z == 0.0, 0.0, z)
    bits = z.to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    key = (ordered.to(tl.int64) << 32) | (0x7FFFFFFF - token).to(tl.int64)
    return tl.where(z == float("-inf"), NOTHING, key)


@triton.jit
def topk_parts_kernel(logits_ptr, keys_ptr, m_ptr, l_ptr, V, per_part, K: tl.constexpr, BLOCK: tl.constexpr):
    row, part, n_parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    start = part * per_part
    stop = tl.minimum(start + per_part, V)
    logits_ptr += row.to(tl.int64) * V
    m = float("-inf")
    l = 0.0
    best = NOTHING + tl.arange(0, K).to(tl.int64)
    last = tl.min(best, axis=0)
    for first in range(start, stop, BLOCK):
        token = first + tl.arange(0, BLOCK)
        z = tl.load(logits_ptr + token, mask=token < stop, other=float("-inf")).to(tl.float32)
        m_new = tl.maximum(m, tl.max(z, axis=0))
        shift = tl.where(m_new == float("-inf"), 0.0, m_new)  # -inf - -inf would be NaN
        l = l * tl.exp(m - shift) + tl.sum(tl.exp(z - shift), axis=0)
        m = m_new
        keys = keys_of(z, token)
        top = tl.max(keys, axis=0)
        while top > last:
            best = tl.where(best == last, top, best)
            last = tl.min(best, axis=0)
            keys = tl.where(keys == top, NOTHING, keys)
            top = tl.max(keys, axis=0)
    out = row.to(tl.int64) * n_parts + part
    tl.store(keys_ptr + out * K + tl.arange(0, K), best)
    tl.store(m_ptr + out, m)
    tl.store(l_ptr + out, l)


@triton.jit
def topk_merge_kernel(keys_ptr, m_ptr, l_ptr, index_ptr, p_ptr, k, n_parts, K: tl.constexpr, PARTS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    part = tl.arange(0, PARTS)
    m_P = tl.load(m_ptr + row * n_parts + part, mask=part < n_parts, other=float("-inf"))
    l_P = tl.load(l_ptr + row * n_parts + part, mask=part < n_parts, other=0.0)
    m = tl.max(m_P, axis=0)
    shift = tl.where(m == float("-inf"), 0.0, m)
    l = tl.sum(l_P * tl.exp(m_P - shift), axis=0)
    at = tl.arange(0, PARTS * K)
    keys = tl.load(keys_ptr + row * n_parts * K + at, mask=at < n_parts * K, other=NOTHING)
    for rank in range(k):
        best = tl.max(keys, axis=0)
        keys = tl.where(keys == best, NOTHING, keys)
        some = best >= NOTHING + K
        ordered = (best >> 32).to(tl.int32)
        z = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
        token = 0x7FFFFFFF - (best & 0x7FFFFFFF)
        p = tl.where(some, tl.exp(z - shift), 0.0) / tl.where(l == 0.0, 1.0, l)
        tl.store(index_ptr + row * k + rank, tl.where(some, token, -1))
        tl.store(p_ptr + row * k + rank, p.to(p_ptr.dtype.element_ty))


@twin_of(
    reference.softmax_topk,
    """Takes and returns torch tensors on a CUDA device, float16, bfloat16 or float32; sums are float32.  No `block`.
    n_parts: into how many parts a row is cut; None takes enough to fill the GPU.
    Raises ArgumentError also for float64 (it does not fit a key) and k above 256; NaN is not looked for.""",
)
def softmax_topk(logits: Any, k: int, n_parts: int | None = None) -> tuple[Any, Any]:
    logits = float_tensor("logits", logits, "V", at_least=True, kinds=("float16", "bfloat16", "float32"))
    k = largest("k", whole_number("k", k), LARGEST_K)
    z_RV = rows(logits)
    n, vocab_size = z_RV.shape
    K = power_of_two(k, 2)
    block = min(BLOCK, power_of_two(vocab_size, 2 * K))
    n_parts = whole_number("n_parts", n_parts or -(-programs(logits, 4) // n))
    per_part = triton.cdiv(vocab_size, min(n_parts, LONGEST_MERGE // K))
    per_part = triton.cdiv(max(per_part, min(vocab_size, FEWEST_BLOCKS * block)), block) * block
    n_parts = triton.cdiv(vocab_size, per_part)
    on_device = {"device": logits.device}
    keys = torch.empty((n, n_parts, K), dtype=torch.int64, **on_device)
    m, l = (torch.empty((n, n_parts), dtype=torch.float32, **on_device) for _ in range(2))
    index_RK = torch.empty((n, k), dtype=torch.int64, **on_device)
    p_RK = torch.empty((n, k), dtype=logits.dtype, **on_device)
    topk_parts_kernel[(n, n_parts)](z_RV, keys, m, l, vocab_size, per_part, K=K, BLOCK=block, **options_for(block))
    parts = power_of_two(n_parts)
    topk_merge_kernel[(n,)](keys, m, l, index_RK, p_RK, k, n_parts, K=K, PARTS=parts, **options_for(parts * K))
    shape = (*logits.shape[:-1], k)
    return index_RK.view(shape), p_RK.view(shape)
